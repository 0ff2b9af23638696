"""The ledger against a small model of itself: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from fhir_bridge.ledger.database.tables import intents, metadata
from fhir_bridge.ledger.operation.named import alone_as_intents
from fhir_bridge.ledger.records import Act, Claimed, Selection, SettleTask, StartTask
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import Breaker
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

HERE = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
LEASE, GAP = timedelta(minutes=2), timedelta(hours=1)
TASK = "00000000-0000-4000-8000-000000000002"
WORKERS = ("one", "two", "three")
COUNT = 5
LANES = 2

OUTCOMES = {
    "sent": Outcome(OutcomeClass.ACCEPTED, 201, id=TASK),
    "in_doubt": Outcome(OutcomeClass.UNKNOWN, 500, "http-500"),
    "refused": Outcome(OutcomeClass.REFUSED, 422, "http-422"),
    "ready": Outcome(OutcomeClass.NOT_PROCESSED, 503, "http-503"),
}
"""What became of a request, by the state it leads to."""


@dataclass
class Intent:
    """What the model knows of one: `said` is what its trigger said last, `went_by` what was decided on."""

    number: int
    said: str
    version: int = 1
    went_by: int = 1
    state: str = ""
    due_at: datetime | None = None
    retried: bool = False
    token: str | None = None
    lease_until: datetime | None = None
    called_at: datetime | None = None
    tries: int = 0

    @property
    def lane(self) -> int:
        """Whose number it calls."""
        return self.number % LANES

    def decide(self, now: datetime) -> None:
        """Go by what was said last; a retry's wait is not made shorter."""
        waits = self.state == "ready" and self.retried
        self.state = self.said
        if self.state == "ready":
            self.due_at = self.due_at if waits else now
        else:
            self.due_at = None
        self.retried = waits and self.state == "ready"
        self.token = self.lease_until = None
        self.went_by = self.version

    def is_claimable(self, now: datetime) -> bool:
        """Ready, due, and nobody's."""
        due = self.state == "ready" and self.due_at is not None and self.due_at <= now
        return due and (self.lease_until is None or self.lease_until <= now)


@dataclass
class Under:
    """What a test lends to each machine: one ledger and the loop it lives in."""

    ledger: SqlLedger
    runner: asyncio.Runner
    arrivals: Any
    start: datetime

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it now."""
        return self.runner.run(work)

    async def empty(self) -> None:
        """Take every row out but the destination's: quicker than a new database for each example."""
        async with self.ledger._writing() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "destination":
                    await connection.execute(delete(table))

    async def rows(self) -> dict[int, Any]:
        """What the ledger says of each intent."""
        names = ("state", "due_at", "lease_token", "called_at", "tries")
        async with self.ledger._reading() as connection:
            found = [
                *await connection.execute(select(intents)),
                *await connection.execute(alone_as_intents()),
            ]
        return {
            int(row.trigger.partition("/")[2]): tuple(getattr(row, name) for name in names) for row in found
        }


numbers = st.integers(0, COUNT - 1)


class LedgerMachine(RuleBasedStateMachine):
    """Intake, three workers, operators and the clock, in any order; five people with two phones."""

    under: Under

    def __init__(self) -> None:
        super().__init__()
        self.now = self.under.start
        self.model: dict[int, Intent] = {}
        self.born: list[int] = []
        self.claimed: list[Claimed] = []
        self.sending: list[tuple[Claimed, int]] = []
        self.paused = False
        self.under.run(self.under.empty())

    # -- what happens --

    @rule(minutes=st.sampled_from([1, 3, 61]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(number=numbers, said=st.sampled_from(["ready", "ready", "skipped", "rejected"]))
    def a_version_arrives(self, number: int, said: str) -> None:
        intent = self.model.get(number)
        if intent is None:
            intent = self.model[number] = Intent(number, said)
        else:
            changes = said == "ready" or said != intent.said
            intent.version += 1
            intent.said = said
            if not changes and intent.went_by == intent.version - 1:
                intent.went_by = intent.version
        if said != "skipped" and number not in self.born:
            self.born.append(number)  # until then it stands alone
        self._accept(number, intent)
        undecided = intent.state in ("", "ready", "skipped", "rejected", "refused", "parked")
        if (undecided and intent.went_by != intent.version) or not intent.state:
            intent.decide(self.now)

    @rule(number=numbers)
    @precondition(lambda self: self.model)
    def an_old_version_arrives(self, number: int) -> None:
        if number in self.model:
            old = self.under.arrivals.skip(f"Appointment/{number}", "entered-in-error", version_id="0")
            self.under.run(self.under.ledger.accept([old], now=self.now))

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 4))
    def a_worker_claims(self, worker: str, limit: int) -> None:
        asked = Claim(worker, self.now, self.now + LEASE, limit)
        found = self.under.run(self.under.ledger.claim(asked))
        expected = self._claimable()[:limit]
        assert [self._number(item) for item in found] == [intent.number for intent in expected]
        for intent in expected:
            intent.token, intent.lease_until = worker, asked.lease_until
        self.claimed += found

    @rule(data=st.data())
    @precondition(lambda self: self.claimed)
    def an_attempt_is_committed(self, data: st.DataObject) -> None:
        claimed = self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1)))
        intent = self.model[self._number(claimed)]
        start = StartTask(claimed, self.now, self.now + LEASE, self.now - GAP)
        (written,) = self.under.run(self.under.ledger.write([start]))
        assert written.done == self._may_start(intent, claimed)
        if written.done:
            intent.state, intent.lease_until = "sending", start.lease_until
            intent.called_at, intent.retried = self.now, False
            intent.tries += 1
            assert written.number == intent.tries
            self.sending.append((claimed, written.number))

    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)))
    @precondition(lambda self: self.sending)
    def an_answer_comes(self, data: st.DataObject, outcome: str) -> None:
        claimed, number = self.sending.pop(data.draw(st.integers(0, len(self.sending) - 1)))
        again_at = self.now + timedelta(minutes=5)
        settle = SettleTask(claimed, number, OUTCOMES[outcome], self.now, self.now, again_at, self.now)
        self.under.run(self.under.ledger.write([settle]))
        intent = self.model[self._number(claimed)]
        if intent.tries != number:
            return
        if intent.state in ("in_doubt", "ready") and outcome == "sent":
            intent.state, intent.called_at = "sent", self.now
            intent.due_at = intent.token = intent.lease_until = None
            return
        if intent.state != "sending":
            return
        intent.state, intent.token, intent.lease_until = outcome, None, None
        intent.due_at = again_at if outcome == "ready" else None
        intent.retried = outcome == "ready"
        if outcome in ("ready", "refused"):
            intent.called_at = None
        if outcome == "ready" and intent.went_by != intent.version:
            intent.decide(self.now)

    @rule()
    def the_dead_are_looked_for(self) -> None:
        lost = [
            intent
            for intent in self.model.values()
            if intent.state == "sending" and intent.lease_until and intent.lease_until <= self.now
        ]
        assert self.under.run(self.under.ledger.rescue(self.now)) == len(lost)
        for intent in lost:
            intent.state, intent.due_at, intent.token, intent.lease_until = "in_doubt", None, None, None

    # -- what people do --

    @rule(number=numbers)
    def somebody_cancels(self, number: int) -> None:
        if (intent := self.model.get(number)) is None:
            return
        may = intent.state in ("ready", "rejected", "refused", "parked", "in_doubt")
        assert self._act("cancel", self._chosen(number)) == may
        if may:
            intent.state, intent.due_at, intent.token, intent.lease_until = "cancelled", None, None, None

    @rule(number=numbers)
    def somebody_retries(self, number: int) -> None:
        if (intent := self.model.get(number)) is None:
            return
        let_be_in_doubt = intent.state == "cancelled" and intent.called_at is not None
        may = intent.state in ("ready", "refused", "parked", "cancelled") and not let_be_in_doubt
        assert self._act("retry", self._chosen(number)) == may
        if may:
            intent.state = ""
            intent.decide(self.now)

    @rule(number=numbers)
    def somebody_knows_it_was_sent(self, number: int) -> None:
        if (intent := self.model.get(number)) is None:
            return
        may = intent.state == "in_doubt"
        task = f"00000000-0000-4000-9000-{number:012d}"
        assert self._act("resolve_sent", f"Appointment/{number}", task) == may
        intent.state = "sent" if may else intent.state

    @rule(number=numbers)
    def somebody_knows_it_was_not_sent(self, number: int) -> None:
        if (intent := self.model.get(number)) is None:
            return
        may = intent.state == "in_doubt" or (intent.state == "cancelled" and intent.called_at is not None)
        assert self._act("resolve_resend", self._chosen(number)) == may
        if may:
            intent.state, intent.due_at, intent.called_at, intent.retried = "ready", self.now, None, False
            if intent.went_by != intent.version:
                intent.decide(self.now)

    @rule()
    def somebody_pauses_or_resumes(self) -> None:
        self._act("resume" if self.paused else "pause", "ehr")
        self.paused = not self.paused

    # -- what must hold --

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        expected = {
            # When something no longer waits, nobody asks when it was due.
            number: (i.state, i.due_at if i.state == "ready" else None, i.token, i.called_at, i.tries)
            for number, i in self.model.items()
        }
        found = {
            number: (state, due_at if state == "ready" else None, *more)
            for number, (state, due_at, *more) in self.under.run(self.under.rows()).items()
        }
        assert found == expected

    @invariant()
    def one_phone_rings_once(self) -> None:
        lanes = [intent.lane for intent in self.model.values() if intent.state == "sending"]
        assert len(lanes) == len(set(lanes))

    def teardown(self) -> None:
        assert self.under.run(self.under.ledger.verify_audit()) is None

    # -- how it is asked --

    def _accept(self, number: int, intent: Intent) -> None:
        label, version = f"Appointment/{number}", str(intent.version)
        arrivals = self.under.arrivals
        if intent.said == "ready":
            phone = f"+1212555010{intent.lane}"
            patient_id = f"00000000-0000-4000-9000-{number:012d}"
            arrival = arrivals.call(
                label, phone=phone, patient_id=patient_id, task=f"Version {version}", version_id=version
            )
        else:
            made = arrivals.skip if intent.said == "skipped" else arrivals.reject
            arrival = made(label, version_id=version)
        self.under.run(self.under.ledger.accept([arrival], now=self.now))

    def _claimable(self) -> list[Intent]:
        """The longest due first, the first of each lane that has nothing in flight."""
        if self.paused:
            return []
        busy = {intent.lane for intent in self.model.values() if intent.state == "sending"}
        due = [i for i in self.model.values() if i.state == "ready" and i.due_at and i.due_at <= self.now]
        due.sort(key=lambda intent: (intent.due_at, self.born.index(intent.number)))
        first = {intent.lane: intent for intent in reversed(due)}
        return [i for i in due if first[i.lane] is i and i.lane not in busy and i.is_claimable(self.now)]

    def _may_start(self, intent: Intent, claimed: Claimed) -> bool:
        ours = intent.state == "ready" and intent.token == claimed.token
        others = [i for i in self.model.values() if i.lane == intent.lane and i is not intent]
        called = any(i.called_at and i.called_at > self.now - GAP for i in others)
        in_flight = any(i.state == "sending" for i in others)
        leased = intent.lease_until is not None and intent.lease_until > self.now
        return ours and leased and not (called or in_flight or self.paused)

    def _act(self, name: str, *about: Any) -> Any:
        return self.under.run(getattr(self.under.ledger, name)(*about, Act("tester", "because", self.now)))

    def _chosen(self, number: int) -> Selection:
        return Selection(key=f"Appointment/{number}")

    def _number(self, claimed: Claimed) -> int:
        return int(claimed.trigger.partition("/")[2])


@pytest.fixture
def under(location: str, arrivals: Any, monday: datetime) -> Iterator[Under]:
    """A ledger on a loop of its own, for a machine does one thing after the other."""
    with asyncio.Runner() as runner:
        opening = open_ledger(location, now=monday, breaker=Breaker(failures=10**6), **HERE)
        ledger = runner.run(opening)
        yield Under(ledger, runner, arrivals, monday)
        runner.run(ledger.aclose())


def test_the_ledger_does_what_the_model_says(under: Under) -> None:
    """Twenty times thirty things happen, chosen so as to find the shortest way to a difference."""

    class Machine(LedgerMachine):
        pass

    Machine.under = under
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
