"""docs/reliability.md out of the results of a chaos run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tests.acceptance.chaos import FROM_OUTSIDE, Result
from tests.acceptance.chaos_evidence import AT_LAST, INVARIANTS, Kill
from tests.acceptance.chaos_process import IN_INTAKE, IN_OPERATION, IN_WORK

POINTS = (*IN_INTAKE, *IN_WORK, *IN_OPERATION)

HEAD = """\
# Reliability: what was killed, and what was left

`make chaos` wrote this page on {day}; running it again writes it anew. It runs the bridge's own commands
(`fhir-bridge worker`, `submit`, `retry`, `cancel`) in processes of their own against `fhir-bridge sandbox`,
on SQLite and on a real PostgreSQL, and kills them with `kill -9`: at a fault point before or after a commit
of the ledger, before, during or after a request, or wherever they are at a random moment. The endpoint
drops connections before and after it has made a task, hangs, answers 429, 500, 502 and 503, garbage and
half answers, and is killed and started again twice in each run.

Then the endpoint behaves, what is left is sent, and the invariants are looked at. Last, an operator looks
up at the endpoint whatever is in doubt and says what became of it: after that every person must have
exactly one task. Every intent has a patient of its own, so that two tasks for one patient are somebody
phoned twice; of three people two share a telephone.

**{total:,} intents, {kills:,} kills, {breaches} breaches.**
"""


def report(results: Sequence[Result]) -> str:
    """The page."""
    total = sum(result.plan.intents for result in results)
    kills = [kill for result in results for kill in result.at_last.kills]
    found = sum(len(result.breaches) for result in results)
    day = f"{datetime.now(UTC):%d %B %Y}"
    parts = [
        HEAD.format(day=day, total=total, kills=len(kills), breaches=found),
        "## Invariants\n\n" + _table(("invariant", "breaches"), _by_invariant(results)),
        "## Runs\n\n" + _runs(results),
        "## Where they were killed\n\n" + _table(("fault point", *_columns(results)), _by_point(results)),
        "## What was killed when\n\n" + _timeline(results),
    ]
    return "\n".join(parts)


def missed(results: Sequence[Result]) -> dict[str, list[str]]:
    """By database, the fault points at which nothing was killed."""
    by_database: dict[str, set[str]] = {}
    for result in results:
        hit = by_database.setdefault(result.plan.database, set())
        hit.update(kill.where for kill in result.at_last.kills)
    return {
        database: [point for point in POINTS if point not in hit] for database, hit in by_database.items()
    }


def _by_invariant(results: Sequence[Result]) -> list[tuple[object, ...]]:
    told = [line for result in results for line in result.breaches]
    names = [*INVARIANTS, AT_LAST]
    return [(name, sum(line.startswith(f"{name}: ") for line in told)) for name in names]


def _runs(results: Sequence[Result]) -> str:
    head = ("database", "seed", "workers", "intents", "seconds", "kills", "of the endpoint",
            "most left by one", "states after the chaos", "tasks", "doubts settled", "states at last",
            "tasks at last")  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for result in results:
        plan, chaos, last = result.plan, result.after_chaos, result.at_last
        rows.append(
            (plan.database, plan.seed, plan.workers, plan.intents, round(result.seconds), len(chaos.kills),
             result.endpoint_kills, max((kill.left for kill in chaos.kills), default=0), _told(chaos.states),
             len(chaos.tasks), result.settled, _told(last.states), len(last.tasks))
        )  # fmt: skip
    return _table(head, rows)


def _columns(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.plan.database for result in results))


def _by_point(results: Sequence[Result]) -> list[tuple[object, ...]]:
    counts = {
        database: Counter(
            kill.where for r in results if r.plan.database == database for kill in r.at_last.kills
        )
        for database in _columns(results)
    }
    return [(point, *(count[point] for count in counts.values())) for point in (*POINTS, FROM_OUTSIDE)]


def _timeline(results: Sequence[Result]) -> str:
    text = "Minutes and seconds since the start, the process, where it died, the requests it left in doubt.\n"
    for result in results:
        name = f"{result.plan.database}, seed {result.plan.seed}"
        lines = "\n".join(_line(kill) for kill in sorted(result.at_last.kills, key=lambda kill: kill.at))
        text += f"\n<details><summary>{name}</summary>\n\n```\n{lines}\n```\n</details>\n"
    return text


def _line(kill: Kill) -> str:
    minutes, seconds = divmod(kill.at, 60)
    return f"{minutes:02.0f}:{seconds:04.1f}  {kill.role:8}  {kill.where}, left {kill.left}"


def _told(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _table(head: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
