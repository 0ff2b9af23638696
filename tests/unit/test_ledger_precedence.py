"""Which version is newer, and which of several decisions an intent goes by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.ledger.arrivals.precedence import Age, Standing, Version, age, chosen, revokes

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
SECOND = timedelta(seconds=1)

versions = st.builds(
    Version,
    st.one_of(st.none(), st.integers(0, 20).map(str), st.sampled_from(["W/1", "abc", "٣"])),
    st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
)


def standing(
    trigger: str, decision: str, reason: str | None = None, updated: datetime | None = None
) -> Standing:
    """What a trigger says."""
    return Standing(trigger, trigger.partition("/")[0], Version("1", updated), decision, reason, "", b"")


@pytest.mark.parametrize(
    ("arrived", "known", "expected"),
    [
        (Version("10", NOON), Version("9", LATER), Age.NEWER),  # a restored server: its numbers count
        (Version("2", None), Version("10", None), Age.OLDER),
        (Version("a", LATER), Version("b", NOON), Age.NEWER),
        (Version("a", None), Version("b", None), Age.SAME),
        (Version(None, None), Version("3", NOON), Age.SAME),
        (Version("3", NOON), Version("3", NOON), Age.SAME),
        (Version("3", LATER), Version("3", NOON), Age.NEWER),
        (Version("1", LATER + SECOND), Version("9", NOON), Age.UNCLEAR),
        (Version("9", NOON), Version("1", LATER + SECOND), Age.UNCLEAR),
        (Version("9", LATER + SECOND), Version("1", NOON), Age.NEWER),
    ],
)
def test_versions_are_ordered_by_number_then_by_time(arrived: Version, known: Version, expected: Age) -> None:
    """versionId where both are numbers that differ, else lastUpdated, else nothing tells; and no order where
    the two are more than an hour apart in it."""
    assert age(arrived, known) is expected


@given(versions, versions)
def test_newer_one_way_is_older_the_other(left: Version, right: Version) -> None:
    """The order is the same from both sides, what contradicts itself does so from both, and nothing is newer
    than itself."""
    other_way = {Age.OLDER: Age.NEWER, Age.NEWER: Age.OLDER}
    assert age(left, right) is other_way.get(told := age(right, left), told)
    assert age(left, left) is Age.SAME


GATE = standing("ServiceRequest/o", "skip", "patient-deceased")
WITHDRAWN = standing("Appointment/w", "skip", "order-withdrawn")
SITE = standing("ServiceRequest/s", "skip", "site-rule-7")
APPOINTMENT = standing("Appointment/a", "call")
REJECTED = standing("Appointment/r", "reject", "phone-missing")
ORDINARY = standing("Appointment/o", "skip", "window-passed")
ORDER = standing("ServiceRequest/o", "call")
MISTAKE = standing("Appointment/m", "skip", "entered-in-error")


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ((APPOINTMENT, GATE), GATE),
        ((APPOINTMENT, SITE), SITE),
        ((ORDER, WITHDRAWN), WITHDRAWN),
        ((ORDER, APPOINTMENT), APPOINTMENT),
        ((ORDER, ORDINARY), ORDINARY),
        ((ORDER, REJECTED), REJECTED),
        ((APPOINTMENT, REJECTED, ORDINARY), APPOINTMENT),
        ((ORDER, MISTAKE), ORDER),
        ((MISTAKE,), MISTAKE),
    ],
)
def test_precedence(standings: tuple[Standing, ...], expected: Standing) -> None:
    """A Skip for the whole intent, else the Appointment's decision, else the order's, in any order."""
    for order in permutations(standings):
        assert chosen(order) is expected


def test_of_two_calls_the_newer_counts() -> None:
    """Two orders for one purpose: what was said last."""
    older, newer = (
        standing("ServiceRequest/1", "call", None, NOON),
        standing("ServiceRequest/2", "call", None, LATER),
    )
    assert chosen([newer, older]) is newer


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("patient-deceased", True),
        ("order-withdrawn", True),
        ("already-booked", False),
        ("window-passed", False),
    ],
)
def test_success_and_time_revoke_nothing(reason: str, expected: bool) -> None:
    """Only what means that nobody should have been called is an alarm."""
    assert revokes(standing("Appointment/a", "skip", reason)) is expected
    assert not revokes(APPOINTMENT)


def order(name: str, reason: str, status: str = "") -> Standing:
    """A skipped order; the detail of its content is its status."""
    content = b'{"detail":"%s"}' % status.encode() if status else b""
    return replace(standing(f"ServiceRequest/{name}", "skip", reason), content=content)


@pytest.mark.parametrize(
    "withdrawn",
    [
        order("o", "not-active", "revoked"),
        order("o", "not-active", "completed"),
        order("o", "not-active"),
        order("o", "entered-in-error"),
        order("o", "do-not-perform"),
    ],
)
def test_an_order_that_is_withdrawn_takes_its_appointment_along(withdrawn: Standing) -> None:
    """The Appointment was decided when the order was active; now nobody wants it."""
    assert chosen([APPOINTMENT, withdrawn]) == withdrawn
    assert chosen([REJECTED, withdrawn]) == withdrawn


def test_an_appointment_is_wanted_while_one_of_its_orders_is() -> None:
    """One of two orders revoked, or the only one on hold: the Appointment speaks."""
    revoked, active = order("o", "not-active", "revoked"), standing("ServiceRequest/p", "call")
    assert chosen([APPOINTMENT, revoked, active]) == APPOINTMENT
    assert chosen([APPOINTMENT, order("o", "not-active", "on-hold")]) == APPOINTMENT
