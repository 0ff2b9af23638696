"""What we fetched ourselves goes into the inbox like a message: kept first, then processed as any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from fhir_bridge.fhir import dates
from fhir_bridge.fhir.envelopes import Part
from fhir_bridge.ledger.sources.messages import FETCHED, Received


class Inbox(Protocol):
    """What keeping asks of a ledger."""

    async def receive(self, batch: Sequence[Received]) -> list[bool]:
        """Keep messages."""
        ...


async def keep(inbox: Inbox, source: str, body: bytes, now: datetime) -> None:
    """Keep what was fetched for processing. Raises LedgerError."""
    await inbox.receive([Received(source, body, now, method=FETCHED)])


def bundle_of(parts: Sequence[Part]) -> bytes:
    """A searchset of these resources, their bytes as they came."""
    entries = [
        {"fullUrl": part.full_url, "resource": msgspec.Raw(part.raw)}
        if part.full_url
        else {"resource": msgspec.Raw(part.raw)}
        for part in parts
    ]
    return msgspec.json.encode({"resourceType": "Bundle", "type": "searchset", "entry": entries})


class _Meta(msgspec.Struct, rename="camel"):
    version_id: str | None = None
    last_updated: str | None = None


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    id: str | None = None
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Head).decode


class Version(msgspec.Struct, frozen=True):
    """`Type/id` of a resource, its version and when it was changed (aware), as far as it says."""

    label: str
    version_id: str | None
    last_updated: datetime | None

    def is_known_as(self, known: tuple[str | None, datetime | None] | None) -> bool:
        """Whether this very version was decided on: by its number, else by its moment."""
        if known is None:
            return False
        if self.version_id is not None and known[0] is not None:
            return self.version_id == known[0]
        return self.last_updated is not None and self.last_updated == known[1]


def version_of(part: Part) -> Version | None:
    """The version of a resource; None for one without an id, or whose head cannot be read."""
    try:
        head = _decode(part.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not head.resource_type or not head.id:
        return None
    moment = dates.parse(head.meta.last_updated) if head.meta else None
    aware = moment.value if moment is not None and moment.value.tzinfo else None
    return Version(f"{head.resource_type}/{head.id}", head.meta.version_id if head.meta else None, aware)
