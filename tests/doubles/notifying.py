"""The Subscriptions of a FHIR server double, behaving as servers were seen to behave (intake, section 1).

It posts 20 to 50 ms after a change, from a thread of its own; signs what it posts; tries five times and then
never again, the Subscription still `active`; skips versions; repeats itself; numbers its events in all ways;
fires nothing when a resource leaves a criteria; says `{}` of what was deleted; and takes an answer that is no
FHIR for a failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_bridge.subscriptions.criteria import Criteria, criteria_of
from fhir_bridge.subscriptions.kept import Kept, kept_of
from tests.doubles import searching
from tests.doubles.fhir_server import Asked, FhirServerDouble, fhir, outcome
from tests.doubles.records import Json

Work = Callable[[], None]


@dataclass(frozen=True)
class Event:
    """One event of a subscription."""

    number: int
    at: str
    label: str


@dataclass
class Notifier:
    """Posts what changes on `server` to whoever subscribed there. All of its manners can be changed.

    `activates`: makes active what was requested; Medplum keeps the status it is sent. `most` events are
    given at a time by `$events`. `losing`: events are counted and never posted, until it is False again.
    `deliveries` are the answers it got: status, or what went wrong.
    """

    server: FhirServerDouble
    form: str = "r4"
    secret: str | None = None
    delay: tuple[float, float] = (0.02, 0.05)
    tries: int = 5
    wait: float = 0.05
    repeats: int = 1
    skips_versions: bool = False
    numbering: str = "global"
    numbers_as_text: bool = True
    demands_fhir: bool = True
    activates: bool = True
    offers_events: bool = True
    most: int | None = None
    names_itself: str | None = None
    losing: bool = False
    deliveries: list[str] = field(default_factory=list)
    events: dict[str, list[Event]] = field(default_factory=dict)
    _work: queue.SimpleQueue[Work | None] = field(default_factory=queue.SimpleQueue)
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        base = f"{self.server.base}/Subscription/{{id}}"
        self.server.more += [Route(f"{base}/$events", self._events), Route(f"{base}/$status", self._status)]
        self.server.records.listeners.append(self._changed)

    @contextlib.contextmanager
    def running(self) -> Iterator[Notifier]:
        """Within, it posts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._work.put(None)
            thread.join(10)

    def settled(self, seconds: float = 5.0) -> None:
        """Wait until all that is to be posted was."""
        done = threading.Event()
        self._work.put(done.set)
        assert done.wait(seconds)

    def heartbeat(self, id: str) -> None:
        """Post one now."""
        self._work.put(lambda: self._say(self._subscription(id), "heartbeat"))

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=2, verify=False) as self._client:
            while (work := self._work.get()) is not None:
                work()

    # -- what changes --

    def _changed(self, label: str, resource: Json | None) -> None:
        if label.startswith("Subscription/"):
            if self.activates and resource is not None and resource["status"] == "requested":
                self._work.put(lambda: self._begin(label))
            return
        for subscription in self._active():
            if not self._fires(subscription, label, resource):
                continue
            made = self.events.setdefault(subscription.id, [])
            if resource is not None or self.form != "r4":
                made.append(Event(len(made) + 1, _now(), label))
            number = len(made)
            if not self.losing:
                self._work.put(lambda s=subscription, n=number: self._tell(s, n, label, resource))

    def _active(self) -> list[Kept]:
        found = (kept_of(one) for one in self.server.records.of_type("Subscription"))
        return [kept for kept in found if kept is not None and kept.status == "active"]

    def _subscription(self, id: str) -> Kept:
        kept = kept_of(self.server.records.get(f"Subscription/{id}") or {})
        assert kept is not None
        return kept

    def _fires(self, subscription: Kept, label: str, resource: Json | None) -> bool:
        """Only what fits now: of what does not fit any more nobody hears."""
        criteria = [criteria_of(each) for each in subscription.criteria.split()] or [
            Criteria("Appointment"), Criteria("ServiceRequest")]  # fmt: skip
        if resource is None:
            return any(label.startswith(f"{each.resource_type}/") for each in criteria)
        return any(
            resource["resourceType"] == each.resource_type
            and all(searching.matches(resource, name, value) for name, value in each.parameters)
            for each in criteria
        )

    def _begin(self, label: str) -> None:
        """A subscription was requested: a handshake where there are such, then it is active, or in error."""
        kept = self._subscription(label.partition("/")[2])
        good = self.form == "r4" or self._say(kept, "handshake")
        self.server.records.change(label, status="active" if good else "error")

    # -- what is posted --

    def _tell(self, subscription: Kept, number: int, label: str, resource: Json | None) -> None:
        if self.skips_versions and resource is not None:
            newest = self.server.records.get(label)
            if newest is not None and newest["meta"]["versionId"] != resource["meta"]["versionId"]:
                return
        time.sleep(random.uniform(*self.delay))
        for _ in range(self.repeats):
            if self.form == "r4":
                self._tell_r4(subscription, label, resource)
            else:
                event = self.events[subscription.id][number - 1]
                self._say(subscription, "event-notification", [event])

    def _tell_r4(self, subscription: Kept, label: str, resource: Json | None) -> None:
        if resource is None:
            self._post(subscription, b"{}", {"X-Medplum-Deleted-Resource": label})
        elif subscription.content == "empty":
            self._post(subscription, b"", {})
        else:
            self._post(subscription, json.dumps(resource).encode(), {})

    def _say(self, subscription: Kept, kind: str, events: list[Event] | None = None) -> bool:
        bundle = self._bundle(subscription, kind, events or [])
        return self._post(subscription, json.dumps(bundle).encode(), {})

    def _post(self, subscription: Kept, body: bytes, headers: dict[str, str]) -> bool:
        """Five times, then never again."""
        told = {"content-type": "application/fhir+json", **_headers(subscription), **headers}
        if self.secret is not None:
            told["X-Signature"] = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.wait)
            answer = self._posted(str(subscription.endpoint), body, told)
            self.deliveries.append(answer)
            if answer == "200":
                return True
        return False

    def _posted(self, endpoint: str, body: bytes, headers: dict[str, str]) -> str:
        try:
            response = self._client.post(endpoint, content=body, headers=headers)
        except httpx.HTTPError as error:
            return type(error).__name__
        if response.status_code == 200 and self.demands_fhir:
            try:
                return "200" if "resourceType" in response.json() else "not-fhir"
            except ValueError:
                return "not-fhir"
        return str(response.status_code)

    # -- notifications --

    def _bundle(self, subscription: Kept, kind: str, events: list[Event]) -> Json:
        status = self._status_of(subscription, kind, events)
        entries = [{"resource": status}]
        for event in events:
            entry: Json = {"fullUrl": f"{self.server.url}/{event.label}"}
            resource = self.server.records.get(event.label)
            if resource is None:
                entry["request"] = {"method": "DELETE", "url": event.label}
            elif subscription.content == "full-resource":
                entry["resource"] = resource
            else:
                entry["request"] = {"method": "PUT", "url": event.label}
                entry["response"] = {"status": "200"}
            if subscription.content != "empty" or resource is None:
                entries.append(entry)
        bundle_type = "subscription-notification" if self.form == "r5" else "history"
        return {"resourceType": "Bundle", "type": bundle_type, "timestamp": _now(), "entry": entries}

    def _status_of(self, subscription: Kept, kind: str, events: list[Event]) -> Json:
        reference = f"{self.names_itself or self.server.url}/{subscription.label}"
        total = len(self.events.get(subscription.id, ()))
        numbered = [(self._number(event, at), event) for at, event in enumerate(events, 1)]
        empty = subscription.content == "empty"
        if self.form in ("r4b", "r5"):
            told = [
                {"eventNumber": number, "timestamp": event.at}
                | ({} if empty else {"focus": {"reference": f"{self.server.url}/{event.label}"}})
                for number, event in numbered
            ]
            return {
                "resourceType": "SubscriptionStatus", "status": subscription.status, "type": kind,
                "eventsSinceSubscriptionStart": self._written(total), "notificationEvent": told,
                "subscription": {"reference": reference}, "topic": subscription.topic,
            }  # fmt: skip
        parameters: list[Json] = [
            {"name": "subscription", "valueReference": {"reference": reference}},
            {"name": "topic", "valueCanonical": subscription.topic},
            {"name": "status", "valueCode": subscription.status},
            {"name": "type", "valueCode": kind},
            {"name": "events-since-subscription-start", "valueString": self._written(total)},
        ]
        for number, event in numbered:
            part: list[Json] = [
                {"name": "event-number", "valueString": number},
                {"name": "timestamp", "valueInstant": event.at},
            ]
            if not empty:
                focus = {"reference": f"{self.server.url}/{event.label}"}
                part.append({"name": "focus", "valueReference": focus})
            parameters.append({"name": "notification-event", "part": part})
        return {"resourceType": "Parameters", "parameter": parameters}

    def _number(self, event: Event, at: int) -> Any:
        return self._written(event.number if self.numbering == "global" else at)

    def _written(self, number: int) -> Any:
        return str(number) if self.numbers_as_text else number

    # -- what it answers --

    async def _events(self, request: Request) -> Response:
        self._note(request)
        if not self.offers_events:
            return outcome(404, "not-supported", "no such operation")
        subscription = self._subscription(request.path_params["id"])
        first = int(request.query_params.get("eventsSinceNumber", 0))
        last = int(request.query_params.get("eventsUntilNumber", 10**9))
        found = [e for e in self.events.get(subscription.id, []) if first <= e.number <= last]
        return fhir(self._bundle(subscription, "query-event", found[: self.most]))

    async def _status(self, request: Request) -> Response:
        self._note(request)
        if not self.offers_events:
            return outcome(404, "not-supported", "no such operation")
        subscription = self._subscription(request.path_params["id"])
        entry = {"resource": self._status_of(subscription, "query-status", [])}
        return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [entry]})

    def _note(self, request: Request) -> None:
        path = request.url.path.removeprefix(self.server.base).lstrip("/")
        self.server.requests.append(Asked(request.method, path, request.url.query, dict(request.headers)))


def _headers(subscription: Kept) -> dict[str, str]:
    """What the subscription has it show."""
    resource = subscription.resource
    if subscription.form == "r5":
        return {each["name"]: each["value"] for each in resource.get("parameter", [])}
    pairs = (header.partition(":") for header in resource["channel"].get("header", []))
    return {name: value.strip() for name, _, value in pairs}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
