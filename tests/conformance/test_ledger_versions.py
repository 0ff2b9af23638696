"""Which of two versions counts where they come late, contradict themselves, or after a deletion."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.ledger.records import Act, Arrival, Change, Selection
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.decision import DELETED, Skip, Subject

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
TRIGGER = "Appointment/a1"
Version = tuple[str | None, timedelta | None]
"""versionId, and how long after Monday it was updated."""


def deletion(at: datetime | None, said_at: datetime | None) -> Arrival:
    """What intake makes of a DELETE."""
    subject = Subject(TRIGGER, None, (TRIGGER,), last_updated=at)
    return Arrival("ehr", Skip(subject, "entered-in-error", detail=DELETED), "Appointment", said_at=said_at)


async def state(ledger: SqlLedger) -> tuple[str, str | None]:
    """Of the only intent."""
    shown = await ledger.show(TRIGGER)
    return shown["state"], shown["reason"]


class Told:
    """Versions of one appointment, told on Monday and later."""

    def __init__(self, ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
        self.ledger, self.arrivals, self.monday, self.now = ledger, arrivals, monday, monday

    async def call(self, version: Version, **given: Any) -> Change:
        """A version that calls; what the ledger did with it."""
        return await self.take(self.arrivals.call(TRIGGER, **self._of(version), **given))

    async def skip(self, version: Version, **given: Any) -> Change:
        """A version that does not."""
        return await self.take(self.arrivals.skip(TRIGGER, **self._of(version), **given))

    async def deleted(self, *, at: timedelta | None = None) -> Change:
        """Told now; without a time of its own, it is so since now."""
        self.now += MINUTE
        return await self.take(deletion(self.now if at is None else self.monday + at, self.now))

    async def take(self, arrival: Arrival) -> Change:
        """Anything."""
        (accepted,) = await self.ledger.accept([arrival], now=self.now)
        return accepted.change

    def _of(self, version: Version) -> dict[str, Any]:
        number, after = version
        return {"version_id": number, "last_updated": None if after is None else self.monday + after}


@pytest.fixture
def told(ledger: SqlLedger, arrivals: Any, monday: datetime) -> Told:
    """What a test tells."""
    return Told(ledger, arrivals, monday)


@pytest.mark.parametrize(
    ("known", "late"),
    [
        (("2", None), ("1", None)),
        (("2", None), ("2", None)),
        (("2", None), (None, None)),
        (("2", None), ("9", None)),
        (("2", -DAY), ("3", -MINUTE)),
        (("2", -DAY), ("1", 2 * MINUTE)),
        (("2", DAY), ("2", DAY)),
        ((None, -DAY), (None, -MINUTE)),
        ((None, None), (None, None)),
        (("abc", -DAY), ("xyz", -MINUTE)),
    ],
)
async def test_a_deletion_outlives_what_may_have_been_before_it(
    told: Told, known: Version, late: Version
) -> None:
    """Whatever a late copy says of its age: under a versionId that was there, or not updated since."""
    await told.call(known)
    assert await told.deleted() is Change.DECIDED_AGAIN
    assert await told.call(late, task="another") is Change.OLDER
    assert await state(told.ledger) == ("skipped", "entered-in-error")


@pytest.mark.parametrize("late", [("1", None), (None, None), ("1", -MINUTE)])
async def test_a_deletion_that_comes_first_counts_as_well(told: Told, late: Version) -> None:
    """Nothing was known of what is deleted, and its versions come after it."""
    await told.deleted()
    assert await told.call(late) is Change.OLDER
    assert (await told.ledger.status(told.now)).states == {"skipped": 1}


@pytest.mark.parametrize("again", [("3", DAY), (None, DAY), ("xyz", DAY)])
@pytest.mark.parametrize("at", [None, timedelta(0)], ids=["told now", "with its time"])
async def test_what_is_made_after_its_deletion_is_called_again(
    told: Told, again: Version, at: timedelta | None
) -> None:
    """A record that is put back under its id: updated later, under a versionId that was not there."""
    await told.call(("2", -DAY))
    await told.deleted(at=at)
    told.now += DAY
    assert await told.call(again, task="another") is Change.DECIDED_AGAIN
    assert (await state(told.ledger))[0] == "ready"


async def test_a_deletion_counts_though_the_clock_of_its_server_runs_ahead(told: Told) -> None:
    """What is deleted was updated in our future, as it seems; told again it stays deleted."""
    await told.call(("2", 5 * MINUTE))
    assert await told.deleted() is Change.DECIDED_AGAIN
    assert await told.call(("2", 5 * MINUTE)) is Change.OLDER
    assert await state(told.ledger) == ("skipped", "entered-in-error")


async def test_a_deletion_that_comes_late_does_not_undo_what_was_made_since(told: Told) -> None:
    """Its source says when it was, and that was before."""
    await told.call(("4", timedelta(0)))
    assert await told.deleted(at=-DAY) is Change.OLDER
    assert (await state(told.ledger))[0] == "ready"


async def test_a_deletion_that_is_told_again_changes_nothing(told: Told) -> None:
    """With its own time."""
    await told.call(("2", -DAY))
    await told.deleted(at=-MINUTE)
    assert await told.deleted(at=-MINUTE) is Change.UNCHANGED


@pytest.mark.parametrize(
    ("known", "arrived"), [(("5", -DAY), ("1", timedelta(0))), (("1", timedelta(0)), ("5", -DAY))]
)
async def test_versions_that_contradict_themselves_call_nobody_by_themselves(
    told: Told, known: Version, arrived: Version
) -> None:
    """A server that numbers anew, or an old copy with a new time: a person says which. The next version of it
    is as good as any.
    """
    await told.skip(known)
    await told.call(arrived)
    assert await state(told.ledger) == ("parked", "versions-disagree")
    await told.call(arrived)
    assert await state(told.ledger) == ("parked", "versions-disagree")
    number, after = arrived
    assert number is not None and after is not None
    await told.call((str(int(number) + 1), after + 2 * MINUTE))
    assert (await state(told.ledger))[0] == "ready"


async def test_a_person_lets_versions_that_contradict_themselves_count(told: Told) -> None:
    """Then they stand like any other: what comes later of the chain does not park them again."""
    await told.skip(("5", -DAY))
    await told.call(("1", timedelta(0)))
    act = Act("op", "the server was rebuilt", told.now)
    assert await told.ledger.retry(Selection(reason="versions-disagree"), act) == 1
    assert (await state(told.ledger))[0] == "ready"
    order = told.arrivals.call("ServiceRequest/s1", members=("ServiceRequest/s1", TRIGGER))
    await told.take(order)
    assert (await state(told.ledger))[0] == "ready"


@pytest.mark.parametrize("known", [("5", -DAY), ("1", -DAY)])
async def test_a_cancellation_counts_whatever_its_number(told: Told, known: Version) -> None:
    """Of a server that numbers anew too: it is not silently older."""
    await told.call(known)
    await told.skip(("1", timedelta(0)), reason="patient-moved")
    assert await state(told.ledger) == ("skipped", "patient-moved")


async def test_a_call_that_waits_anyway_is_brought_up_to_date(told: Told) -> None:
    """By a server that numbers anew: nobody is called who was not."""
    await told.call(("5", -DAY))
    await told.call(("1", timedelta(0)), task="another")
    shown = await told.ledger.show(TRIGGER)
    assert (shown["state"], shown["request"]["task"]) == ("ready", "another")


async def test_a_loss_of_contradictory_age_makes_no_second_call(told: Told) -> None:
    """The call of the appointment waits; an old copy with a new time says that it was lost."""
    await told.call(("5", -DAY))
    loss = f"{TRIGGER}@2026-11-20T10:00:00-05:00"
    await told.call(("1", timedelta(0)), loss=loss, intent=f"ehr|Patient/p-a1|{TRIGGER}|{loss}")
    assert "ready" not in (await told.ledger.status(told.now)).states


async def test_what_is_left_aside_is_counted(told: Told) -> None:
    """By source, and with its version where somebody looks at the intent."""
    await told.call(("5", timedelta(0)))
    for version in ("3", "4"):
        assert await told.skip((version, -MINUTE)) is Change.OLDER
    assert (await told.ledger.status(told.now)).outdated == {"ehr": 2}
    (aside,) = (await told.ledger.show(TRIGGER))["outdated"]
    assert (aside["trigger"], aside["count"], aside["version_id"]) == (TRIGGER, 2, "4")
