"""A ledger that is in use is brought to the newest schema with all that it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, MetaData, create_engine, insert, select, text

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.engine import ledger_url, make_file
from fhir_bridge.ledger.database.tables import REVISION
from fhir_bridge.ledger.database.upgrade import upgrade
from fhir_bridge.ledger.operation.checking import check_ledger
from fhir_bridge.ledger.records import Act, SettleTask, StartTask
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass
from tests.conformance.conftest import DESTINATION

MINUTE = timedelta(minutes=1)
LOST = Outcome(OutcomeClass.UNKNOWN, 500, error="server-error")
Rows = dict[str, list[dict[str, Any]]]


def engine_of(location: str) -> Engine:
    """An engine that knows nothing of the ledger's ways."""
    url = ledger_url(location)
    return create_engine(url if url.get_backend_name() == "postgresql" else url.set(drivername="sqlite"))


def held(connection: Connection) -> Rows:
    """All that the tables hold, in the order of their keys."""
    known = MetaData()
    known.reflect(connection)
    return {
        name: [
            dict(row._mapping)
            for row in connection.execute(select(table).order_by(*table.primary_key.columns))
        ]
        for name, table in known.tables.items()
        if name != "alembic_version"
    }


def make(connection: Connection, revision: str, rows: Rows) -> None:
    """The tables of an older release with as much of the rows as they have columns for."""
    config = Config()
    config.set_main_option("script_location", "fhir_bridge.ledger.database:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    known = MetaData()
    known.reflect(connection)
    for table in known.sorted_tables:
        if own := [{name: row[name] for name in row if name in table.c} for row in rows.get(table.name, ())]:
            connection.execute(insert(table), own)
            if connection.dialect.name == "postgresql" and "id" in table.c and table.c.id.autoincrement:
                last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id))"
                connection.execute(text(f"{last} FROM {table.name}"))


async def fill(ledger: SqlLedger, arrivals: Any, now: datetime) -> None:
    """Intents in several states, attempts, a patient of the site's, an entry of the list, acts."""
    known = {"patient_id": "00000000-0000-4000-8000-000000000001"}
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}", **(known if n < 2 else {}))
        for n in range(40)
    ]
    await ledger.accept([*calls, arrivals.skip("Appointment/s"), arrivals.reject("Appointment/r")], now=now)
    (claimed,) = await ledger.claim(Claim("w", now, now + MINUTE, 1))
    (begun,) = await ledger.write([StartTask(claimed, now, now + MINUTE, now)])
    await ledger.write([SettleTask(claimed, begun.number, LOST, now, now)])
    await ledger.block("number", "+12125550039", Act("tester", "asked for it", now))


@pytest.fixture
async def filled(location: str, tmp_path: Path, arrivals: Any, monday: datetime) -> Rows:
    """What a ledger in use holds."""
    other = str(tmp_path / "newest.db")
    async with await open_ledger(other, now=monday, **DESTINATION) as ledger:
        await fill(ledger, arrivals, monday)
    engine = engine_of(other)
    with engine.connect() as connection:
        rows = held(connection)
    engine.dispose()
    return rows


def as_before(rows: Rows) -> Rows:
    """The same as a release has it that opens an intent for every Skip."""
    intents = list(rows["intents"])
    standing = []
    for row in rows["triggers"]:
        if row["intent_id"] is None:
            names = ("source", "trigger", "version_id", "reason", "fingerprint", "content", "identity")
            key = f"{row['source']}|{row['identity'] or '?'}|{row['trigger']}"
            more = {"id": len(intents) + 1, "key": key, "state": "skipped", "loss": "", "tries": 0}
            at = {"created_at": row["changed_at"], "changed_at": row["changed_at"]}
            more |= {name: row[name] for name in names} | at
            intents.append(dict.fromkeys(intents[0]) | more)
            row = row | {"intent_id": len(intents), "content": None}
        standing.append(row)
    return rows | {"intents": intents, "triggers": standing}


@pytest.fixture
def empty(location: str, request: pytest.FixtureRequest) -> str:
    """Where there are no tables yet."""
    if "://" not in location:
        make_file(Path(location))
        return location
    database: Callable[..., str] = request.getfixturevalue("postgres_database")
    return database(empty=True)


@pytest.mark.parametrize("revision", ["0001", "0005"])
async def test_a_ledger_in_use_is_upgraded_with_all_it_holds(
    empty: str, filled: Rows, revision: str, monday: datetime
) -> None:
    """No row is lost or changed, the database is sound, its CHECKs hold, and a worker goes on with it."""
    engine = engine_of(empty)
    with engine.begin() as connection:
        make(connection, revision, as_before(filled))
        before = held(connection)
    assert len(before["intents"]) == 42 and len(before["attempts"]) == 1
    assert upgrade(empty) == (revision, REVISION)
    with engine.connect() as connection:
        after = held(connection)
        if connection.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()
    for name, rows in before.items():
        kept = [{column: row[column] for column in row.keys() & set(rows[0])} for row in after[name]]
        assert kept == rows, name
    assert (await check_ledger(empty, **DESTINATION)).problems == []
    await goes_on(empty, monday)


async def test_the_ledger_of_a_newer_release_is_left_as_it_is(location: str) -> None:
    """And it is said what to do."""
    upgrade(location)
    engine = engine_of(location)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="newer release") as refused:
        upgrade(location)
    assert refused.value.code == "ledger-newer" and refused.value.hint
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


async def goes_on(location: str, now: datetime) -> None:
    """What is due is claimed and begun; a state that there is none of is refused."""
    async with await open_ledger(location, now=now, **DESTINATION) as ledger:
        claimed = await ledger.claim(Claim("v", now, now + MINUTE, 100))
        assert len(claimed) == 38  # one in doubt, one on the list
        one = next(each for each in claimed if each.patient.api_id)
        (begun,) = await ledger.write([StartTask(one, now, now + MINUTE, now)])
        assert begun.done
        for table in ("intents", "patients", "inbox"):
            with pytest.raises(LedgerError, match="refused a row"):
                async with ledger._writing() as connection:
                    await connection.execute(text(f"UPDATE {table} SET state = 'lost'"))
