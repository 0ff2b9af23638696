"""Versions and deletions of one trigger in any order: who was called off last is not called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_bridge.ledger.arrivals.batch import Intake, Known
from fhir_bridge.ledger.arrivals.content import standing_of
from fhir_bridge.ledger.arrivals.folding import fold
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State
from fhir_bridge.mapping.decision import DELETED, Skip, Subject
from tests.conftest import MONDAY, Arrivals

TRIGGER = "Appointment/a1"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Event:
    """What happened at the source, ten minutes after the event before, and how many minutes later each copy
    of the news of it comes."""

    kind: str
    delays: tuple[int, ...]


@dataclass(frozen=True)
class Server:
    """What a source tells of its versions; `dates_deletions`: when something was deleted, too."""

    has_numbers: bool
    has_times: bool
    dates_deletions: bool

    def news(self, number: int, kind: str, at: datetime, came: datetime) -> Arrival:
        """Of one event, as intake hands it over."""
        if kind == "deleted":
            subject = Subject(TRIGGER, None, (TRIGGER,), last_updated=at if self.dates_deletions else came)
            decision = Skip(subject, "entered-in-error", detail=DELETED)
            return Arrival("ehr", decision, "Appointment", said_at=came)
        told: dict[str, Any] = {
            "version_id": str(number) if self.has_numbers else None,
            "last_updated": at if self.has_times else None,
        }
        made = Arrivals().call if kind == "call" else Arrivals().skip
        return replace(made(TRIGGER, **told), said_at=came)


servers = st.builds(Server, st.booleans(), st.booleans(), st.booleans()).filter(
    lambda server: server.has_numbers or server.has_times
)
delays = st.lists(st.sampled_from([0, 1, 5, 25, 60]), min_size=1, max_size=2).map(tuple)
events = st.lists(
    st.builds(Event, st.sampled_from(["call", "skip", "deleted"]), delays), min_size=2, max_size=5
)


@given(servers, events)
def test_who_was_called_off_last_is_not_called_in_whatever_order_the_news_come(
    server: Server, happened: list[Event]
) -> None:
    """Late, twice, deleted before they come: the newest thing that happened counts, if it calls nobody."""
    assume(happened[-1].kind != "call")
    news = []
    for number, event in enumerate(happened, 1):
        at = MONDAY + number * 10 * MINUTE
        news += [(at + delay * MINUTE, number, event.kind, at) for delay in event.delays]
    known = Known()
    for came, number, kind, at in sorted(news):
        arrival = server.news(number, kind, at, came)
        fold(known, arrival, standing_of(arrival, b"salt"), Intake(came, came))
    assert all(intent.state is not State.READY for intent in known.by_key.values())
