"""Plays faults around the API: the wrapped application never knows that its answer did not arrive."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_bridge.sandbox.connection import cut, gone
from fhir_bridge.sandbox.faults import Fault, FaultPlayer, FaultRule

GARBAGE = b"\x00\xff<html>{not an answer"


@dataclass(slots=True)
class FaultyApp:
    """Counts the requests to the API and lets the script's faults strike them."""

    app: ASGIApp
    player: FaultPlayer
    requests: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; only those below /v1/ are counted and struck."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        self.requests += 1
        delay, rule = self.player.on_request(scope["method"], scope["path"])
        if delay:
            await asyncio.sleep(delay)
        if rule is None:
            await self.app(scope, receive, send)
        else:
            await self._strike(rule, scope, receive, send)

    async def _strike(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        answer = await _process(self.app, scope, body) if rule.fault.is_processed else []
        match rule.fault:
            case Fault.DROP_BEFORE | Fault.DROP_AFTER:
                await cut(scope, receive)
            case Fault.RESET_BEFORE | Fault.RESET_AFTER:
                await cut(scope, receive, reset=True)
            case Fault.HANG_BEFORE | Fault.HANG_AFTER:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(gone(receive), rule.seconds)
                await cut(scope, receive)
            case Fault.GARBAGE:
                response = Response(GARBAGE, 201, media_type="application/json")
                await response(scope, receive, send)
            case Fault.TRUNCATED:
                await _send_half(answer, send)
                await cut(scope, receive, flush=True)
            case _:
                await _error(rule)(scope, receive, send)


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _process(app: ASGIApp, scope: Scope, body: bytes) -> list[Message]:
    """Run the request to its end, keeping the answer back."""
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    await app(scope, receive, send)
    return answer


async def _send_half(answer: list[Message], send: Send) -> None:
    """The head as it is, Content-Length included, and the first half of the body."""
    body = b"".join(message.get("body", b"") for message in answer)
    await send(answer[0])
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


def _error(rule: FaultRule) -> Response:
    headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    return JSONResponse({"detail": "scripted fault"}, rule.code, headers)
