"""Statements for many rows say on both databases what one statement a row would."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, Integer, String, select

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database import many
from fhir_bridge.ledger.database.given import GIVEN, as_given, as_listed, found_in, given, given_values
from fhir_bridge.ledger.database.ids import new_ids
from fhir_bridge.ledger.database.many import ask, insert_many, upsert_many
from fhir_bridge.ledger.database.tables import inbox, subscriptions
from fhir_bridge.ledger.store import SqlLedger

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_rows_come_back_from_one_value_as_they_went_in(ledger: SqlLedger) -> None:
    """Texts with quotes and other scripts, what is missing, and microseconds are not touched."""
    rows = [(1, 'O\'Neill "x" \\ Ж 漢\n', 1_795_446_000_123_456), (2, None, None), (3, "", -1)]
    async with ledger._reading() as connection:
        of = given(connection.dialect.name, id=BigInteger, text=String, at=BigInteger)
        found = (await ask(connection, select(*of.values()), given=as_given(rows))).all()
        assert sorted(tuple(row) for row in found) == rows


async def test_many_more_values_than_parameters_may_be_asked_for(ledger: SqlLedger) -> None:
    """SQLite takes 32,766 parameters, PostgreSQL 65,535: one value holds them all."""
    async with ledger._reading() as connection:
        statement = select(given_values(connection.dialect.name, Integer).subquery())
        found = (await ask(connection, statement, given=as_given((n,) for n in range(70_000)))).all()
        assert sum(row[0] for row in found) == sum(range(70_000))


async def test_ids_are_reserved_before_rows_are_written(ledger: SqlLedger) -> None:
    """Ascending, nobody else's, and the next row that names none gets one after them."""
    row = {"source": "ehr", "received_at": NOON, "state": "processed"}
    async with ledger._writing() as connection:
        await insert_many(connection, inbox, [row])
        ids = list(await new_ids(connection, inbox, 3))
        await insert_many(connection, inbox, [{**row, "id": each} for each in ids])
        await insert_many(connection, inbox, [row])
        kept = list((await connection.execute(select(inbox.c.id).order_by(inbox.c.id))).scalars())
    assert ids == sorted(ids) and len(set(kept)) == 5
    assert kept[1:4] == ids


async def test_rows_that_are_too_much_for_one_statement_are_all_written(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, each with its own payload, whether it is the first of a statement or the last."""
    monkeypatch.setattr(many, "MOST_AT_ONCE", 1_000)
    bodies = [b"%d" % number * (number * 90 + 1) for number in range(20)]
    rows = [{"source": "ehr", "body": body, "received_at": NOON, "state": "processed"} for body in bodies]
    async with ledger._writing() as connection:
        await insert_many(connection, inbox, rows)
        kept = await connection.execute(select(inbox.c.body).order_by(inbox.c.id))
        assert list(kept.scalars()) == bodies


async def test_more_rows_than_one_step_takes_are_all_written(ledger: SqlLedger) -> None:
    """Those that are there already are replaced, the last of them in what no whole step was left for."""
    names = [f"s{number:03}" for number in range(2 * many.ROWS_A_STEP + 3)]
    rows = [{"source": "ehr", "subscription": name, "state": "active", "topic": name} for name in names]
    async with ledger._writing() as connection:
        await insert_many(connection, subscriptions, rows[1::2])
        await upsert_many(
            connection, subscriptions, [{**row, "topic": f"new {row['topic']}"} for row in rows]
        )
        columns = (subscriptions.c.subscription, subscriptions.c.topic)
        kept = (await connection.execute(select(*columns).order_by(subscriptions.c.subscription))).all()
    assert [tuple(row) for row in kept] == [(name, f"new {name}") for name in names]


async def test_texts_are_found_in_a_column_whatever_they_hold(ledger: SqlLedger) -> None:
    """One that is listed twice, or is not there, or looks like JSON, finds no more than itself."""
    there = ['["a"]', 'O\'Neill "x" \\ Ж 漢\n', "", "1"]
    rows = [{"source": source, "delivery_id": text, "received_at": NOON, "state": "processed"}
            for source, text in [*(("ehr", text) for text in there), ("lab", "a")]]  # fmt: skip
    async with ledger._writing() as connection:
        await insert_many(connection, inbox, rows)
        statement = found_in(connection.dialect.name, inbox.c.delivery_id, inbox.c.source == "ehr")
        asked = as_listed([*there, there[0], "a", "2"])
        found = {text for (text,) in await connection.execute(statement, {GIVEN: asked})}
    assert found == set(there)


async def test_a_row_that_names_fewer_columns_clears_the_others(ledger: SqlLedger) -> None:
    """Rows of one batch may lack different columns; one that is written anew keeps nothing of the old."""
    whole: dict[str, Any] = {"source": "ehr", "subscription": "a", "state": "active", "topic": "t"}
    other = {**whole, "subscription": "b"}
    async with ledger._writing() as connection:
        await upsert_many(connection, subscriptions, [whole, other])
        await upsert_many(connection, subscriptions, [{**whole, "topic": None}, {**other, "error": "gone"}])
        columns = (subscriptions.c.subscription, subscriptions.c.topic, subscriptions.c.error)
        kept = (await connection.execute(select(*columns).order_by(subscriptions.c.subscription))).all()
    assert [tuple(row) for row in kept] == [("a", None, None), ("b", "t", "gone")]


async def test_the_database_still_refuses_a_state_there_is_none_of(ledger: SqlLedger) -> None:
    """However the CHECK is worded."""
    with pytest.raises(LedgerError, match="refused a row"):
        async with ledger._writing() as connection:
            await insert_many(connection, inbox, [{"source": "ehr", "received_at": NOON, "state": "lost"}])
