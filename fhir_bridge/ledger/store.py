"""The ledger on SQLAlchemy: every method one transaction, its statements in the module of its concern.

Long because the port has many methods; what each does is written elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals import intake
from fhir_bridge.ledger.arrivals.batch import Intake
from fhir_bridge.ledger.database import postgres
from fhir_bridge.ledger.database.beside import Mark, demand_local
from fhir_bridge.ledger.database.collisions import CollidedError, done_again, gave_up
from fhir_bridge.ledger.database.direct import Answer, Body, DirectTransactions
from fhir_bridge.ledger.database.encryption import use
from fhir_bridge.ledger.database.engine import (
    READS,
    WRITES,
    alone,
    demand_privacy,
    demand_whole,
    direct_engine,
    ledger_url,
    make_file,
    open_engine,
)
from fhir_bridge.ledger.database.upgrade import upgrade_sqlite
from fhir_bridge.ledger.operation import looking, operations, restoring
from fhir_bridge.ledger.people import audit
from fhir_bridge.ledger.protection import Protection
from fhir_bridge.ledger.receiving import Receiving
from fhir_bridge.ledger.records import (
    Accepted,
    Act,
    Arrival,
    Claimed,
    Heard,
    ReadBack,
    Selection,
    Sent,
    Status,
    WorkItem,
    Write,
    Written,
)
from fhir_bridge.ledger.sending import claims, destination, exchanges, polling
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import BREAKER, Breaker, Gate
from fhir_bridge.ledger.sources.messages import NOTHING_UNREAD, Held, Unread
from fhir_bridge.ledger.watching import Watching

NO_HOLD = timedelta(0)
ALL = Selection()


class SqlLedger(Receiving, Protection, Watching):
    """A ledger of one destination; an async context manager. `salt` hashes numbers and keys the
    audit chain.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        salt: bytes,
        audit_key: bytes | None,
        breaker: Breaker = BREAKER,
        mark: Mark | None = None,
    ) -> None:
        self._engine = engine
        self._mark = mark
        self._breaker = breaker
        self._salt = salt
        self._own_audit_key = destination.own_audit_key(salt)
        self._given_audit_key = audit_key
        # SQLite has one writer: waiting here costs nothing, waiting in its busy handler blocks a thread.
        self._writer = asyncio.Lock() if engine.dialect.name == "sqlite" else None
        self._alone = alone(engine.dialect)
        beside = direct_engine(engine)
        self._direct = DirectTransactions(beside, _told_errors) if beside is not None else None
        # A thread of its own, for who looks need not wait until something is committed.
        self._looks = DirectTransactions(beside, _told_errors) if beside is not None else None
        self._inbox = self._direct
        if beside is not None and self._writer is None:
            self._inbox = DirectTransactions(beside, _told_errors)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._mark is not None:
            with suppress(LedgerError):  # whatever it is, whoever used the ledger was told
                await self.last_attempt()
        for direct in (self._direct, self._looks, self._inbox):
            if direct is not None:
                await asyncio.to_thread(direct.close)
        await self._engine.dispose()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may write; raises LedgerError where the database cannot."""
        if self._writer is None:
            async with _transaction(self._engine) as connection:
                yield connection
            return
        async with self._writer, _transaction(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with _transaction(self._engine, writes=False) as connection:
            yield connection

    async def _at_once(self, body: Body[Answer]) -> Answer:
        """A transaction that may write, all of it without the event loop in between where that is possible:
        for what is done many times a second.
        """
        return await self._in_thread(self._direct, body)

    async def _look(self, body: Body[Answer]) -> Answer:
        """A transaction that only reads, and waits for nothing that is being committed."""
        if self._looks is None:
            async with self._reading() as connection:
                return await body(connection)
        return await self._looks.run(body, READS)

    async def _in_inbox(self, body: Body[Answer], *, is_one_statement: bool = False) -> Answer:
        """The same for messages: neither they nor attempts wait for one another where there are more writers
        than one. One statement is a transaction by itself, which nobody need begin and commit.
        """
        return await self._in_thread(self._inbox, body, self._alone if is_one_statement else WRITES)

    async def _in_line(self, body: Body[Answer]) -> Answer:
        """The same for what may have to wait for another process, on PostgreSQL: then nothing waits behind
        it.
        """
        if self._writer is not None:
            return await self._at_once(body)
        async with self._writing() as connection:
            return await body(connection)

    async def _in_thread(
        self, thread: DirectTransactions | None, body: Body[Answer], options: dict[str, Any] = WRITES
    ) -> Answer:
        if thread is None:
            async with self._writing() as connection:
                return await body(connection)
        if self._writer is None:
            return await thread.run(body, options)
        async with self._writer:
            return await thread.run(body, options)

    # -- intake --

    @done_again
    async def accept(
        self,
        arrivals: Sequence[Arrival],
        *,
        now: datetime,
        hold: timedelta = NO_HOLD,
        keep_skips: bool = True,
        heard: Sequence[Heard] = (),
        held: Held | None = None,
        missed: Unread = NOTHING_UNREAD,
    ) -> list[Accepted]:
        """See port.Intakes."""
        taken = Intake(now, now + hold, keep_skips)

        async def accept(connection: AsyncConnection) -> list[Accepted]:
            return await intake.accept(connection, arrivals, taken, self._salt, heard, held, missed)

        return await self._in_line(accept)

    # -- dispatch --

    @done_again
    async def claim(self, asked: Claim) -> list[Claimed]:
        """See port.Dispatches."""

        async def claim(connection: AsyncConnection) -> list[Claimed]:
            gate = await destination.gate(connection)
            return [] if gate.closed_because(asked.now) else await claims.claim(connection, asked)

        return await self._at_once(claim)

    @done_again
    async def write(self, batch: Sequence[Write]) -> list[Written]:
        """See port.Dispatches. What the database refuses in a batch is tried alone, so it takes nothing else
        along.
        """
        try:
            return await self._at_once(lambda c: exchanges.write(c, batch, self._breaker))
        except _RefusedError:
            if len(batch) == 1:
                return [exchanges.refused(batch[0])]
            return [(await self.write([item]))[0] for item in batch]

    @done_again
    async def release(self, token: str) -> int:
        """See port.Dispatches."""
        return await self._at_once(lambda c: claims.release(c, token))

    @done_again
    async def rescue(self, now: datetime) -> int:
        """See port.Dispatches."""
        return await self._at_once(lambda c: claims.rescue(c, now))

    async def waiting(self) -> int:
        """See port.Dispatches."""
        async with self._reading() as connection:
            return await claims.waiting(connection)

    async def next_due(self, only: Collection[str] | None = None) -> datetime | None:
        """See port.Dispatches."""
        return await self._look(lambda c: claims.next_due(c, only))

    async def gate(self) -> Gate:
        """See port.Dispatches."""
        return await self._look(destination.gate)

    @done_again
    async def change_gate(self, of: Callable[[Gate], Gate]) -> Gate:
        """See port.Dispatches."""
        async with self._writing() as connection:
            return await destination.change(connection, of)

    @done_again
    async def take_polls(self, now: datetime, again_at: datetime, limit: int) -> list[Sent]:
        """See port.Dispatches."""
        return await self._at_once(lambda c: polling.take(c, now, again_at, limit))

    @done_again
    async def record_polls(self, read: Sequence[ReadBack], now: datetime) -> None:
        """See port.Dispatches."""
        async with self._writing() as connection:
            await polling.record(connection, read, now)

    # -- operations --

    async def status(self, now: datetime, only: list[str] | None = None) -> Status:
        """See port.Operations."""
        async with self._reading() as connection:
            return await looking.status(connection, now, only)

    async def worklist(self, selection: Selection = ALL, limit: int | None = None) -> list[WorkItem]:
        """See port.Operations."""
        async with self._reading() as connection:
            return await looking.worklist(connection, selection, limit)

    async def show(self, named: str, act: Act | None = None) -> dict[str, Any]:
        """See port.Operations."""
        async with self._reading() as connection:
            found = await looking.show(connection, named)
        if act is not None:
            await self.note(act, "show", found["key"])
        return found

    @done_again
    async def retry(self, selection: Selection, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "retry", str(_told(selection))) as connection:
            return await operations.retry(connection, selection, act, self._salt)

    @done_again
    async def cancel(self, selection: Selection, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "cancel", _told(selection)) as connection:
            return await operations.cancel(connection, selection, act)

    @done_again
    async def resolve_sent(self, key: str, task_id: str, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "resolve-sent", f"{key} as {task_id}") as connection:
            return await operations.resolve_sent(connection, key, task_id, act)

    @done_again
    async def resolve_resend(self, selection: Selection, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "resolve-resend", _told(selection)) as connection:
            return await operations.resolve_resend(connection, selection, act, self._salt)

    @done_again
    async def resolve_patient(self, source: str, identity: str, created: str | None, act: Act) -> int:
        """See port.Operations."""
        told = f"{source} {identity} {f'as {created}' if created else 'again'}"
        async with self._acting(act, "resolve-patient", told) as connection:
            return await operations.resolve_patient(connection, source, identity, created, act)

    async def stuck_patients(self, selection: Selection) -> tuple[int, int]:
        """See port.Operations."""
        async with self._reading() as connection:
            ids, behind = await operations.stuck_patients(connection, selection)
            return len(ids), behind

    @done_again
    async def resend_patients(self, selection: Selection, act: Act) -> tuple[int, int]:
        """See port.Operations."""
        async with self._acting(act, "resend-patients", _told(selection)) as connection:
            return await operations.resend_patients(connection, selection, act)

    @done_again
    async def acknowledge(self, selection: Selection, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "acknowledge", _told(selection)) as connection:
            return await operations.acknowledge(connection, selection)

    @done_again
    async def pause(self, source: str, act: Act) -> None:
        """See port.Operations."""
        async with self._acting(act, "pause", source or "everything") as connection:
            await destination.pause(connection, source, act)

    @done_again
    async def resume(self, source: str, act: Act) -> bool:
        """See port.Operations."""
        async with self._acting(act, "resume", source or "everything") as connection:
            return await destination.resume(connection, source)

    @done_again
    async def restored(self, as_of: datetime, act: Act) -> int:
        """See port.Operations."""
        async with self._acting(act, "restored", f"as of {as_of.isoformat()}") as connection:
            doubted = await restoring.restored(connection, as_of, act)
        if self._mark is not None:
            self._mark.note(await super().last_attempt(), anew=True)
        return doubted

    async def last_attempt(self) -> int:
        """See Protection; noted beside a SQLite file, so that an older copy in its place is told."""
        number = await super().last_attempt()
        if self._mark is not None:
            self._mark.note(number)
        return number

    async def verify_audit(self) -> int | None:
        """See port.Operations."""
        return (await self.check_audit()).broken_at

    @property
    def _audit_key(self) -> bytes:
        """Raises LedgerError where the key that the audit was written with is not set here."""
        if self._given_audit_key is None:
            raise LedgerError(
                "the audit of this ledger is chained with a key that is not set: ledger.audit_key",
                code="ledger-key-missing",
                hint="Set ledger.audit_key as on the machine where it was first set. It never changes.",
            )
        return self._given_audit_key

    @asynccontextmanager
    async def _acting(self, act: Act, action: str, subject: str) -> AsyncIterator[AsyncConnection]:
        """A transaction whose act and audit row are committed together or not at all."""
        async with self._writing() as connection:
            yield connection
            await audit.note(connection, self._audit_key, act, action, subject)


class _RefusedError(LedgerError):
    """A constraint of the schema refused a statement: a bug, or two workers at one row."""


@asynccontextmanager
async def _transaction(engine: AsyncEngine, *, writes: bool = True) -> AsyncIterator[AsyncConnection]:
    """A transaction whose errors are the ledger's."""
    with _told_errors():
        async with engine.connect() as connection:
            await connection.execution_options(**(WRITES if writes else READS))
            async with connection.begin():
                yield connection


@contextmanager
def _told_errors() -> Iterator[None]:
    """The database's errors come out as the ledger's, without their parameters, for those hold PHI."""
    try:
        yield
    except IntegrityError as error:
        raise _RefusedError(
            f"the ledger refused a row: {type(error.orig).__name__}", code="ledger-refused"
        ) from None
    except DBAPIError as error:
        kind = CollidedError if gave_up(getattr(error.orig, "sqlstate", None)) else LedgerError
        full = _named(error) in _FULL
        raise kind(
            f"the ledger cannot be {'written: its disk is full' if full else 'used'}: {_named(error)}",
            code="ledger-unavailable",
            hint=_MAKE_ROOM if full else _LOOK,
        ) from None
    except StatementError as error:
        if isinstance(error.orig, LedgerError):  # a payload that needs a key which is not set
            raise error.orig from None
        raise


_FULL = ("SQLITE_FULL", "53100")
"""How SQLite and PostgreSQL (its disk_full) name it."""

_MAKE_ROOM = "Make room, then start it again: what was kept before is whole, and nothing is sent meanwhile."
_LOOK = "Check that the database runs, its disk space and permissions, and that nothing locks it."


def _named(error: DBAPIError) -> str:
    original = error.orig
    return (
        getattr(original, "sqlite_errorname", None)
        or getattr(original, "sqlstate", None)
        or type(original).__name__
    )


def _told(selection: Selection) -> str:
    names = ("key", "state", "reason", "source")
    return " ".join(f"{name}={value}" for name in names if (value := getattr(selection, name)) is not None)


async def open_ledger(
    location: str | Path,
    *,
    api_url: str | None,
    project_id: str | None,
    now: datetime | None = None,
    audit_key: bytes | None = None,
    encryption_keys: Sequence[str] = (),
    breaker: Breaker = BREAKER,
    is_restored: bool = False,
) -> SqlLedger:
    """The ledger at a file path or SQLAlchemy URL, created and upgraded where it is a SQLite file; one on
    PostgreSQL is refused until `ledger upgrade` was run.

    It belongs to this endpoint and project from its first use on; where the settings leave one open, it is
    taken as it is. Of `encryption_keys` (base64) the first writes, all read. Raises SettingsError for another
    destination, or none at first use, LedgerError where it cannot be opened or is not whole, where others
    than its owner may read the file, where its payloads are under a key that is not among them, where the
    file lies on a network, and, unless somebody says that it `is_restored`, where it is an older copy.
    """
    url = ledger_url(location)
    path: Path | None = None
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(str(url.database))
        demand_local(path)
        demand_whole(path)
        make_file(path)
        await asyncio.to_thread(upgrade_sqlite, path)
        demand_privacy(path)
    engine = open_engine(url)
    try:
        if engine.dialect.name == "postgresql":
            await postgres.require_reachable(engine)
        async with _transaction(engine) as connection:
            at = now or datetime.now(UTC)
            salt = await destination.belongs_to(connection, api_url, project_id, at)
            use(engine.dialect, await destination.cipher(connection, encryption_keys))
            chained_with = await destination.audit_key(connection, audit_key, salt)
    except BaseException:
        await engine.dispose()
        raise
    mark = Mark.of(path, salt) if path is not None else None
    opened = SqlLedger(engine, salt, chained_with, breaker, mark)
    if path is not None and mark is not None and mark.last and not is_restored:
        try:
            mark.demand_no_older(path, await Protection.last_attempt(opened))
        except BaseException:
            await opened.aclose()
            raise
    return opened
