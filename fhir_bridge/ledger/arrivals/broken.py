"""Records of files that nobody can read: each becomes a message that failed, so that it holds calls, stands
on the work list and is settled as one (delivery).

Their text stays in the file: kept are whom it names, its place, and a keyed digest that tells it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, String, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.precedence import Version
from fhir_bridge.ledger.database.given import GIVEN, as_given, given, given_values
from fhir_bridge.ledger.database.ids import new_ids
from fhir_bridge.ledger.database.many import insert_many
from fhir_bridge.ledger.database.tables import in_state, inbox, statements
from fhir_bridge.ledger.records import Broken
from fhir_bridge.ledger.sources.inbox import digest_of
from fhir_bridge.ledger.sources.messages import FILE, MessageState, Unreadable

Place = tuple[str, str]
"""A source, and the name of a text of its files."""


async def take_in(
    connection: AsyncConnection, broken: Sequence[Broken], read_at: datetime, salt: bytes
) -> list[Unreadable]:
    """Keep each whose text is not known, settled or not; gives what may speak against calls from now on."""
    texts = {(each.source, _name(each.digest, salt)): each for each in broken}
    known = await _known(connection, texts) if texts else set()
    new = {place: each for place, each in texts.items() if place not in known}
    ids = dict(zip(new, await new_ids(connection, inbox, len(new)), strict=True)) if new else {}
    await insert_many(connection, inbox, [_row(ids[place], place, new[place], read_at) for place in new])
    return [_unreadable(each, ids[place], read_at) for place, each in new.items()]


def _name(digest: bytes, salt: bytes) -> str:
    return f"file {digest_of(digest, salt).hex()}"


async def _known(connection: AsyncConnection, texts: Iterable[Place]) -> set[Place]:
    rows = await connection.execute(_named(connection.dialect.name), {GIVEN: as_given(texts)})
    return {(row.source, row.delivery_id) for row in rows}


@lru_cache
def _named(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, name=String)
    return select(inbox.c.source, inbox.c.delivery_id).where(
        inbox.c.source == of["source"], inbox.c.delivery_id == of["name"]
    )


def _row(id_: int, place: Place, each: Broken, read_at: datetime) -> dict[str, Any]:
    return {
        "id": id_,
        "source": each.source,
        "delivery_id": place[1],
        "received_at": read_at,
        "state": MessageState.FAILED.value,
        "error": each.error,
        "method": FILE,
        "path": each.place,
    }


def _unreadable(each: Broken, id_: int, read_at: datetime) -> Unreadable:
    version = Version(each.version_id, each.last_updated)
    return Unreadable(each.source, id_, each.names, read_at, each.about, version)


async def settle(
    connection: AsyncConnection, read: Collection[int], unversioned: Collection[int], now: datetime
) -> None:
    """Of messages what stands for a record of a file: it was read since. One whose text shows no version is
    forgotten, for the same text may come again of a later one, cut off before that shows."""
    of_files = (
        inbox.c.id.in_(given_values(connection.dialect.name)),
        inbox.c.method == FILE,
        ~exists().where(statements.c.message == inbox.c.id),
    )
    settled = update(inbox).where(*of_files, in_state(inbox, MessageState.FAILED))
    settled = settled.values(state=MessageState.PROCESSED, changed_at=now)
    await connection.execute(settled, {GIVEN: as_given((id_,) for id_ in read)})
    if unversioned:
        forgotten = update(inbox).where(*of_files).values(delivery_id=None)
        await connection.execute(forgotten, {GIVEN: as_given((id_,) for id_ in unversioned)})
