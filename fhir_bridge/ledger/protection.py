"""What protects people and their data, as methods of the ledger: do-not-call, crosswalk, retention, audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals import intake
from fhir_bridge.ledger.arrivals.batch import Intake
from fhir_bridge.ledger.database.collisions import done_again
from fhir_bridge.ledger.database.encryption import cipher_of
from fhir_bridge.ledger.database.engine import forget_cleared
from fhir_bridge.ledger.operation.restoring import last_attempt
from fhir_bridge.ledger.people import audit, blocking, crosswalk_file, disclosures, reencrypting, retention
from fhir_bridge.ledger.people.blocking import DoNotCall, Entry
from fhir_bridge.ledger.people.disclosures import Acted, Disclosure, Period
from fhir_bridge.ledger.records import (
    Act,
    AuditCheck,
    AuditHead,
    BlockedEntry,
    Cleared,
    CrosswalkEntry,
    Imported,
)


class Transactions(Protocol):
    """What these methods need of the ledger: its transactions, salt and keys."""

    _engine: AsyncEngine
    _salt: bytes
    _own_audit_key: bytes

    @property
    def _audit_key(self) -> bytes: ...

    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def _acting(
        self, act: Act, action: str, subject: str
    ) -> AbstractAsyncContextManager[AsyncConnection]: ...


class Protection:
    """Mixed into the ledger; each method is one transaction unless it says otherwise."""

    # -- do not call --

    async def do_not_call(self: Transactions, source: str) -> DoNotCall:
        """The list as mapping asks it, for one source."""
        async with self._reading() as connection:
            return await blocking.do_not_call(connection, source, self._salt)

    async def blocked(self: Transactions) -> list[BlockedEntry]:
        """All that is on the list, the newest first."""
        async with self._reading() as connection:
            return await blocking.listed(connection)

    @done_again
    async def block(self: Transactions, kind: str, value: str, act: Act) -> int:
        """See port.Operations."""
        hidden = blocking.hidden(kind, value, self._salt)
        async with self._acting(act, "block", f"{kind} {hidden}") as connection:
            return await blocking.block(connection, [(kind, hidden)], act)

    @done_again
    async def block_all(self: Transactions, entries: Collection[Entry], act: Act) -> int:
        """Many at once, all or none, under one row of the audit; gives how many intents are skipped."""
        kinds = [kind for kind, _ in entries]
        told = f"{kinds.count('number')} numbers, {kinds.count('patient')} patients"
        hidden = [(kind, blocking.hidden(kind, value, self._salt)) for kind, value in entries]
        async with self._acting(act, "block-import", told) as connection:
            return await blocking.block(connection, hidden, act)

    @done_again
    async def unblock(self: Transactions, kind: str, value: str, act: Act) -> int | None:
        """Take from the list; what it alone had skipped is decided again. Gives how many intents that are,
        None where it was not on the list.
        """
        hidden = blocking.hidden(kind, value, self._salt)
        async with self._acting(act, "unblock", f"{kind} {hidden}") as connection:
            ids = await blocking.unblock(connection, kind, hidden)
            if ids is None:
                return None
            return await intake.decide_anew(connection, ids, Intake(act.at, act.at), self._salt)

    # -- crosswalk --

    async def export_patients(self: Transactions, act: Act) -> list[CrosswalkEntry]:
        """Every patient who is known at the task API; a view that is audited."""
        async with self._acting(act, "patients-export", "all") as connection:
            return await crosswalk_file.export(connection)

    async def check_patients(self: Transactions, entries: Sequence[CrosswalkEntry], at: datetime) -> Imported:
        """What an import would do."""
        async with self._reading() as connection:
            return await crosswalk_file.take(connection, entries, at, write=False)

    @done_again
    async def import_patients(self: Transactions, entries: Sequence[CrosswalkEntry], act: Act) -> Imported:
        """Take patients in as created; conflicts are named and change nothing."""
        async with self._acting(act, "patients-import", f"{len(entries)} patients") as connection:
            return await crosswalk_file.take(connection, entries, act.at, write=True)

    # -- retention --

    async def clear_payloads(self: Transactions, now: datetime, keep: timedelta) -> Cleared:
        """Clear what nothing needs any more, in several transactions, so that workers go on meanwhile."""
        count = unfinished = 0
        after: int | None = 0
        while after is not None:
            async with self._writing() as connection:
                part, after = await retention.clear_intents(connection, now, keep, after)
            count, unfinished = count + part.intents, unfinished + part.unfinished
        place: retention.Place | None = retention.FIRST
        while place is not None:
            async with self._writing() as connection:
                alone, place = await retention.clear_alone(connection, now, keep, place)
            count += alone
        people, part_of = 0, retention.ROWS_AT_ONCE
        while part_of == retention.ROWS_AT_ONCE:
            async with self._writing() as connection:
                part_of = await retention.clear_patients(connection, now, keep, self._salt)
            people += part_of
        async with self._writing() as connection:
            messages = await retention.clear_messages(connection, now, keep)
        if count or people or messages:
            await forget_cleared(self._engine)
        return Cleared(count, unfinished, people, messages)

    # -- encryption --

    async def reencrypt(
        self: Transactions, act: Act, begin: Callable[[int], None], advance: Callable[[int], None]
    ) -> int:
        """Bring every payload under the key that writes, in many transactions, so that workers go on
        meanwhile and a kill loses nothing; gives how many rows that were.

        `begin` is told how many there are, `advance` how many were done. Raises LedgerError where no key is
        set, or one is missing that something was written with.
        """
        key_id = cipher_of(self._engine.dialect).key_id
        if key_id is None:
            raise LedgerError(
                "there is no key to encrypt the ledger with: ledger.encryption_key is not set",
                code="ledger-key-missing",
                hint="Make one with `openssl rand -base64 32`, and keep a copy of it.",
            )
        tables = list(reencrypting.tables_with_payloads())
        async with self._acting(act, "reencrypt", f"under key {key_id}") as connection:
            left = sum([await reencrypting.count(connection, table) for table in tables])
        begin(left)
        done = 0
        for table in tables:
            after: reencrypting.Place | None = ()
            while after is not None:
                async with self._writing() as connection:
                    part, after = await reencrypting.reencrypt(connection, table, after)
                done += part
                advance(part)
        await forget_cleared(self._engine)
        return done

    async def not_under_key(self: Transactions) -> int:
        """How many rows hold something that is not under the key that writes."""
        async with self._reading() as connection:
            tables = reencrypting.tables_with_payloads()
            return sum([await reencrypting.count(connection, table) for table in tables])

    # -- audit --

    @done_again
    async def note(self: Transactions, act: Act, action: str, subject: str) -> None:
        """Leave a row in the audit for what somebody did elsewhere."""
        async with self._acting(act, action, subject):
            pass

    async def check_audit(self: Transactions) -> AuditCheck:
        """Whether the audit is as it was written."""
        async with self._reading() as connection:
            return await audit.verify(connection, self._audit_key, self._own_audit_key)

    async def audit_head(self: Transactions) -> AuditHead | None:
        """The newest row of the audit."""
        async with self._reading() as connection:
            return await audit.head(connection)

    async def last_attempt(self: Transactions) -> int:
        """The number of the newest attempt, 0 where there is none: it only grows."""
        async with self._reading() as connection:
            return await last_attempt(connection)

    async def audit_chain_at(self: Transactions, number: int) -> str | None:
        """What a row of the audit said of all before it, in hex."""
        async with self._reading() as connection:
            return await audit.chain_at(connection, number)

    async def destination_url(self: Transactions) -> str:
        """To whom this ledger's requests go."""
        async with self._reading() as connection:
            return await disclosures.destination_told(connection)

    async def knows(self: Transactions, source: str, identity: str) -> bool:
        """Whether anything was ever decided about this patient of a source."""
        async with self._reading() as connection:
            return await disclosures.knows(connection, source, identity)

    async def disclosures(
        self: Transactions, period: Period, patient: tuple[str, str] | None = None
    ) -> AsyncIterator[Disclosure]:
        """Every attempt of a period, or about one patient, in their order; read in parts."""
        after = 0
        while True:
            async with self._reading() as connection:
                rows = await disclosures.disclosures(connection, period, patient, after)
            for row in rows:
                yield row
            if len(rows) < disclosures.ROWS_AT_ONCE:
                return
            after = rows[-1].id

    async def acts(self: Transactions, period: Period) -> AsyncIterator[Acted]:
        """Every row of the audit of a period, in their order; read in parts."""
        after = 0
        while True:
            async with self._reading() as connection:
                rows = await disclosures.acts(connection, period, after)
            for row in rows:
                yield row
            if len(rows) < disclosures.ROWS_AT_ONCE:
                return
            after = rows[-1].number
