"""The door as an ASGI application: its routes, and who watches it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_bridge.errors import LedgerError
from fhir_bridge.faults import location
from fhir_bridge.ledger.sources.messages import InboxLag
from fhir_bridge.webhook.answers import RefusedError, refused, taken
from fhir_bridge.webhook.bodies import GoneError
from fhir_bridge.webhook.door import Door
from fhir_bridge.webhook.metrics import Alarms, Metrics

logger = structlog.get_logger(__name__)

LINES_A_SECOND = 10
"""Refusals that are logged; who knocks a thousand times a second does not fill a disk."""

ALARMS_EVERY = 10.0
"""Seconds between two looks at the sources, however often somebody asks."""


class Watched(Protocol):
    """What is asked of the ledger by those who watch."""

    async def inbox_lag(self) -> InboxLag:
        """How many messages wait, since when, and how many failed."""
        ...

    async def demand_writable(self) -> None:
        """Raises LedgerError where nothing can be committed."""
        ...


def webhook_app(
    door: Door,
    ledger: Watched,
    metrics: Metrics,
    clock: Callable[[], datetime],
    alarms: Callable[[], Awaitable[Alarms]] | None = None,
) -> Starlette:
    """The routes of `serve` (intake, section 1). `alarms`: what is to be said of the sources themselves."""
    receiving = _Receiving(door, metrics)
    app = Starlette(
        routes=[
            Route("/fhir/{source}", receiving.answer, methods=["POST"]),
            Route("/fhir/{source}/", receiving.answer, methods=["POST"]),
            Route("/fhir/{source}/{type}", receiving.answer, methods=["POST"]),
            Route("/fhir/{source}/{type}/{id}", receiving.answer, methods=["POST", "PUT", "DELETE"]),
            *_watched(ledger, metrics, clock, alarms),
        ],
        exception_handlers={HTTPException: _no_route},
    )
    # A redirect would have the sender repeat patient data to another address.
    app.router.redirect_slashes = False
    return app


def watched_app(
    ledger: Watched,
    metrics: Metrics,
    clock: Callable[[], datetime],
    alarms: Callable[[], Awaitable[Alarms]] | None = None,
) -> Starlette:
    """What a worker alone shows of itself: the same three pages, and no door."""
    return Starlette(routes=_watched(ledger, metrics, clock, alarms))


def _watched(
    ledger: Watched,
    metrics: Metrics,
    clock: Callable[[], datetime],
    alarms: Callable[[], Awaitable[Alarms]] | None,
) -> list[Route]:
    watching = _Watching(ledger, metrics, clock, alarms)
    pages = {"healthz": watching.healthz, "readyz": watching.readyz, "metrics": watching.metrics}
    return [Route(f"/{name}", page, methods=["GET"]) for name, page in pages.items()]


class _Receiving:
    """Answers senders, counts the answers, and says in the log what was refused."""

    def __init__(self, door: Door, metrics: Metrics) -> None:
        self._door = door
        self._metrics = metrics
        self._second, self._lines = 0, 0

    async def answer(self, request: Request) -> Response:
        """200 after the commit, else why not (intake, section 1)."""
        since = time.perf_counter()
        code, response = await self._answer(request)
        self._metrics.answered(response.status_code, code, time.perf_counter() - since)
        return response

    async def _answer(self, request: Request) -> tuple[str, Response]:
        try:
            await self._door.take(request)
        except RefusedError as error:
            self._log(error.status, error.code)
            return error.code, refused(error)
        except GoneError:
            return "gone", Response(status_code=400)
        except Exception as error:
            logger.error("webhook-fault", fault=location(error))
            fault = RefusedError(500, "exception", "fault", "a fault of fhir-bridge; nothing was kept")
            return "fault", refused(fault)
        return "kept", taken()

    def _log(self, status: int, code: str) -> None:
        """One line for each refusal, as long as there are not too many. Whatever the sender chose, such as a
        source's name, stays out: it may hold anything."""
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > LINES_A_SECOND:
                logger.warning("webhook-refusals-not-logged", count=self._lines - LINES_A_SECOND)
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= LINES_A_SECOND:
            logger.warning("webhook-refused", status=status, code=code)


class _Watching:
    """Answers those who watch. What it says of the ledger is at most a second old."""

    def __init__(
        self,
        ledger: Watched,
        metrics: Metrics,
        clock: Callable[[], datetime],
        alarms: Callable[[], Awaitable[Alarms]] | None,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._ask_alarms = alarms
        self._alarms: Alarms | None = None
        self._alarms_at = float("-inf")
        self._looked_at = float("-inf")
        self._found: InboxLag | str = "not looked yet"

    async def healthz(self, _request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Whether messages can be kept, and how far processing is behind."""
        found = await self._look()
        if isinstance(found, str):
            return JSONResponse({"status": "unavailable", "ledger": found}, 503, {"Retry-After": "5"})
        inbox = {
            "received": found.received,
            "failed": found.failed,
            "oldest_seconds": round(self._age(found), 3),
        }
        return JSONResponse({"status": "ok", "ledger": "ok", "inbox": inbox})

    async def metrics(self, _request: Request) -> Response:
        """Counts for Prometheus."""
        found = await self._look()
        lag = None if isinstance(found, str) else found
        text = self._metrics.text(lag, self._age(lag), await self._look_for_alarms())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _age(self, lag: InboxLag | None) -> float:
        if lag is None or lag.oldest is None:
            return 0.0
        return max(0.0, (self._clock() - lag.oldest).total_seconds())

    async def _look(self) -> InboxLag | str:
        """The inbox, or the code of what is wrong with the ledger; asked once a second, however often we
        are."""
        if time.monotonic() - self._looked_at > 1:
            self._looked_at = time.monotonic()
            try:
                await self._ledger.demand_writable()
                self._found = await self._ledger.inbox_lag()
            except LedgerError as error:
                self._found = error.code
        return self._found

    async def _look_for_alarms(self) -> Alarms | None:
        """As they were a few seconds ago: they take several queries for each source."""
        if self._ask_alarms is not None and time.monotonic() - self._alarms_at > ALARMS_EVERY:
            self._alarms_at = time.monotonic()
            with suppress(LedgerError):  # /readyz tells of it
                self._alarms = await self._ask_alarms()
        return self._alarms


async def _no_route(_request: Request, error: Exception) -> Response:
    """404 and 405 of the router, as an OperationOutcome, the same for every name: none is given away."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        issue, says = "not-supported", "by POST; or by PUT and DELETE with /Type/id after the source's name"
    else:
        issue, says = (
            "not-found",
            "at /fhir/NAME, NAME being a source in bridge.toml, and maybe /Type/id after it",
        )
    told = f"notifications are taken {says}"
    return refused(RefusedError(error.status_code, issue, issue, told, error.headers))
