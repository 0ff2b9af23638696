"""Whether a ledger is whole: version, destination, constraints, orphaned rows, audit; changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    CheckConstraint,
    ColumnElement,
    Connection,
    ForeignKeyConstraint,
    Table,
    and_,
    exists,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals.deciding import MERGED, SUPERSEDED
from fhir_bridge.ledger.database import postgres
from fhir_bridge.ledger.database.beside import Mark
from fhir_bridge.ledger.database.engine import READS, ledger_url, open_engine, open_to_look
from fhir_bridge.ledger.database.migrate import revision
from fhir_bridge.ledger.database.tables import REVISION, attempts, destination, intents, metadata, triggers
from fhir_bridge.ledger.operation.restoring import last_attempt
from fhir_bridge.ledger.people import audit
from fhir_bridge.ledger.records import AuditHead
from fhir_bridge.ledger.sending import destination as belonging
from fhir_bridge.ledger.states import State

_OLDER = "it is a restored backup, or was changed; before anything is sent: `fhir-bridge ledger restored`"

_ELSEWHERE = (
    "it belongs to another endpoint or project than api.url and api.project_id say: mend those, or name "
    "their own ledger in ledger.url"
)

_CALLING = (State.READY, State.SENDING, State.SENT, State.IN_DOUBT, State.REFUSED, State.PARKED, State.DONE)


@dataclass(frozen=True, slots=True)
class Logged:
    """What workers logged of a ledger: a head of its audit, the number of its newest attempt."""

    head: AuditHead | None = None
    attempt: int | None = None


NOTHING_LOGGED = Logged()


@dataclass(slots=True)
class Condition:
    """What was found. `rows` by table, `states` of intents; `problems` in words, none where all is well, and
    whether one of them is that the ledger is `damaged`: the others say themselves what mends them.
    """

    revision: str | None = None
    api_url: str | None = None
    project_id: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    acts: int = 0
    problems: list[str] = field(default_factory=list)
    damaged: bool = False


async def check_ledger(
    location: str | Path,
    *,
    api_url: str | None,
    project_id: str | None,
    audit_key: bytes | None = None,
    logged: Logged = NOTHING_LOGGED,
) -> Condition:
    """Look at a ledger from all sides, in one transaction that cannot write. `logged`: what workers said
    of it, which must still hold.

    Raises LedgerError where there is none, or none that can be read, SettingsError for an unusable location.
    """
    async with _engine_at(ledger_url(location)) as engine, engine.connect() as connection:
        await connection.execution_options(**READS)
        found = await connection.run_sync(_look, api_url, project_id)
        if found.api_url is not None:
            await _check_audit(connection, audit_key, found)
            found.problems += [told async for told in _forgotten(connection, logged)]
            found.problems += [told async for told in _older(connection, ledger_url(location))]
        return found


@asynccontextmanager
async def _engine_at(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = open_to_look(url) if url.get_backend_name() == "sqlite" else open_engine(url)
    try:
        yield engine
    except OperationalError as error:
        if engine.dialect.name == "postgresql":
            raise postgres.unreachable(url, error) from None
        raise LedgerError(f"{url.database} cannot be read as a ledger", code="ledger-unreadable") from None
    finally:
        await engine.dispose()


def _look(connection: Connection, api_url: str | None, project_id: str | None) -> Condition:
    found = Condition(revision(connection))
    if found.revision != REVISION:
        has = "no tables yet" if found.revision is None else f"schema {found.revision}"
        found.problems.append(f"it has {has}, this release needs {REVISION}: `fhir-bridge ledger upgrade`")
        return found
    found.problems += [*_missing(connection), *_damaged(connection)]
    found.damaged = bool(found.problems)
    if found.problems:
        return found
    found.rows = {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in metadata.tables.items()
    }
    by_state = select(intents.c.state, func.count()).group_by(intents.c.state)
    found.states = {row[0]: row[1] for row in connection.execute(by_state)}
    _check_destination(connection, found, api_url, project_id)
    for told, table, wrong in _contradictions():
        if count := connection.execute(select(func.count()).select_from(table).where(wrong)).scalar_one():
            found.problems.append(f"{count} {told}")
            found.damaged = True
    return found


def _missing(connection: Connection) -> Iterator[str]:
    """Tables, columns, indexes and constraints that the schema has and the database has not."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    for difference in compare_metadata(MigrationContext.configure(connection), metadata):
        # A change of a column comes as a list of one; the last element names what it is about.
        kind, *about = difference[0] if isinstance(difference, list) else difference
        names = [
            getattr(item, "name", item) for item in about if isinstance(getattr(item, "name", item), str)
        ]
        yield f"the schema is not as it was made: {kind.replace('_', ' ')} {'.'.join(names)}"
    looked = inspect(connection)
    for name, table in metadata.tables.items():
        there = {check["name"] for check in looked.get_check_constraints(name)}
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint) and constraint.name not in there:
                yield f"the schema is not as it was made: CHECK {constraint.name} is missing"


def _damaged(connection: Connection) -> Iterator[str]:
    """What the database itself says is broken."""
    if connection.dialect.name == "sqlite":
        for (said,) in connection.execute(text("PRAGMA quick_check(5)")):
            if said != "ok":
                yield f"the file is damaged: {said}"
        return
    invalid = text(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = current_schema() AND NOT i.indisvalid"
    )
    yield from (f"the index {name} is not valid: REINDEX it" for (name,) in connection.execute(invalid))
    unproven = text(
        "SELECT conname FROM pg_constraint WHERE connamespace = current_schema()::regnamespace "
        "AND NOT convalidated"
    )
    yield from (f"the constraint {name} is not validated" for (name,) in connection.execute(unproven))


def _check_destination(
    connection: Connection, found: Condition, api_url: str | None, project_id: str | None
) -> None:
    row = connection.execute(select(destination)).one_or_none()
    if row is None:
        if found.rows["intents"]:
            found.problems.append("it holds intents and says not for which endpoint")
            found.damaged = True
        return
    found.api_url, found.project_id = row.api_url, row.project_id
    wanted = (api_url or row.api_url).rstrip("/"), (project_id or row.project_id).lower()
    if wanted != (row.api_url, row.project_id):
        found.problems.append(_ELSEWHERE)


def _contradictions() -> Iterator[tuple[str, Table, ColumnElement[bool]]]:
    """What no row may be: in words, its table, and the condition that finds it."""
    for table in metadata.tables.values():
        for key in table.foreign_key_constraints:
            yield f"rows of {table.name} belong to no row of {key.referred_table.name}", table, _orphaned(key)
    spoken_for = exists().where(triggers.c.intent_id == intents.c.id)
    left = intents.c.reason.in_((MERGED, SUPERSEDED))
    yield "intents have no trigger", intents, and_(~spoken_for, func.coalesce(~left, True))
    calling = intents.c.state.in_(_CALLING)
    yield "intents that call somebody have no patient", intents, and_(calling, intents.c.patient_id.is_(None))
    begun = exists().where(attempts.c.intent_id == intents.c.id, attempts.c.number == intents.c.tries)
    yield (
        "intents are being sent without a committed attempt",
        intents,
        and_(intents.c.state == State.SENDING, ~begun),
    )
    other = intents.alias("other")
    same_lane = exists().where(
        other.c.lane == intents.c.lane, other.c.id != intents.c.id, other.c.state == State.SENDING
    )
    yield (
        "intents are being sent to a number that another is being sent to",
        intents,
        and_(intents.c.state == State.SENDING, same_lane),
    )


def _orphaned(key: ForeignKeyConstraint) -> ColumnElement[bool]:
    parent: Any = key.referred_table.alias("parent")
    pairs = [(element.parent, parent.c[element.column.name]) for element in key.elements]
    there = exists().where(*(own == theirs for own, theirs in pairs))
    return and_(*(own.is_not(None) for own, _ in pairs), ~there)


async def _forgotten(connection: AsyncConnection, logged: Logged) -> AsyncIterator[str]:
    """What workers logged of the ledger and it knows no more."""
    head = logged.head
    if head is not None and await audit.chain_at(connection, head.number) != head.chain:
        yield f"it has not row {head.number} of the audit as it was logged: {_OLDER}"
    last = await last_attempt(connection)
    if logged.attempt is not None and last < logged.attempt:
        yield f"its last attempt is {last}, and {logged.attempt} was logged: {_OLDER}"


async def _older(connection: AsyncConnection, url: URL) -> AsyncIterator[str]:
    """What was noted beside a SQLite file and it knows no more."""
    if url.get_backend_name() != "sqlite":
        return
    database = Path(str(url.database))
    salt = (await connection.execute(select(destination.c.salt))).scalar_one()
    last = await last_attempt(connection)
    try:
        Mark.of(database, salt).demand_no_older(database, last)
    except LedgerError as error:
        yield f"{error}: {error.hint}"


async def _check_audit(connection: AsyncConnection, given: bytes | None, found: Condition) -> None:
    row = (await connection.execute(select(destination.c.salt, destination.c.audit_key_id))).one()
    own = belonging.own_audit_key(row.salt)
    # The first time that a site's key is used it is noted, and not by who only looks.
    used = row.audit_key_id is not None
    key = await belonging.audit_key(connection, given, row.salt) if used else given or own
    if key is None:
        found.problems.append("the audit cannot be checked: set ledger.audit_key as where it was first set")
        return
    checked = await audit.verify(connection, key, own)
    found.acts = checked.head.number if checked.head else 0
    if checked.broken_at is not None:
        found.problems.append(f"the audit was changed by hand: its row {checked.broken_at} does not fit")
        found.damaged = True
