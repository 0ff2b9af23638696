"""Which identities are one person, as records told: until a newer version of the record, one that is in use,
has no link any more. Who was blocked meanwhile stays blocked, for a merge that is taken back must not have
somebody called who asked not to be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, String, and_, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.given import as_given, given
from fhir_bridge.ledger.database.many import ask, execute_many
from fhir_bridge.ledger.database.tables import aliases
from fhir_bridge.ledger.database.upserts import inserting
from fhir_bridge.ledger.records import Heard

Place = tuple[str, str]
"""A source, and an identity there."""


async def take_in(connection: AsyncConnection, heard: Sequence[Heard]) -> set[Place]:
    """Keep what records say of who is one person; gives all of whom one did."""
    rows: list[dict[str, Any]] = []
    for each in heard:
        record = {"source": each.source, "record": each.statement.record}
        if len(each.statement.same) > 1:
            rows += ({**record, "identity": identity} for identity in each.statement.same)
    if rows:
        await execute_many(connection, _keeping(connection.dialect.name), rows)
    return {(row["source"], row["identity"]) for row in rows}


@lru_cache
def _keeping(dialect: str) -> Any:
    return inserting(dialect, aliases).on_conflict_do_nothing()


async def part(connection: AsyncConnection, records: Collection[Place]) -> list[set[Place]]:
    """Forget what these records said of who is one person; gives whom each had said to be one."""
    found: dict[Place, set[Place]] = {}
    told = await ask(connection, _told_by(connection.dialect.name), given=as_given(records))
    for source, record, identity in told.all():
        found.setdefault((source, record), set()).add((source, identity))
    if found:
        await execute_many(
            connection, _FORGETTING, [{"of_source": source, "of_record": record} for source, record in found]
        )
    return list(found.values())


_FORGETTING = delete(aliases).where(
    aliases.c.source == bindparam("of_source"), aliases.c.record == bindparam("of_record")
)


@lru_cache
def _told_by(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, record=String)
    return select(aliases).where(aliases.c.source == of["source"], aliases.c.record == of["record"])


async def persons(connection: AsyncConnection, places: Iterable[Place]) -> list[set[Place]]:
    """The persons of those of these identities that are not the only one, each with all that are theirs,
    however many records led from one to the other.
    """
    left = set(places)
    left &= await _told_with(connection, left)
    found: list[set[Place]] = []
    while left:
        person = {left.pop()}
        new = set(person)
        while new:
            new = await _told_with(connection, new) - person
            person |= new
        left -= person
        found.append(person)
    return found


async def _told_with(connection: AsyncConnection, places: Collection[Place]) -> set[Place]:
    told = await ask(connection, _others(connection.dialect.name), given=as_given(places))
    return {(source, identity) for source, identity in told.all()}


@lru_cache
def _others(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, identity=String)
    one, other = aliases.alias("one"), aliases.alias("other")
    same_record = and_(one.c.source == other.c.source, one.c.record == other.c.record)
    return (
        select(other.c.source, other.c.identity)
        .join_from(one, other, same_record)
        .where(one.c.source == of["source"], one.c.identity == of["identity"])
        .distinct()
    )
