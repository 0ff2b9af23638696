"""`fhir-bridge ledger upgrade` and `check`, on a SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from fhir_bridge.ledger.database.engine import ledger_url

HERE = "http://127.0.0.1:1"


def on(bridge: Any, url: str, more: str = "") -> None:
    """Settings whose ledger is at `url`."""
    bridge.settings(HERE, f'\n[ledger]\nurl = "{url}"\n{more}')


def run_sql(url: str, *statements: str) -> None:
    """Behind the ledger's back."""
    place = ledger_url(url)
    if place.get_backend_name() == "sqlite":
        place = place.set(drivername="sqlite")
    engine = create_engine(place)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def empty(bridge: Any, postgres_database: Callable[..., str]) -> str:
    """The URL of a database without a table, and settings that name it."""
    url = postgres_database(empty=True)
    on(bridge, url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, bridge: Any, hospital: Any) -> str:
    """The URL of a ledger that holds an intent and an act, and settings that name it."""
    url = "ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")()
    on(bridge, url)
    assert bridge("submit", hospital.proposed(), "--wait", "0s").code in (0, 5)
    assert bridge("cancel", "Appointment/a1", "--yes", "--because", "tests").code == 0
    return url if request.param == "postgresql" else str(bridge.folder / url)


def test_a_postgresql_ledger_says_that_it_must_be_upgraded(bridge: Any, empty: str) -> None:
    """Exit code 6 and the command to run; then it works, and upgrading again changes nothing."""
    ran = bridge("status")
    assert (ran.code, "no tables yet" in ran.err, "fhir-bridge ledger upgrade" in ran.err) == (6, True, True)
    ran = bridge("ledger", "check")
    assert (ran.code, "ledger upgrade" in ran.err) == (6, True)
    assert "now" in bridge("ledger", "upgrade").out
    assert "already" in bridge("ledger", "upgrade").out
    assert bridge("status").code == 0
    assert bridge("ledger", "check").code == 0


def test_an_older_postgresql_ledger_is_brought_up_to_date(bridge: Any, empty: str) -> None:
    """One of the first schema, with what it holds."""
    from alembic import command
    from alembic.config import Config

    engine = create_engine(ledger_url(empty))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "fhir_bridge.ledger.database:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    ran = bridge("status")
    assert (ran.code, "schema 0001" in ran.err) == (6, True)
    assert "it had 0001" in bridge("ledger", "upgrade").out
    assert bridge("ledger", "check").code == 0


async def test_who_upgrades_at_once_waits_and_finds_it_done(bridge: Any, empty: str) -> None:
    """Four processes: one makes the tables, none fails."""
    processes = [bridge.process("ledger", "upgrade") for _ in range(4)]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, 60) for process in processes))
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert sorted("already" in out for out, _ in outputs) == [False, True, True, True]


def test_a_database_of_another_program_is_left_alone(bridge: Any, empty: str) -> None:
    """Nothing is made beside its tables."""
    run_sql(empty, "CREATE TABLE theirs (x int)")
    ran = bridge("ledger", "upgrade")
    assert (ran.code, "another program's tables: theirs" in ran.err) == (6, True)
    run_sql(empty, "DROP TABLE theirs")
    assert bridge("ledger", "upgrade").code == 0


def test_a_database_out_of_reach_is_named_without_its_password(bridge: Any, unused_tcp_port: int) -> None:
    """Exit code 6, where and why."""
    on(bridge, f"postgresql://bridge:hush@127.0.0.1:{unused_tcp_port}/ledger")
    for arguments in (("status",), ("ledger", "upgrade"), ("ledger", "check")):
        ran = bridge(*arguments)
        assert ran.code == 6
        assert "127.0.0.1" in ran.err
        assert "Connection refused" in ran.err
        assert "hush" not in ran.err


def test_a_whole_ledger_is_all_well_and_stays_as_it_is(bridge: Any, filled: str) -> None:
    """Counts for people and for tools."""
    ran = bridge("ledger", "check")
    assert (ran.code, ran.err) == (0, "")
    assert "all well" in ran.out
    found = bridge("ledger", "check", "--json").json
    assert found["problems"] == []
    assert (found["api_url"], found["states"], found["acts"]) == (HERE, {"cancelled": 1}, 1)
    assert found["rows"]["intents"] == found["rows"]["triggers"] == 1


@pytest.mark.parametrize(
    ("statements", "words", "damaged"),
    [
        (["DROP INDEX ix_intents_one_in_flight_a_lane"], "ix_intents_one_in_flight_a_lane", True),
        (["UPDATE audit SET reason = 'other'"], "its row 1 does not fit", True),
        (["DELETE FROM triggers"], "1 intents have no trigger", True),
        (["UPDATE intents SET state = 'parked', patient_id = NULL"], "call somebody have no patient", True),
        (["UPDATE destination SET project_id = 'p'"], "belongs to another endpoint or project", False),
        (["UPDATE alembic_version SET version_num = '0001'"], "it has schema 0001", False),
    ],
)
def test_what_is_wrong_is_said_in_words(
    bridge: Any, filled: str, statements: list[str], words: str, damaged: bool
) -> None:
    """Exit code 6; a second look says the same, for nothing was mended or changed. A backup is for what is
    damaged: restored over a slip in the settings it would call people again."""
    run_sql(filled, *statements)
    for _ in range(2):
        ran = bridge("ledger", "check")
        assert (ran.code, words in ran.err, "restore" in ran.err) == (6, True, damaged), ran.err


def test_rows_that_belong_to_nothing_are_counted(bridge: Any, filled: str) -> None:
    """Where the constraint was switched off and rows were taken out by hand."""
    if filled.startswith("postgresql"):
        run_sql(filled, "SET session_replication_role = replica", "DELETE FROM intents")
    else:
        run_sql(filled, "DELETE FROM intents")
    ran = bridge("ledger", "check")
    assert (ran.code, "1 rows of triggers belong to no row of intents" in ran.err) == (6, True), ran.err


def test_a_missing_file_is_not_made(bridge: Any) -> None:
    """Who checks a ledger that is not there learns so."""
    on(bridge, "nowhere.db")
    ran = bridge("ledger", "check")
    assert (ran.code, "there is no ledger" in ran.err) == (6, True)
    assert not (bridge.folder / "nowhere.db").exists()


def test_a_record_that_no_database_keeps_takes_no_other_along(bridge: Any, hospital: Any, empty: str) -> None:
    """U+0000 in one person's identifier: both are accepted, and known again."""
    assert bridge("ledger", "upgrade").code == 0
    odd = {"identifier": [{"system": "urn:made-up", "value": "a\0b"}], "id": "p\0"}
    participant = [{"actor": {"reference": "Patient/p\0"}, "status": "accepted"}]
    people = [hospital.patient(1, **odd), hospital.patient(2)]
    appointments = [hospital.appointment(1, participant=participant, id="a\0"), hospital.appointment(2)]
    name = hospital.write("odd.json", *people, *appointments)
    for _ in range(2):
        bridge("submit", name, "--wait", "0s")
        assert bridge("status", "--json").json["states"] == {"ready": 2}


def test_a_ledger_begun_in_the_clear_is_encrypted(bridge: Any, filled: str) -> None:
    """Only with a key; how many rows is said, once; the audit has it, and the data can be shown."""
    refused = bridge("ledger", "reencrypt", "--because", "tests")
    assert (refused.code, "ledger.encryption_key" in refused.err) == (6, True)
    on(bridge, filled, f'encryption_key = "{b64encode(bytes(32)).decode()}"\n')
    ran = bridge("ledger", "reencrypt", "--because", "tests")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("encrypted ") and ran.out.endswith("; 0 rows not under the key\n")
    assert "encrypted 0 rows;" in bridge("ledger", "reencrypt", "--because", "tests").out
    assert "Sample" in bridge("show", "Appointment/a1").out
    assert bridge("ledger", "check", "--json").json["acts"] == 4
