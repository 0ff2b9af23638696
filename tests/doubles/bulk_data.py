"""Bulk Data Access beside a FHIR server double: jobs, manifests and files, and what goes wrong with them.

Its files lie on the server itself, or (`signed`) on a host of their own that takes signed addresses and notes
every token that is shown to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.doubles.fhir_server import FhirServerDouble, outcome
from tests.doubles.records import Json
from tests.doubles.serving import listening, serving, serving_in_thread

Waiting = Callable[[], Response]


def in_progress(retry_after: str | None = "0", progress: str = "half of it") -> Waiting:
    """A 202 as a status request gets it while the export runs."""
    headers = {"x-progress": progress} | ({"retry-after": retry_after} if retry_after else {})
    return lambda: Response(b"", 202, headers)


@dataclass
class Job:
    """One export: what its files hold, by name, in kinds as the manifest has them."""

    number: int
    request: str
    time: str
    files: dict[str, tuple[str, str, bytes]]
    polled: int = 0
    deleted: bool = False


@dataclass
class BulkData:
    """Give `routes()` to the server's `more`. `waiting` is what status requests get before the manifest is
    there; `methods` are those that kick off; `lacks` are types it does not export.

    `hosting`: files at the server, behind a redirect to signed addresses, or at signed addresses at once; the
    first `expired_signatures` of these are too old. By file name, how often it comes cut off with the
    connection (`broken`) or without (`short`), is not found (`gone`) or is a web page (`page_instead`).
    """

    server: FhirServerDouble
    waiting: list[Waiting] = field(default_factory=list)
    methods: tuple[str, ...] = ("GET", "POST")
    lacks: frozenset[str] = frozenset()
    lines_per_file: int = 10
    hosting: Literal["server", "redirect", "signed"] = "server"
    asks_for_token: bool = False
    status_elsewhere: bool = False
    expired_signatures: int = 0
    page: int | None = None
    counts: bool = True
    wrong_counts: dict[str, int] = field(default_factory=dict)
    relative: bool = False
    ranges: bool = True
    etags: bool = True
    compressed: Literal["no", "coding", "file"] = "no"
    unended: bool = False
    chunk: int = 1 << 16
    seconds_a_chunk: float = 0.0
    broken: dict[str, int] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    page_instead: dict[str, int] = field(default_factory=dict)
    job_gone_after: int | None = None
    outcomes: list[Json] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)
    tokens_shown_elsewhere: list[str] = field(default_factory=list)
    file_requests: list[tuple[str, str | None]] = field(default_factory=list)
    files_origin: str = ""
    most_at_once: int = 0
    _at_once: int = 0
    _signed: int = 0

    def __post_init__(self) -> None:
        self.server.operations = ("export",)

    # -- running --

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[BulkData]:
        """Within, server and file host take requests in this event loop."""
        self.server.more += self.routes()
        with self._listening() as listener:
            async with serving(self._file_host(), listener), self.server.running():
                yield self

    @contextlib.contextmanager
    def running_in_thread(self) -> Iterator[BulkData]:
        """The same in threads, for tests of the command line."""
        self.server.more += self.routes()
        with (
            self._listening() as listener,
            serving_in_thread(self._file_host(), listener),
            self.server.running_in_thread(),
        ):
            yield self

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        with listening() as listener:
            self.files_origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield listener

    def _file_host(self) -> Starlette:
        methods = ["GET", "DELETE"]
        return Starlette(
            routes=[
                Route("/signed/{job:int}/{name:path}", self._signed_file),
                Route("/status/{job:int}", self._foreign_status, methods=methods),
            ]
        )

    def routes(self) -> list[Route]:
        """The paths of bulk export below the server's base."""
        base, guarded = self.server.base, self.server.guarded
        kick_off = guarded(self._kick_off)
        scopes = ("", "/Patient", "/Group/{group}")
        return [
            *(Route(f"{base}{scope}/$export", kick_off, methods=["GET", "POST"]) for scope in scopes),
            Route(f"{base}/jobs/{{job:int}}", guarded(self._status)),
            Route(f"{base}/jobs/{{job:int}}", guarded(self._cancelled), methods=["DELETE"]),
            Route(f"{base}/files/{{job:int}}/{{name:path}}", guarded(self._own_file)),
        ]

    # -- the job --

    async def _kick_off(self, request: Request) -> Response:
        if request.method not in self.methods:
            return outcome(405, "not-supported", "not that way")
        if request.headers.get("prefer") != "respond-async":
            return outcome(400, "required", "Prefer: respond-async is missing")
        asked = dict(request.query_params.multi_items())
        if len(asked) != len(request.query_params.multi_items()):
            return outcome(400, "invalid", "a parameter twice")
        if request.method == "POST":
            body = json.loads(await request.body())
            asked = {
                part["name"]: next(value for name, value in part.items() if name != "name")
                for part in body["parameter"]
            }
        types = [name for name in asked.get("_type", "").split(",") if name]
        if refused := sorted(self.lacks & set(types)):
            return outcome(400, "not-supported", f"no export of {refused[0]}")
        number = len(self.jobs) + 1
        self.jobs[number] = self._made(number, request, types, asked)
        place = f"{self.files_origin}/status" if self.status_elsewhere else f"{self.server.url}/jobs"
        return Response(b"", 202, {"content-location": f"{place}/{number}"})

    def _made(self, number: int, request: Request, types: list[str], asked: dict[str, str]) -> Job:
        since = asked.get("_since", "")
        kinds = types or sorted({label.partition("/")[0] for label in self.server.records.versions})
        filters = [unquote(text).partition("?") for text in asked.get("_typeFilter", "").split(",") if text]
        files: dict[str, tuple[str, str, bytes]] = {}
        for kind in kinds:
            wanted = [search for name, _, search in filters if name == kind]
            found = [
                json.dumps(one).encode() + b"\n"
                for one in self.server.records.of_type(kind)
                if one["meta"]["lastUpdated"] > since and (not wanted or _matches(one, wanted))
            ]
            for first in range(0, len(found), self.lines_per_file):
                name = f"{kind}-{first // self.lines_per_file}"
                files[name] = ("output", kind, b"".join(found[first : first + self.lines_per_file]))
        if since:
            gone = [label for label, known in self.server.records.versions.items() if known[-1] is None]
            entries = [{"request": {"method": "DELETE", "url": label}} for label in gone]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            if entries:
                files["deleted-0"] = ("deleted", "Bundle", json.dumps(bundle).encode() + b"\n")
        if self.outcomes:
            lines = b"".join(json.dumps(one).encode() + b"\n" for one in self.outcomes)
            files["error-0"] = ("error", "OperationOutcome", lines)
        if self.unended:
            files = {name: (kind, what, body[:-1]) for name, (kind, what, body) in files.items()}
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Job(number, str(request.url), time, files)

    async def _status(self, request: Request) -> Response:
        job = self.jobs[request.path_params["job"]]
        job.polled += 1
        if job.deleted or (self.job_gone_after is not None and job.polled > self.job_gone_after):
            return outcome(404, "not-found", "no such job")
        if job.polled <= len(self.waiting):
            return self.waiting[job.polled - 1]()
        names, start = list(job.files), int(request.query_params.get("page", 0))
        chosen = names[start : start + self.page] if self.page else names
        manifest: Json = {
            "transactionTime": job.time,
            "request": job.request,
            "requiresAccessToken": self.hosting != "signed" or self.asks_for_token,
            "output": [],
            "deleted": [],
            "error": [],
        }
        for name in chosen:
            kind, what, body = job.files[name]
            entry: Json = {"type": what, "url": self._address(job, name)}
            if self.counts:
                entry["count"] = self.wrong_counts.get(name, body.count(b"\n"))
            manifest[kind].append(entry)
        if self.page and start + self.page < len(names):
            url = f"{self.server.url}/jobs/{job.number}?page={start + self.page}"
            manifest["link"] = [{"relation": "next", "url": url}]
        return Response(json.dumps(manifest), 200, media_type="application/json")

    async def _foreign_status(self, request: Request) -> Response:
        """As of a server whose jobs are asked for at another host, by who knows their address."""
        if "authorization" in request.headers:
            self.tokens_shown_elsewhere.append(request.headers["authorization"])
        is_status = request.method == "GET"
        return await (self._status(request) if is_status else self._cancelled(request))

    def _address(self, job: Job, name: str) -> str:
        if self.hosting == "signed":
            return self._signature(job.number, name)
        place = f"files/{job.number}/{name}"
        return f"../{place}" if self.relative else f"{self.server.url}/{place}"

    def _signature(self, job: int, name: str) -> str:
        self._signed += 1
        return f"{self.files_origin}/signed/{job}/{name}?signature={self._signed}"

    async def _cancelled(self, request: Request) -> Response:
        self.jobs[request.path_params["job"]].deleted = True
        return Response(b"", 202)

    # -- the files --

    async def _own_file(self, request: Request) -> Response:
        job, name = request.path_params["job"], request.path_params["name"]
        if self.hosting == "redirect":
            return RedirectResponse(self._signature(job, name), 302)
        return await self._file(request, job, name)

    async def _signed_file(self, request: Request) -> Response:
        if "authorization" in request.headers:
            self.tokens_shown_elsewhere.append(request.headers["authorization"])
            return outcome(400, "security", "two ways to show who you are")
        signature = request.query_params.get("signature", "")
        if int(signature) <= self.expired_signatures:
            return Response(b"<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
        return await self._file(request, request.path_params["job"], request.path_params["name"])

    async def _file(self, request: Request, number: int, name: str) -> Response:
        job = self.jobs[number]
        self.file_requests.append((name, request.headers.get("range")))
        if job.deleted or self._strikes(self.gone, name):
            return outcome(404, "not-found", "no such file")
        body = job.files[name][2]
        if self._strikes(self.page_instead, name):
            return Response(b"<html>sign in</html>", media_type="text/html")
        headers = {"content-type": "application/fhir+ndjson", "etag": f'"{number}-{name}"'}
        if not self.etags:
            del headers["etag"]
        if self.compressed == "file":
            body = gzip.compress(body)
        elif self.compressed == "coding" and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body)
            headers |= {"content-encoding": "gzip", "etag": f'"{number}-{name}-gzip"'}
        start, status = self._range(request, headers, len(body))
        if status == 206:
            headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        sent = body[start:]
        if not self._strikes(self.short, name):
            headers["content-length"] = str(len(sent))
            whole = sent if not self._strikes(self.broken, name) else sent[: len(sent) // 2]
        else:
            whole = sent[: len(sent) // 2 - 7]  # within a line
        return StreamingResponse(self._chunks(whole), status, headers)

    def _range(self, request: Request, headers: dict[str, str], length: int) -> tuple[int, int]:
        """Where to begin, and with which status."""
        if not self.ranges:
            headers["accept-ranges"] = "none"
            return 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        tag = request.headers.get("if-range")
        if asked and (tag is None or tag == headers.get("etag")) and int(asked[1]) < length:
            return int(asked[1]), 206
        return 0, 200

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            for start in range(0, len(body), self.chunk):
                if self.seconds_a_chunk:
                    await asyncio.sleep(self.seconds_a_chunk)
                yield body[start : start + self.chunk]
        finally:
            self._at_once -= 1

    def _strikes(self, faults: dict[str, int], name: str) -> bool:
        if faults.get(name, 0) <= 0:
            return False
        faults[name] -= 1
        return True


def _matches(resource: Json, searches: list[str]) -> bool:
    """`status=active,draft` alone is understood: all that the tests ask for."""
    return any(resource.get("status") in search.removeprefix("status=").split(",") for search in searches)
