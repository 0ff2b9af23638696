"""A ledger on PostgreSQL: how it is connected to, brought to the newest schema, and asked which it has."""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fhir_bridge.errors import LedgerError, SettingsError
from fhir_bridge.ledger.database.locks import Lock, hold_now
from fhir_bridge.ledger.database.migrate import migrate, refuse_newer, revision
from fhir_bridge.ledger.database.tables import REVISION

UPGRADE = "Run `fhir-bridge ledger upgrade`."

_SESSION = {
    # A server set otherwise could lose, in a power cut, the attempt that was committed before the call.
    "synchronous_commit": "on",
    # A worker whose plug was pulled keeps its locks until the server notices: within a minute.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_CLIENT: dict[str, Any] = {
    "connect_timeout": 10,
    # A server that is gone without a word, its plug pulled or its address taken over, is given up within
    # half a minute (in seconds, then milliseconds): by itself the system waits for a quarter of an hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""Of a connection whose statements are about a few rows that are given by their ids. A statement is prepared
once, and one that was while a table was small would read all of it long after it has grown."""

_PINGED_AFTER = 1.0
"""Seconds in which a connection is taken to stand as it stood."""

_RESTS_SINCE = "rests since"


def arguments(url: URL, *, by_index: bool = False) -> dict[str, Any]:
    """What every engine on PostgreSQL is made with; `by_index`: one that asks for few rows of large tables.

    The URL's own `options` are added to ours, and win.
    """
    own = url.query.get("options", "")
    session = _SESSION | _BY_INDEX if by_index else _SESSION
    options = [f"-c {name}={value}" for name, value in session.items()]
    connect: dict[str, Any] = {"options": " ".join([*options, own if isinstance(own, str) else ""])}
    connect |= {name: value for name, value in _CLIENT.items() if name not in url.query}
    return {
        "connect_args": connect,
        "hide_parameters": True,
        # Each statement sees what was committed before it, which is what the locks and the WHEREs count on.
        "isolation_level": "READ COMMITTED",
    }


def ping_after_rest(engine: Engine) -> None:
    """Ask a connection that lay idle whether it still stands, before it is used, and take another if not.

    SQLAlchemy's own ping asks every time; to a transaction of one statement that was half of its time.
    """

    def rests(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[_RESTS_SINCE] = time.monotonic()

    def wakes(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_RESTS_SINCE, math.inf) < _PINGED_AFTER:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise DisconnectionError from None

    event.listen(engine, "checkin", rests)
    event.listen(engine, "checkout", wakes)


def require_driver() -> None:
    """Raises SettingsError where psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise SettingsError(
            "a ledger on PostgreSQL needs the driver psycopg, which cannot be loaded here",
            code="no-driver",
            hint="Install fhir-bridge with it: pip install 'fhir-bridge[postgres]'.",
        ) from None


def upgrade_postgres(url: URL) -> tuple[str | None, str]:
    """Create or upgrade the tables, in one transaction; gives the schema it found (None: none) and has now.

    Of several at once one does it, the others wait and find it done. Raises LedgerError where the database
    cannot be reached, holds another program's tables or a newer release's, or lets this user make no tables.
    """
    require_driver()
    engine = create_engine(url, **arguments(url))
    try:
        with engine.connect() as connection, connection.begin():
            hold_now(connection, Lock.UPGRADE)
            before = revision(connection)
            if before != REVISION:
                refuse_newer(before)
                migrate(connection)
            return before, REVISION
    except OperationalError as error:
        raise unreachable(url, error) from None
    except DBAPIError as error:
        raise LedgerError(
            f"the ledger cannot be upgraded: {getattr(error.orig, 'sqlstate', None)}",
            code="ledger-not-upgraded",
            hint="The user in ledger.url must own the schema, or be allowed to make tables in it.",
        ) from None
    finally:
        engine.dispose()


async def require_reachable(engine: AsyncEngine) -> None:
    """Raises LedgerError where the database does not answer, or its tables are not this release's."""
    try:
        async with engine.connect() as connection:
            await connection.run_sync(require_newest)
    except OperationalError as error:
        raise unreachable(engine.url, error) from None


def require_newest(connection: Connection) -> None:
    """Raises LedgerError, with what to run, for a ledger that is not at this release's schema."""
    found = revision(connection)
    refuse_newer(found)
    if found != REVISION:
        has = "no tables yet" if found is None else f"schema {found}, this release needs {REVISION}"
        raise LedgerError(f"the ledger has {has}", code="ledger-not-upgraded", hint=UPGRADE)


def unreachable(url: URL, error: OperationalError) -> LedgerError:
    """What to say of a database that does not answer or lets nobody in; never a password."""
    # Of several addresses the last that was tried; the driver's own advice stands indented below it.
    said = [line for line in str(error.orig).strip().splitlines() if not line[:1].isspace()][-1:]
    return LedgerError(
        f"the ledger's database {url.database} at {url.host or 'the local socket'} cannot be reached: "
        + "".join(said),
        code="ledger-unreachable",
        hint="Check ledger.url, its user and password, and that the server runs.",
    )
