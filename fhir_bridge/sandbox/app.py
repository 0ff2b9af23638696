"""The sandbox as an ASGI application: the four calls of the API, and pages for whoever watches it."""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fhir_bridge.sandbox.calls import Simulator
from fhir_bridge.sandbox.faults import FaultPlayer
from fhir_bridge.sandbox.page import NEWEST, overview
from fhir_bridge.sandbox.playing import FaultyApp
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.sandbox.store import KeyReusedError, Store
from fhir_bridge.task_api.models import RESOURCE_ID, CreatePatientRequest, create_task_request, problems

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def sandbox_app(settings: SandboxSettings, store: Store, player: FaultPlayer) -> ASGIApp:
    """The API with its faults, over this store; the simulated calls live as long as the application."""
    simulator = Simulator(settings, store)
    api = _Api(settings, store, simulator)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        simulator.resume()
        yield
        await simulator.aclose()

    async def stats(_request: Request) -> Response:
        return JSONResponse({**store.counts(), "requests": faulty.requests})

    async def tasks(_request: Request) -> Response:
        return JSONResponse(store.tasks())

    async def page(_request: Request) -> Response:
        return HTMLResponse(overview(store.counts(), store.tasks(NEWEST), faulty.requests))

    routes = [
        Route("/v1/patient", api.create_patient, methods=["POST"]),
        Route("/v1/patient/{patient_id}", api.get_patient, methods=["GET"]),
        Route("/v1/task", api.create_task, methods=["POST"]),
        Route("/v1/task/{task_id}", api.get_task, methods=["GET"]),
        Route("/_sandbox", page, methods=["GET"]),
        Route("/_sandbox/stats", stats, methods=["GET"]),
        Route("/_sandbox/tasks", tasks, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _detail})
    faulty = FaultyApp(app, player)
    return faulty


class _Api:
    """The four calls, each as the vendor's reference describes it (task-api)."""

    def __init__(self, settings: SandboxSettings, store: Store, simulator: Simulator) -> None:
        self._settings = settings
        self._store = store
        self._simulator = simulator

    async def create_patient(self, request: Request) -> Response:
        """POST /v1/patient: 201, 400, 401; 409 for an idempotency key used before with another body."""
        self._check_key(request)
        body = await _json(request)
        try:
            CreatePatientRequest.model_validate(body)
        except ValidationError as error:
            raise HTTPException(400, "; ".join(problems(error))) from None
        if self._settings.require_address and body.get("address") is None:
            raise HTTPException(400, "address: missing")
        with _conflicts():
            key = self._idempotency_key(request)
            patient_id = self._store.create_patient(body, self._settings.now(), key)
        return JSONResponse({"id": patient_id}, 201)

    async def create_task(self, request: Request) -> Response:
        """POST /v1/task: 201, and a simulated call begins; 400, 401, 409 as for a patient."""
        self._check_key(request)
        body = await _json(request)
        try:
            task = create_task_request(body)
        except ValidationError as error:
            raise HTTPException(400, "; ".join(problems(error))) from None
        if self._settings.require_known_patient and self._store.patient(task.patient_id) is None:
            raise HTTPException(400, "patient_id: names no patient")
        with _conflicts():
            key = self._idempotency_key(request)
            task_id, is_new = self._store.create_task(body, self._settings.now(), key)
        if is_new:
            self._simulator.start(task_id)
        return JSONResponse({"id": task_id}, 201)

    async def get_patient(self, request: Request) -> Response:
        """GET /v1/patient/{patient_id}: 200, 400 for a bad id, 401, 404."""
        self._check_key(request)
        return _found(self._store.patient(_id(request, "patient_id")))

    async def get_task(self, request: Request) -> Response:
        """GET /v1/task/{task_id}: 200, 400 for a bad id or flag, 401, 404."""
        self._check_key(request)
        task_id = _id(request, "task_id")
        transcripts = _flag(request, "include_transcript")
        all_calls = _flag(request, "include_all_calls")
        return _found(self._store.task(task_id, transcripts=transcripts, all_calls=all_calls))

    def _check_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise HTTPException(401, "no API key: expected Authorization: Bearer <key>")
        accepted = [known.get_secret_value().encode() for known in self._settings.api_keys]
        # Every key is compared, so that the time taken says nothing about which one nearly fitted.
        matches = [hmac.compare_digest(key.encode(), known) for known in accepted]
        if accepted and not any(matches):
            raise HTTPException(401, "the API key is not known")

    def _idempotency_key(self, request: Request) -> str | None:
        name = self._settings.idempotency_header
        return request.headers.get(name) if name else None


@contextlib.contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except KeyReusedError:
        raise HTTPException(409, "the idempotency key was used before with another body") from None


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "body: not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "body: not an object")
    return body


def _id(request: Request, name: str) -> str:
    value: str = request.path_params[name]
    if not RESOURCE_ID.fullmatch(value):
        raise HTTPException(400, f"{name}: not a UUID")
    return value.lower()


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false").lower()
    if value not in _BOOLEANS:
        raise HTTPException(400, f"{name}: neither true nor false")
    return _BOOLEANS[value]


def _found(record: dict[str, Any] | None) -> Response:
    if record is None:
        raise HTTPException(404, "not found")
    return JSONResponse(record)


async def _detail(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
