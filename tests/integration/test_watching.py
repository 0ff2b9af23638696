"""A source's server does not tell everything: what never came is fetched, over real sockets (intake, section
1, "Missed events").
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake import notifications
from fhir_bridge.ledger.sources.messages import FETCHED, MessageSelection, Received
from fhir_bridge.ledger.sources.watched import Watched
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.subscriptions.criteria import criteria_of
from fhir_bridge.subscriptions.hearing import Hearing
from fhir_bridge.subscriptions.keeping import Keeper
from fhir_bridge.subscriptions.kept import Kept
from fhir_bridge.subscriptions.watch_rules import WatchRules
from fhir_bridge.subscriptions.watcher import Watcher
from tests.conftest import MONDAY
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.notifying import Notifier
from tests.doubles.serving import listening, serving

DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
TOPIC = "http://ehr.example/topic/appointments"
LATER = timedelta(seconds=20)
"""More than GRACE: what is under way has come by then."""

ONE_TRY = Limits(rate=None, tries=1)
WAYS = load_profile(SourceFacts("ehr")).searches.changed
APPOINTMENTS = (criteria_of("Appointment?"),)


def appointment(number: int, **elements: Any) -> dict[str, Any]:
    """Appointment/a1, and so on."""
    return {"resourceType": "Appointment", "id": f"a{number}", "status": "booked", **elements}


@dataclass
class Site:
    """A hospital's server that posts to us, and we who hear and watch. `late`: how far our clock is ahead."""

    ledger: SqlLedger
    hospital: FhirServerDouble
    notifier: Notifier
    server: FhirServer
    rules: WatchRules
    up: bool = True
    late: timedelta = field(default_factory=timedelta)

    def clock(self) -> datetime:
        """Ours."""
        return datetime.now(UTC) + self.late

    async def receive(self, request: Request) -> Response:
        """Our endpoint: keeps, answers with FHIR; or is down."""
        if not self.up:
            return Response(status_code=500)
        body, now = await request.body(), self.clock()
        route = notifications.Route(deleted=request.headers.get("x-medplum-deleted-resource"))
        message = notifications.parse(body, route)
        await self.ledger.receive([Received("ehr", body, now, deleted=route.deleted)])
        await Hearing(self.ledger, "ehr", self.rules.numbering).heard([(message, now)])
        return JSONResponse({"resourceType": "OperationOutcome", "issue": []})

    @property
    def keeper(self) -> Keeper:
        """Keeps our subscriptions there."""
        return Keeper(self.ledger, self.server, self.rules, self.clock)

    async def subscribe(self) -> Kept:
        """As `subscribe create` does; active when this returns."""
        (wanted,) = await self.keeper.wanted()
        kept, _ = await self.keeper.create(wanted, await self.keeper.ours())
        await self.settled()
        return kept

    async def settled(self) -> None:
        """Wait until the server posted all it has to."""
        await asyncio.to_thread(self.notifier.settled)

    async def change(self, *resources: dict[str, Any]) -> None:
        """Something happens there, and is posted."""
        for resource in resources:
            self.hospital.records.put(resource)
        await self.settled()

    def watcher(self, **rules: Any) -> Watcher:
        """Ours, with its own rules."""
        return Watcher(self.ledger, replace(self.rules, **rules), self.server, self.clock)

    async def look(self, late: timedelta = LATER, **rules: Any) -> None:
        """One look, so much later."""
        self.late += late
        await self.watcher(**rules).look()

    async def subscription(self) -> Watched:
        """The one there is."""
        (found,) = [each for each in await self.ledger.watched("ehr") if each.subscription]
        return found

    async def missed(self) -> list[tuple[int, int]]:
        """The open gaps."""
        return [(gap.first, gap.last) for each in await self.ledger.watched("ehr") for gap in each.open_gaps]

    async def fetched(self) -> list[dict[str, Any]]:
        """What we fetched, as it went into the inbox."""
        found = self.ledger.messages(MessageSelection(source="ehr"))
        return [json.loads(each.body or b"{}") async for each in found if each.method == FETCHED]

    async def labels(self) -> list[str]:
        """The resources in it, in their order."""
        entries = [entry for bundle in await self.fetched() for entry in bundle["entry"]]
        resources = [entry["resource"] for entry in entries if "resource" in entry]
        return [f"{one['resourceType']}/{one['id']}" for one in resources if "id" in one]


@contextlib.asynccontextmanager
async def site(tmp_path: Path, form: str = "r4-backport", **manners: Any) -> AsyncIterator[Site]:
    """All of it, running."""
    version = {"r5": "5.0.0", "r4b": "4.3.0"}.get(form, "4.0.1")
    hospital = FhirServerDouble(fhir_version=version)
    notifier = Notifier(hospital, form, **{"wait": 0.01, "delay": (0.0, 0.01), **manners})
    topic = None if form == "r4" else TOPIC
    with listening() as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/fhir/ehr"
        rules = WatchRules(
            "ehr", endpoint=endpoint, form=form, criteria=APPOINTMENTS, topics=(topic,) if topic else (),
            headers=(("Authorization", "Bearer token"),), silence_alarm=timedelta(), ways=WAYS,
        )  # fmt: skip
        async with (
            hospital.running(),
            FhirServer(hospital.url, limits=ONE_TRY) as server,
            await open_ledger(tmp_path / "ledger.db", **DESTINATION) as ledger,
        ):
            made = Site(ledger, hospital, notifier, server, rules)
            app = Starlette(routes=[Route("/fhir/ehr", made.receive, methods=["POST"])])
            async with serving(app, listener):
                with notifier.running():
                    yield made


@pytest.mark.parametrize("form", ["r4-backport", "r4b", "r5"])
@pytest.mark.parametrize("as_text", [True, False], ids=["text", "number"])
async def test_what_a_number_shows_to_be_missing_is_fetched_by_number(
    tmp_path: Path, form: str, as_text: bool
) -> None:
    """In every form with topics: events 2 and 3 were lost, `$events` has them, no others are asked for."""
    async with site(tmp_path, form, numbers_as_text=as_text) as at:
        kept = await at.subscribe()
        await at.change(appointment(1))
        at.notifier.losing = True
        await at.change(appointment(2), appointment(3))
        at.notifier.losing = False
        await at.change(appointment(4))
        assert await at.missed() == [(2, 3)]
        await at.look()
        assert await at.missed() == []
        (asked,) = at.hospital.lines(f"GET {kept.label}/$events")
        assert asked.endswith("?eventsSinceNumber=2&eventsUntilNumber=3&content=full-resource")
        assert (await at.labels())[:2] == ["Appointment/a2", "Appointment/a3"]


async def test_the_last_events_of_all_are_missed_too(tmp_path: Path) -> None:
    """No later number shows it; `$status` does, and so would a heartbeat."""
    async with site(tmp_path) as at:
        await at.subscribe()
        at.notifier.losing = True
        await at.change(appointment(1), appointment(2))
        await at.look(sweep_every=timedelta())
        assert await at.missed() == [(1, 2)]
        await at.look(sweep_every=timedelta())
        assert await at.missed() == []
        assert await at.labels() == ["Appointment/a1", "Appointment/a2"]


async def test_a_heartbeat_tells_that_its_server_lives_and_what_it_posted(tmp_path: Path) -> None:
    """Its count is of events, and it is one itself no event."""
    async with site(tmp_path) as at:
        kept = await at.subscribe()
        at.notifier.losing = True
        await at.change(appointment(1))
        before = await at.subscription()
        at.notifier.heartbeat(kept.id)
        await at.settled()
        after = await at.subscription()
        assert (await at.missed(), after.events) == ([(1, 1)], 0)
        assert after.last_heard_at > before.last_heard_at  # type: ignore[operator]


async def test_a_server_without_events_is_searched(tmp_path: Path) -> None:
    """At once: the gap is closed by the search, and what nobody told is in the inbox."""
    async with site(tmp_path, offers_events=False) as at:
        await at.subscribe()
        await at.look()
        at.notifier.losing = True
        await at.change(appointment(1))
        at.notifier.losing = False
        await at.change(appointment(2))
        await at.look()
        assert await at.missed() == []
        assert "Appointment/a1" in await at.labels()


async def test_events_that_the_server_no_longer_has_are_searched_for(tmp_path: Path) -> None:
    """It gives what it kept, and nothing says that there was more but the numbers."""
    async with site(tmp_path) as at:
        kept = await at.subscribe()
        await at.look()
        at.notifier.losing = True
        await at.change(appointment(1), appointment(2))
        at.notifier.losing = False
        await at.change(appointment(3))
        del at.notifier.events[kept.id][0]
        await at.look()
        assert await at.missed() == []
        assert {"Appointment/a1", "Appointment/a2"} <= set(await at.labels())


async def test_a_server_that_gives_a_few_at_a_time_is_asked_on(tmp_path: Path) -> None:
    """Each answer is kept; what comes after the last of them is asked for next."""
    async with site(tmp_path) as at:
        kept = await at.subscribe()
        at.notifier.losing, at.notifier.most = True, 2
        await at.change(*(appointment(number) for number in range(1, 6)))
        at.notifier.losing = False
        await at.change(appointment(6))
        await at.look(sweep_every=timedelta())
        assert await at.missed() == []
        assert len(at.hospital.lines(f"GET {kept.label}/$events")) == 3
        assert len(await at.labels()) == 5


async def test_a_server_that_fails_is_asked_again_later(tmp_path: Path) -> None:
    """Its events may come yet; meanwhile the gap stays open, with the reason."""
    async with site(tmp_path) as at:
        await at.subscribe()
        at.notifier.losing = True
        await at.change(appointment(1))
        at.notifier.losing = False
        await at.change(appointment(2))
        async with FhirServer("http://127.0.0.1:9/fhir", limits=ONE_TRY) as nowhere:
            await replace(at, server=nowhere, late=LATER).watcher().look()
        (gap,) = (await at.subscription()).open_gaps
        assert (gap.error, gap.tries) == ("unreachable", 1)
        await at.look()
        assert await at.missed() == [(1, 1)]
        await at.look(timedelta(minutes=2))
        assert await at.missed() == []


async def test_no_other_host_is_asked_whatever_a_message_names(tmp_path: Path) -> None:
    """A forged reference leads to our own source, never to the host it names."""
    foreign = FhirServerDouble()
    async with foreign.running(), site(tmp_path) as at:
        at.notifier.names_itself = foreign.url
        await at.subscribe()
        at.notifier.losing = True
        await at.change(appointment(1))
        at.notifier.losing = False
        await at.change(appointment(2))
        await at.look()
        assert await at.missed() == []
        assert foreign.requests == []


async def test_after_we_were_down_a_search_finds_what_was_missed(tmp_path: Path) -> None:
    """A plain R4 server tries five times and gives up for good, its Subscription still active: nothing shows
    it but the search that is made by itself.
    """
    async with site(tmp_path, "r4") as at:
        await at.subscribe()
        await at.look()
        at.up = False
        await at.change(appointment(1), appointment(2))
        assert at.notifier.deliveries[-5:] == ["500"] * 5
        at.up = True
        await at.change(appointment(3))
        (subscription,) = at.hospital.records.of_type("Subscription")
        assert subscription["status"] == "active"
        await at.look(timedelta(minutes=16))
        assert {"Appointment/a1", "Appointment/a2"} <= set(await at.labels())
        (sweep,) = await at.ledger.sweeps("ehr")
        assert (sweep.error, sweep.missed > 0) == (None, True)


async def test_a_search_does_not_tell_again_what_is_known(tmp_path: Path, arrivals: Any) -> None:
    """What was decided from this very version is left out; a newer version is news."""
    async with site(tmp_path, "r4") as at:
        first = at.hospital.records.put(appointment(1))
        await at.look()
        assert await at.labels() == ["Appointment/a1"]
        decided = arrivals.skip("Appointment/a1", version_id=first["meta"]["versionId"])
        await at.ledger.accept([decided], now=at.clock())
        await at.look(timedelta(minutes=3), sweep_every=timedelta(minutes=1), overlap=timedelta(hours=1))
        assert await at.labels() == ["Appointment/a1"]
        at.hospital.records.put(appointment(1, status="cancelled"))
        await at.look(timedelta(minutes=3), sweep_every=timedelta(minutes=1), overlap=timedelta(hours=1))
        assert await at.labels() == ["Appointment/a1"] * 2


async def test_a_search_of_many_pages_finds_all_of_them(tmp_path: Path) -> None:
    """Every page goes into the inbox before the next is asked for."""
    async with site(tmp_path, "r4") as at:
        await at.look()
        at.hospital.records.put(*(appointment(number) for number in range(230)))
        await at.look(timedelta(minutes=16))
        assert sorted(await at.labels()) == sorted(f"Appointment/a{number}" for number in range(230))
        assert len(await at.fetched()) == 3


async def test_a_search_that_fails_begins_again_where_the_last_good_one_ended(tmp_path: Path) -> None:
    """Nothing falls between two searches."""
    async with site(tmp_path, "r4") as at:
        await at.look()
        (good,) = await at.ledger.sweeps("ehr")
        at.hospital.records.put(appointment(1))
        at.hospital.faults.append(Fault(r"GET Appointment", status=403, times=1))
        await at.look(timedelta(minutes=16))
        (failed,) = await at.ledger.sweeps("ehr")
        assert (failed.error, failed.until) == ("forbidden", good.until)
        await at.look(timedelta(minutes=2))
        (mended,) = await at.ledger.sweeps("ehr")
        assert (mended.error, mended.failing_since, mended.until > good.until) == (None, None, True)
        assert await at.labels() == ["Appointment/a1"]


async def test_a_server_that_cannot_search_by_when_is_an_alarm(tmp_path: Path) -> None:
    """Nothing is fetched that was not asked for."""
    async with site(tmp_path, "r4") as at:
        at.hospital.rejects.add("_lastUpdated")
        await at.look()
        (sweep,) = await at.ledger.sweeps("ehr")
        assert sweep.error == "no-last-updated"


async def test_a_vendor_that_cannot_search_so_is_not_asked_to(tmp_path: Path) -> None:
    """It is known from its layer, before a request is made; what is missed by number is an alarm."""
    async with site(tmp_path, "r4") as at:
        oracle = load_profile(SourceFacts("ehr", vendor="oracle-health")).searches.changed
        await at.look(ways=oracle)
        (sweep,) = await at.ledger.sweeps("ehr")
        assert (sweep.error, at.hospital.requests) == ("no-last-updated", [])


async def test_a_server_that_refuses_to_sort_is_asked_without(tmp_path: Path) -> None:
    """The next way of the layer."""
    async with site(tmp_path, "r4") as at:
        at.hospital.records.put(appointment(1))
        at.hospital.faults.append(Fault(r"GET Appointment\?.*_sort", status=400, times=None))
        await at.look()
        assert await at.labels() == ["Appointment/a1"]


async def test_a_server_that_ignores_since_when_is_an_alarm(tmp_path: Path) -> None:
    """It would send all it ever had."""
    async with site(tmp_path, "r4") as at:
        old = at.hospital.records.put(appointment(1))
        old["meta"]["lastUpdated"] = "2020-01-01T00:00:00.000Z"
        at.hospital.faults.append(
            Fault(
                r"GET Appointment",
                status=200,
                times=9,
                body=json.dumps(
                    {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": old}]}
                ).encode(),
            )
        )
        await at.look()
        (sweep,) = await at.ledger.sweeps("ehr")
        assert (sweep.error, await at.labels()) == ("last-updated-ignored", [])


async def test_news_without_content_are_searched_for_and_forgery_does_not_multiply_it(tmp_path: Path) -> None:
    """R4 without a payload says no more than that something changed: many such make one search."""
    async with site(tmp_path, "r4") as at:
        at.rules = replace(at.rules, content="empty", sweep_every=timedelta())
        await at.subscribe()
        await at.change(*(appointment(number) for number in range(1, 6)))
        for _ in range(20):
            await at.look(timedelta(milliseconds=100))
        assert len(at.hospital.lines("GET Appointment")) == 1
        assert sorted(await at.labels()) == [f"Appointment/a{number}" for number in range(1, 6)]
        await at.change(appointment(6))
        await at.look(timedelta(seconds=10))
        assert "Appointment/a6" in await at.labels()


async def test_what_its_server_gave_up_is_asked_for_again_with_our_secret(tmp_path: Path) -> None:
    """And it is active again, with a handshake."""
    async with site(tmp_path) as at:
        kept = await at.subscribe()
        current = at.hospital.records.get(kept.label)
        assert current is not None
        channel = {name: value for name, value in current["channel"].items() if name != "header"}
        at.hospital.records.change(kept.label, status="error", error="gave up", channel=channel)
        await at.look()
        await at.settled()
        again = at.hospital.records.get(kept.label)
        assert again is not None
        assert (again["status"], again["channel"]["header"]) == ("active", ["Authorization: Bearer token"])
        await at.look(timedelta(minutes=6))
        found = await at.subscription()
        assert (found.state, found.revivals) == ("active", 0)


async def test_a_subscription_near_its_end_is_renewed(tmp_path: Path) -> None:
    """Before a quarter of its lifetime is over it is not."""
    async with site(tmp_path) as at:
        at.rules = replace(at.rules, lifetime=timedelta(days=8))
        await at.subscribe()
        ends = (await at.subscription()).ends_at
        await at.look(timedelta(days=1))
        assert (await at.subscription()).ends_at == ends
        await at.look(timedelta(days=5, hours=1))
        renewed = (await at.subscription()).ends_at
        assert ends is not None and renewed is not None and renewed - ends > timedelta(days=6)


async def test_a_subscription_that_is_gone_is_known_to_be(tmp_path: Path) -> None:
    """It is not made anew by itself: somebody may have had a reason."""
    async with site(tmp_path) as at:
        kept = await at.subscribe()
        at.hospital.records.remove(kept.label)
        await at.look()
        await at.look(timedelta(minutes=6))
        assert (await at.subscription()).state == "gone"
        assert not list(at.hospital.records.of_type("Subscription"))


async def test_two_workers_watch_a_source_as_one(tmp_path: Path) -> None:
    """Whoever comes second leaves it be."""
    async with site(tmp_path, "r4") as at:
        at.late = LATER
        await asyncio.gather(*(at.watcher().look() for _ in range(8)))
        assert len(at.hospital.lines("GET Appointment")) == 1


async def test_numbers_of_each_message_alone_open_no_gap(tmp_path: Path) -> None:
    """One server numbers so; its Subscription is watched by searches alone."""
    async with site(tmp_path, "r4b", numbering="per-bundle") as at:
        at.rules = replace(at.rules, numbering="per-bundle")
        await at.subscribe()
        await at.change(appointment(1), appointment(2), appointment(3))
        found = await at.subscription()
        assert (await at.missed(), found.events, found.restarts) == ([], 3, 0)


async def test_an_update_told_nineteen_times_is_one_event(tmp_path: Path) -> None:
    """Each is kept, none opens a gap."""
    async with site(tmp_path, repeats=19) as at:
        await at.subscribe()
        await at.change(appointment(1), appointment(2))
        found = await at.subscription()
        assert (await at.missed(), found.last_event_number, found.restarts) == ([], 2, 0)


async def test_what_was_deleted_is_told_and_searched_for_by_nobody(tmp_path: Path) -> None:
    """`{}` with a header that says what is gone, as Medplum has it: that is content enough."""
    async with site(tmp_path, "r4") as at:
        at.rules = replace(at.rules, sweep_every=timedelta())
        await at.subscribe()
        await at.change(appointment(1))
        at.hospital.records.remove("Appointment/a1")
        await at.settled()
        assert [each.deleted async for each in at.ledger.messages(MessageSelection())][-1] == "Appointment/a1"
        await at.look()
        assert at.hospital.lines("GET Appointment") == []


async def test_versions_that_a_server_skips_are_no_gap(tmp_path: Path) -> None:
    """It tells of the newest only, and that is the one that counts."""
    async with site(tmp_path, "r4", skips_versions=True) as at:
        await at.subscribe()
        at.notifier.delay = (0.1, 0.1)
        await at.change(appointment(1), appointment(1, status="cancelled"))
        found = [each async for each in at.ledger.messages(MessageSelection())]
        assert [json.loads(each.body or b"")["status"] for each in found] == ["cancelled"]


async def test_what_leaves_a_criteria_is_told_to_nobody(tmp_path: Path) -> None:
    """Which is why no criteria of ours names a status."""
    async with site(tmp_path, "r4") as at:
        booked = replace(await at.subscribe(), criteria="Appointment?status=booked")
        at.hospital.records.change(booked.label, criteria="Appointment?status=booked")
        await at.change(appointment(1), appointment(1, status="cancelled"))
        found = [each async for each in at.ledger.messages(MessageSelection())]
        assert [json.loads(each.body or b"")["status"] for each in found] == ["booked"]


async def test_the_notifications_of_others_are_heard(tmp_path: Path, corpora: Path) -> None:
    """Every example of fhir-candle and the test kit, one after the other: no event of theirs is missed."""
    files = sorted((corpora / "subscriptions-backport").rglob("*undle*.json"))
    bodies = [file.read_bytes().removeprefix(b"\xef\xbb\xbf") for file in files]
    heard = 0
    async with await open_ledger(tmp_path / "ledger.db", **DESTINATION) as ledger:
        for body in bodies:
            if json.loads(body)["resourceType"] == "Bundle":
                await Hearing(ledger, "ehr").heard([(notifications.parse(body), MONDAY)])
                heard += 1
        known = {each.subscription: each for each in await ledger.watched("ehr")}
    assert heard == 10
    assert {each.state for each in known.values()} <= {"active", "requested"}
    assert known["Subscription/123"].last_event_number == 2
    assert [(gap.first, gap.last) for gap in known["Subscription/123"].open_gaps] == [(2, 2)]
