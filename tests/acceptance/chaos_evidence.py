"""What is left after a chaos run, and the invariants that it is held to (delivery, "What is tested"); pure.

Each invariant gives a line for every breach. That each of them can fail is shown on doctored evidence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAY_HAVE_A_TASK = frozenset({"sent", "done", "in_doubt"})
SETTLED = frozenset({"sent", "done", "in_doubt", "parked"})
"""Where an intent may end by itself here: nothing is refused, blocked or without hours in a chaos run."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A row of the ledger."""

    state: str
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task that the endpoint holds, and the trigger of the person it is about."""

    id: str
    trigger: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request for a task, as the process that sent it saw it, in seconds; it ended with its process at
    the latest.
    """

    number: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Kill:
    """A process that was killed: seconds since the start, what it was, where, what it left being sent."""

    at: float
    role: str
    where: str
    left: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the invariants look at. `offered`: the triggers whose intake was acknowledged; `triggers`: the
    ledger's, each with its intent; `unfinished`: attempts that never learnt their outcome; `acts`: an
    operator's that were acknowledged.
    """

    offered: frozenset[str]
    triggers: Mapping[str, int]
    intents: Mapping[int, Intent]
    states: Mapping[str, int]
    tasks: Sequence[Task]
    exchanges: Sequence[Exchange]
    kills: Sequence[Kill]
    unfinished: int
    max_in_flight: int
    acts: int
    audit_rows: int
    audit_broken_at: int | None = None


def nobody_is_phoned_twice(found: Evidence) -> list[str]:
    """One task for an intent at most; each intent has a patient of its own."""
    counts = Counter(task.trigger for task in found.tasks)
    return [f"{trigger} has {count} tasks" for trigger, count in counts.items() if count > 1]


def nothing_is_lost(found: Evidence) -> list[str]:
    """Every accepted trigger has an intent of its own, and the states add up to the intents."""
    lost = [f"{trigger} has no intent" for trigger in sorted(found.offered) if trigger not in found.triggers]
    lost += [f"{trigger} was never offered" for trigger in sorted(found.triggers.keys() - found.offered)]
    if set(found.triggers.values()) != found.intents.keys():
        lost.append("the triggers' intents are not the intents there are")
    if len(set(found.triggers.values())) != len(found.triggers):
        lost.append("two triggers share an intent")
    if dict(Counter(intent.state for intent in found.intents.values())) != dict(found.states):
        lost.append(f"{len(found.intents)} intents are not the sum of the states {dict(found.states)}")
    return lost


def a_kill_leaves_few_in_doubt(found: Evidence) -> list[str]:
    """At most `max_in_flight` of each killed process, and no attempt without an outcome but by a kill."""
    most = found.max_in_flight
    breaches = [
        f"{kill.role} killed {kill.where} left {kill.left}" for kill in found.kills if kill.left > most
    ]
    if found.unfinished > len(found.kills) * most:
        breaches.append(f"{found.unfinished} attempts without an outcome after {len(found.kills)} kills")
    return breaches


def every_task_is_accounted_for(found: Evidence) -> list[str]:
    """What the endpoint holds is sent, done or in doubt here, under its id; what is sent here is there."""
    breaches = []
    for task in found.tasks:
        intent = found.intents.get(found.triggers.get(task.trigger, -1), Intent("nowhere"))
        if intent.state not in MAY_HAVE_A_TASK:
            breaches.append(f"{task.trigger} has a task and is {intent.state}")
        elif intent.state != "in_doubt" and intent.task_id != task.id:
            breaches.append(f"{task.trigger} is {intent.state} as another task")
    there = {task.id for task in found.tasks}
    sent = [intent for intent in found.intents.values() if intent.state in ("sent", "done")]
    return breaches + [f"task {i.task_id} is {i.state} and nowhere" for i in sent if i.task_id not in there]


def the_audit_verifies(found: Evidence) -> list[str]:
    """The chain holds, and has a row for every act that was acknowledged."""
    breaches = []
    if found.audit_broken_at is not None:
        breaches.append(f"the audit is broken at row {found.audit_broken_at}")
    if found.audit_rows < found.acts:
        breaches.append(f"{found.acts} acts, {found.audit_rows} rows of audit")
    return breaches


def one_request_in_flight_per_number(found: Evidence) -> list[str]:
    """No task was asked for while another one for the same number was."""
    by_number: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in found.exchanges:
        by_number[exchange.number].append(exchange)
    breaches = []
    for number, exchanges in by_number.items():
        exchanges.sort(key=lambda exchange: exchange.began)
        breaches += [
            f"{number[-4:]}: one from {first.began:.3f} to {first.ended:.3f}, one from {second.began:.3f}"
            for first, second in pairwise(exchanges)
            if second.began < first.ended
        ]
    return breaches


def everything_is_settled(found: Evidence) -> list[str]:
    """Nothing waits or hangs: sent, done, in doubt, or parked behind a patient in doubt."""
    return [f"{count} intents are {state}" for state, count in found.states.items() if state not in SETTLED]


INVARIANTS: Mapping[str, Callable[[Evidence], list[str]]] = {
    "never two tasks for one intent": nobody_is_phoned_twice,
    "nothing lost: every accepted trigger has an intent, intents = sum of the states": nothing_is_lost,
    "a killed process left at most `max_in_flight` in doubt": a_kill_leaves_few_in_doubt,
    "every task at the endpoint is sent, done or in doubt in the ledger": every_task_is_accounted_for,
    "the audit chain verifies and holds every act": the_audit_verifies,
    "no number had two requests in flight": one_request_in_flight_per_number,
    "nothing is left waiting": everything_is_settled,
}
"""By the words of the report."""


def breaches(found: Evidence) -> list[str]:
    """Every breach of every invariant."""
    return [f"{name}: {line}" for name, holds in INVARIANTS.items() for line in holds(found)]


AT_LAST = "after the operator every person has exactly one task"


def unsettled_by_the_operator(found: Evidence) -> list[str]:
    """What an operator left open who looked up every doubt at the endpoint."""
    open_ones = {number: row for number, row in found.intents.items() if row.state not in ("sent", "done")}
    told = [f"{AT_LAST}: intent {number} is {row.state}" for number, row in open_ones.items()]
    if len({task.trigger for task in found.tasks}) != len(found.offered):
        told.append(f"{AT_LAST}: {len(found.tasks)} tasks for {len(found.offered)} people")
    return told
