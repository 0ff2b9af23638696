"""A FHIR server for tests: real HTTP on loopback, resources in memory, faults on demand.

`records` are what it keeps, `requests` what it was asked, `faults` what it does wrong. What else a server may
do (sending notifications, bulk export) stands in modules beside this one: give their routes as `more`, and
have them told of changes by `records.listeners`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.doubles import searching
from tests.doubles.faults import Fault
from tests.doubles.records import Json, Records
from tests.doubles.serving import Tls, listening, serving, serving_in_thread

FHIR_JSON = "application/fhir+json"
TYPES = (
    "Appointment", "Condition", "Consent", "Coverage", "Encounter", "HealthcareService", "Location",
    "Organization", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Schedule",
    "ServiceRequest", "Slot", "Subscription",
)  # fmt: skip


class Guard(Protocol):
    """Who may come in."""

    def lets_in(self, request: Request) -> bool:
        """Whether the request's credentials are good."""
        ...


@dataclass(frozen=True)
class Bearer:
    """Whoever has this token."""

    token: str = "token"

    def lets_in(self, request: Request) -> bool:
        """See Guard."""
        return request.headers.get("authorization") == f"Bearer {self.token}"


@dataclass(frozen=True)
class Asked:
    """One request as it came: method, path below the base, query and headers."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @property
    def line(self) -> str:
        """`GET Patient/p1?x=y`."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


@dataclass
class FhirServerDouble:
    """One server at `base` of its own port. `rejects` are search parameters it refuses, as `Type.name` or
    `name`, `ignores` those it takes no notice of; `page_size` is its page when nothing is asked for;
    `interactions` and `operations` are the whole system's; `skew` is how many seconds its clock is ahead;
    without `versions` it shows none, as some EHRs do."""

    records: Records = field(default_factory=Records)
    guard: Guard | None = None
    faults: list[Fault] = field(default_factory=list)
    rejects: set[str] = field(default_factory=set)
    ignores: set[str] = field(default_factory=set)
    page_size: int = 10
    types: Sequence[str] = TYPES
    interactions: Sequence[str] = ("batch",)
    operations: Sequence[str] = ()
    fhir_version: str = "4.0.1"
    base: str = "/fhir"
    more: list[BaseRoute] = field(default_factory=list)
    statement: Json = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    origin: str = ""
    skew: float = 0.0
    versions: bool = True
    most_at_once: int = 0
    _at_once: int = 0

    @property
    def url(self) -> str:
        """The base while it runs, such as `http://127.0.0.1:40123/fhir`."""
        return f"{self.origin}{self.base}"

    def lines(self, beginning: str = "") -> list[str]:
        """What was asked, each as `GET Patient/p1`."""
        return [asked.line for asked in self.requests if asked.line.startswith(beginning)]

    @contextlib.asynccontextmanager
    async def running(self, tls: Tls | None = None) -> AsyncIterator[FhirServerDouble]:
        """Within, it takes requests in this event loop."""
        with self._listening(tls) as listener:
            async with serving(self.app(), listener, tls):
                yield self

    @contextlib.contextmanager
    def running_in_thread(self, tls: Tls | None = None) -> Iterator[FhirServerDouble]:
        """The same in a thread of its own, for tests of the command line."""
        with self._listening(tls) as listener, serving_in_thread(self.app(), listener, tls):
            yield self

    @contextlib.contextmanager
    def _listening(self, tls: Tls | None) -> Iterator[socket.socket]:
        with listening() as listener:
            port = listener.getsockname()[1]
            self.origin = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
            yield listener

    def app(self) -> Starlette:
        """The application: what stands beside the server first, then the server's own paths."""
        base = self.base
        return Starlette(
            routes=[
                *self.more,
                Route(f"{base}/metadata", self._open(self._metadata)),
                Route(base or "/", self.guarded(self._batch), methods=["POST"]),
                Route(f"{base}/{{kind}}", self.guarded(self._search)),
                Route(f"{base}/{{kind}}", self.guarded(self._create), methods=["POST"]),
                Route(f"{base}/{{kind}}/{{id}}", self.guarded(self._read)),
                Route(f"{base}/{{kind}}/{{id}}", self.guarded(self._update), methods=["PUT"]),
                Route(f"{base}/{{kind}}/{{id}}", self.guarded(self._delete), methods=["DELETE"]),
                Route(f"{base}/{{kind}}/{{id}}/_history/{{version}}", self.guarded(self._vread)),
                Route(f"{base}/{{rest:path}}", self.guarded(self._unknown)),
            ]
        )

    # -- what every request meets --

    def _open(self, endpoint: Any) -> Any:
        async def answered(request: Request) -> Response:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            try:
                response: Response = await self._met(request) or await endpoint(request)
            finally:
                self._at_once -= 1
            response.headers.setdefault("date", formatdate(time.time() + self.skew, usegmt=True))
            return response

        return answered

    def guarded(self, endpoint: Any) -> Any:
        """An endpoint of this server for who is let in, faults and the count of requests included."""

        async def let_in(request: Request) -> Response:
            if self.guard is not None and not self.guard.lets_in(request):
                return outcome(401, "login", "who are you")
            answer: Response = await endpoint(request)
            return answer

        return self._open(let_in)

    async def _met(self, request: Request) -> Response | None:
        path = request.url.path.removeprefix(self.base).lstrip("/")
        asked = Asked(request.method, path, request.url.query, dict(request.headers))
        self.requests.append(asked)
        for fault in self.faults:
            if fault.strikes(asked.line):
                await asyncio.sleep(fault.seconds)
                if fault.status is not None:
                    headers = {"content-type": FHIR_JSON, **fault.headers}
                    return Response(fault.body, fault.status, headers)
                return None
        return None

    # -- its interactions --

    async def _metadata(self, _request: Request) -> Response:
        each = ("read", "vread", "search-type", "create", "update", "delete")
        kinds = [
            {
                "type": kind,
                "interaction": [{"code": code} for code in each],
                "searchParam": [
                    {"name": name} for name in searching.NAMES if not self.rejects & {name, f"{kind}.{name}"}
                ],
            }
            for kind in self.types
        ]
        rest = {
            "mode": "server",
            "resource": kinds,
            "interaction": [{"code": code} for code in self.interactions],
            "operation": [{"name": name} for name in self.operations],
        }
        return fhir(
            {
                "resourceType": "CapabilityStatement",
                "fhirVersion": self.fhir_version,
                "software": {"name": "double", "version": "1"},
                "rest": [rest],
                **self.statement,
            }
        )

    async def _read(self, request: Request) -> Response:
        return self._resource(f"{request.path_params['kind']}/{request.path_params['id']}")

    def _resource(self, label: str) -> Response:
        if label not in self.records.versions:
            return outcome(404, "not-found", f"{label} is not known")
        resource = self.records.get(label)
        if resource is None:
            return outcome(410, "deleted", f"{label} was deleted")
        return fhir(self._shown(resource))

    def _shown(self, resource: Json) -> Json:
        return resource if self.versions else {key: resource[key] for key in resource if key != "meta"}

    async def _vread(self, request: Request) -> Response:
        label = f"{request.path_params['kind']}/{request.path_params['id']}"
        for version in self.records.versions.get(label, []):
            if version and version["meta"]["versionId"] == request.path_params["version"]:
                return fhir(version)
        return outcome(404, "not-found", "no such version")

    async def _unknown(self, _request: Request) -> Response:
        return outcome(404, "not-supported", "no such path")

    async def _search(self, request: Request) -> Response:
        return self._searched(request.path_params["kind"], list(request.query_params.multi_items()))

    def _searched(self, kind: str, parameters: list[tuple[str, str]]) -> Response:
        if kind not in self.types:
            return outcome(404, "not-supported", f"no {kind} here")
        shape = {name: value for name, value in parameters if name in ("_count", "_sort", "_offset")}
        filters = [(name, value) for name, value in parameters if name not in shape]
        for name, value in filters:
            if name not in searching.NAMES or self.rejects & {name, f"{kind}.{name}"}:
                return outcome(400, "invalid", f"unknown search parameter {name}={value} of Juniper Sample")
        found = [
            one
            for one in self.records.of_type(kind)
            if all(
                searching.matches(one, name, value)
                for name, value in filters
                if not self.ignores & {name, f"{kind}.{name}"}
            )
        ]
        start, count = int(shape.get("_offset", 0)), int(shape.get("_count", self.page_size))
        page = searching.ordered(found, shape.get("_sort"))[start : start + count]
        links = []
        if start + count < len(found):
            query = urlencode([*(p for p in parameters if p[0] != "_offset"), ("_offset", start + count)])
            links.append({"relation": "next", "url": f"{self.url}/{kind}?{query}"})
        entries = [
            {
                "fullUrl": f"{self.url}/{kind}/{one['id']}",
                "resource": self._shown(one),
                "search": {"mode": "match"},
            }
            for one in page
        ]
        return fhir(
            {
                "resourceType": "Bundle",
                "type": "searchset",
                "total": len(found),
                "link": links,
                "entry": entries,
            }
        )

    async def _batch(self, request: Request) -> Response:
        if "batch" not in self.interactions:
            return outcome(405, "not-supported", "no batch here")
        bundle = json.loads(await request.body())
        entries = []
        for entry in bundle["entry"]:
            answer = self._resource(entry["request"]["url"])
            body = json.loads(bytes(answer.body))
            status = {"status": str(answer.status_code)}
            entries.append(
                {"resource": body, "response": status}
                if answer.status_code == 200
                else {"response": {**status, "outcome": body}}
            )
        return fhir({"resourceType": "Bundle", "type": "batch-response", "entry": entries})

    async def _create(self, request: Request) -> Response:
        resource = json.loads(await request.body())
        kept = self.records.put({name: value for name, value in resource.items() if name != "id"})
        place = f"{self.url}/{kept['resourceType']}/{kept['id']}/_history/{kept['meta']['versionId']}"
        return fhir(kept, 201, {"location": place})

    async def _update(self, request: Request) -> Response:
        label = f"{request.path_params['kind']}/{request.path_params['id']}"
        current = self.records.get(label) if label in self.records.versions else None
        wanted = request.headers.get("if-match")
        if wanted is not None and (current is None or wanted != _tag(current)):
            return outcome(412, "conflict", "another version by now")
        return fhir(self.records.put(json.loads(await request.body())))

    async def _delete(self, request: Request) -> Response:
        label = f"{request.path_params['kind']}/{request.path_params['id']}"
        if label not in self.records.versions:
            return outcome(404, "not-found", f"{label} is not known")
        self.records.remove(label)
        return Response(status_code=204)


def fhir(resource: Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A resource as an answer, with its version as ETag."""
    told = {"etag": _tag(resource)} if "versionId" in resource.get("meta", {}) else {}
    return Response(json.dumps(resource), status, {**told, **(headers or {})}, FHIR_JSON)


def outcome(status: int, code: str, diagnostics: str) -> Response:
    """An OperationOutcome; its diagnostics may quote a patient, as real servers' do."""
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics}
    return fhir({"resourceType": "OperationOutcome", "issue": [issue]}, status)


def _tag(resource: Json) -> str:
    return f'W/"{resource["meta"]["versionId"]}"'
