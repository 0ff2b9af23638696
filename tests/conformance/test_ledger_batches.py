"""What holds for one arrival holds for many in one transaction: how they are batched makes no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from fhir_bridge.ledger.database.tables import intents, members, metadata, triggers
from fhir_bridge.ledger.operation.named import alone_as_intents
from fhir_bridge.ledger.records import Arrival, Change, Heard
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.statements import Statement
from tests.conformance.conftest import DESTINATION

LABELS = ("Appointment/a1", "Appointment/a2", "Appointment/a3", "ServiceRequest/s1", "ServiceRequest/s2")
LOST_AT = "@2026-11-20T10:00:00-05:00"
SKIPS = ("already-booked", "entered-in-error", "not-active", "patient-moved", "patient-deceased")


async def test_many_intents_are_decided_again_in_one_batch(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Newer versions of two triggers that arrive together each change their own intent."""
    labels = ("Appointment/a", "Appointment/b")
    await ledger.accept([arrivals.call(label) for label in labels], now=monday)
    newer = [arrivals.skip(label, version_id="2") for label in labels]
    accepted = await ledger.accept(newer, now=monday)
    assert [one.change for one in accepted] == [Change.DECIDED_AGAIN] * 2
    assert (await ledger.status(monday)).states == {"skipped": 2}


@dataclass(frozen=True)
class Message:
    """What one message says of a trigger: which others are of its chain, whom it is about (None: nobody
    knows), whether it says that an appointment was lost; and of the person, None where it says nothing."""

    trigger: str
    others: frozenset[str]
    kind: str
    reason: str
    version: int
    person: str | None
    is_lost: bool
    stop: tuple[str | None] | None

    def arrival(self, arrivals: Any, monday: datetime) -> Arrival:
        """As intake has it."""
        chain = (self.trigger, *sorted(self.others - {self.trigger}))
        root = min(chain, key=lambda label: (label.startswith("Appointment"), label))
        loss = self.trigger + LOST_AT if self.is_lost and self.trigger.startswith("Appointment") else None
        key = "|".join(("ehr", str(self.person), root, *([loss] if loss else [])))
        about = {
            "patient": self.person,
            "intent": key if self.person else None,
            "members": chain,
            "version_id": str(self.version),
            "last_updated": monday + timedelta(minutes=self.version),
            "loss": loss,
        }
        if self.kind == "skip":
            made = arrivals.skip(self.trigger, self.reason, **about)
        elif self.kind == "reject" or self.person is None:
            made = arrivals.reject(self.trigger, **about)
        else:
            made = arrivals.call(self.trigger, task=f"Version {self.version}", **about)
        assert isinstance(made, Arrival)
        return made

    def heard(self) -> list[Heard]:
        """What it says of the person."""
        if self.stop is None or self.person is None:
            return []
        return [Heard("ehr", Statement((self.person,), self.person, self.stop[0], str(self.version)))]


MESSAGES = st.lists(
    st.builds(
        Message,
        trigger=st.sampled_from(LABELS),
        others=st.frozensets(st.sampled_from(LABELS), max_size=3),
        kind=st.sampled_from(["call", "call", "skip", "reject"]),
        reason=st.sampled_from(SKIPS),
        version=st.integers(1, 3),
        person=st.sampled_from(["Patient/p1", "Patient/p1", "Patient/p1", "Patient/p2", None]),
        is_lost=st.booleans(),
        stop=st.one_of(st.none(), st.none(), st.tuples(st.sampled_from([None, "patient-deceased"]))),
    ),
    min_size=2,
    max_size=7,
)


REJECTED_THEN_DECEASED = [
    Message("Appointment/a1", frozenset(), kind, "not-active", version, "Patient/p1", False, stop)
    for kind, version, stop in [("reject", 2, None), ("call", 1, ("patient-deceased",)), ("call", 1, (None,))]
]
"""Nobody is a patient of the endpoint's for a Reject, and yet what is said of the person counts for it."""


@dataclass
class Under:
    """One ledger for every example, and the loop it lives in."""

    ledger: SqlLedger
    runner: asyncio.Runner
    arrivals: Any
    monday: datetime

    def made_of(self, batches: Sequence[Sequence[Message]]) -> Any:
        """The ledger that comes of them, from nothing."""
        return self.runner.run(self._made_of(batches))

    async def _made_of(self, batches: Sequence[Sequence[Message]]) -> Any:
        async with self.ledger._writing() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "destination":
                    await connection.execute(delete(table))
        for batch in batches:
            taken = [message.arrival(self.arrivals, self.monday) for message in batch]
            heard = [each for message in batch for each in message.heard()]
            await self.ledger.accept(taken, now=self.monday, heard=heard)
        return await self._told()

    async def _told(self) -> Any:
        """Intents, what each trigger says and where, and which intent every member of a chain leads to."""
        async with self.ledger._reading() as connection:
            by_id = {row.id: row for row in await connection.execute(select(intents))}
            alone = {row.trigger: row for row in await connection.execute(alone_as_intents())}
            standing = (await connection.execute(select(triggers))).all()
            joined = (await connection.execute(select(members))).all()
        names = ("state", "reason", "trigger", "loss", "alarm", "fingerprint")
        stands_in = {row.trigger: by_id.get(row.intent_id) or alone[row.trigger] for row in standing}
        said = {row.trigger: (stands_in[row.trigger].key, row.decision, row.reason) for row in standing}
        leads = {(trigger, intent.loss): intent.key for trigger, intent in stands_in.items()}
        leads |= {(row.member, row.loss): by_id[row.intent_id].key for row in joined}
        everyone = [*by_id.values(), *alone.values()]
        return {row.key: [getattr(row, n) for n in names] for row in everyone}, said, leads


@pytest.fixture
def under(location: str, arrivals: Any, monday: datetime) -> Iterator[Under]:
    """An empty ledger."""
    with asyncio.Runner() as runner:
        ledger = runner.run(open_ledger(location, now=monday, **DESTINATION))
        yield Under(ledger, runner, arrivals, monday)
        runner.run(ledger.aclose())


def test_how_messages_are_batched_makes_no_difference(under: Under) -> None:
    """Any batches of a sequence of messages leave the ledger that they leave one by one."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(MESSAGES, st.lists(st.booleans(), min_size=6, max_size=6))
    @example(REJECTED_THEN_DECEASED, [False] * 6)
    @example(REJECTED_THEN_DECEASED[:2], [False] * 6)
    def check(messages: list[Message], breaks: list[bool]) -> None:
        batches = [[messages[0]]]
        for message, is_new in zip(messages[1:], breaks, strict=False):
            if is_new:
                batches.append([])
            batches[-1].append(message)
        assert under.made_of(batches) == under.made_of([[message] for message in messages])

    check()
