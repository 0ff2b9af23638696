"""The door on a real socket, in front of a real ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from fhir_bridge.app.doors import credentials_of
from fhir_bridge.http_server.serving import Listening, serving
from fhir_bridge.ledger.sources.messages import Message, MessageSelection
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.settings import Settings
from fhir_bridge.webhook.app import webhook_app
from fhir_bridge.webhook.bodies import Bodies
from fhir_bridge.webhook.connection import patient_protocol
from fhir_bridge.webhook.door import Door
from fhir_bridge.webhook.keeping import Inbox, InboxWriter
from fhir_bridge.webhook.metrics import Metrics

DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
BEARER = {"Authorization": "Bearer token"}
CREDENTIALS: dict[str, Any] = {"ehr": {"bearer": "token"}}


@dataclass
class Webhook:
    """A door at `url`, its ledger, and a client that knows no proxy."""

    url: str
    ledger: SqlLedger
    client: httpx.AsyncClient

    async def send(
        self, body: bytes | str = b'{"resourceType":"Appointment","id":"a1"}', path: str = "/fhir/ehr",
        method: str = "POST", headers: dict[str, str] | None = None, **more: str,
    ) -> httpx.Response:  # fmt: skip
        """One request, with the right Bearer token unless `headers` say otherwise."""
        content = body.encode() if isinstance(body, str) else body
        return await self.client.request(
            method,
            self.url + path,
            content=content,
            headers={**(BEARER if headers is None else headers), **more},
        )

    async def kept(self) -> list[Message]:
        """What is in the inbox."""
        return [each async for each in self.ledger.messages(MessageSelection())]

    @property
    def port(self) -> int:
        """For a socket of one's own."""
        return int(self.url.rpartition(":")[2])


@contextlib.asynccontextmanager
async def webhook(
    location: str | Path,
    credentials: dict[str, Any] | None = None,
    *,
    inbox: Inbox | None = None,
    listening: Listening | None = None,
    **serve: Any,
) -> AsyncIterator[Webhook]:
    """A door for these sources; `serve` are settings of `[serve]`, `inbox` stands before the ledger's own."""
    told = CREDENTIALS if credentials is None else credentials
    settings = Settings.model_validate(
        {"serve": serve, "sources": {name: {"credentials": each} for name, each in told.items()}}
    )
    ledger = await open_ledger(location, **DESTINATION)
    metrics = Metrics()
    seconds = settings.serve.body_timeout.total_seconds()
    async with ledger, InboxWriter(inbox or ledger, metrics.kept) as writer:
        bodies = Bodies(settings.serve.max_body, seconds)
        door = Door(credentials_of(settings, insecure=True), bodies, writer, now)
        app = webhook_app(door, ledger, metrics, now)
        async with (
            serving(app, listening or Listening("127.0.0.1", 0), patient_protocol(seconds)) as url,
            httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as client,
        ):
            yield Webhook(url, ledger, client)


def now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


async def exchange(port: int, *parts: bytes, pause: float = 0.0, end: bool = False) -> bytes:
    """Bytes over a socket of one's own, with pauses between; gives what came back until the end, or as far
    as the other side let us."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_all_of(reader))
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
            if end:
                writer.write_eof()
        return await answer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, however it ends."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            parts.append(part)
    return b"".join(parts)
