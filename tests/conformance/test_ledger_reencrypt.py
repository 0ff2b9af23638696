"""Payloads of a ledger that was begun in the clear or under another key come under the one that writes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.engine import ledger_url
from fhir_bridge.ledger.people import reencrypting
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sources.messages import MessageSelection, Received
from fhir_bridge.ledger.store import SqlLedger
from tests.conformance.test_ledger_protection import KEY, OTHER, PAYLOADS, kept, raw, reopened, settled


class KilledError(Exception):
    """Somebody pulled the plug."""


def act(now: datetime) -> Act:
    """Somebody does it now."""
    return Act("tester", "the key is new", now)


def unheard(_: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
async def in_the_clear(ledger: SqlLedger, arrivals: Any, monday: datetime) -> SqlLedger:
    """A ledger with messages, intents in many states, their triggers, patients and answers; no key yet."""
    await settled(ledger, arrivals, monday)
    await ledger.receive([Received("ehr", b'{"family": "Juniper"}', monday) for _ in range(9)])
    assert "Juniper" in await raw(ledger)
    return ledger


async def everything(ledger: SqlLedger) -> list[Any]:
    """What can be read of it."""
    names = [item.key for item in await ledger.worklist() if item.kind == "intent"]
    messages = [each.body async for each in ledger.messages(MessageSelection())]
    return [[await ledger.show(name) for name in names], messages]


@pytest.mark.parametrize("old", [(), (OTHER,)])
async def test_all_that_was_written_before_is_brought_under_the_key(
    location: str, in_the_clear: SqlLedger, monday: datetime, old: tuple[str, ...]
) -> None:
    """From the clear, and from an old key, which is not needed afterwards; nothing else is changed."""
    before = await everything(in_the_clear)
    if old:
        async with await reopened(location, *old) as own:
            await own.reencrypt(act(monday), unheard, unheard)
    async with await reopened(location, KEY, *old) as own:
        told: list[int] = []
        done = await own.reencrypt(act(monday), told.append, told.append)
        assert done == told[0] == sum(told[1:]) > 9
        assert await own.not_under_key() == 0
        assert await own.verify_audit() is None
        if "://" not in location:  # in a file it is overwritten, and its journal emptied
            assert not any(b"Juniper" in path.read_bytes() for path in Path(location).parent.iterdir())
    async with await reopened(location, KEY) as own:
        assert await everything(own) == before
        lies = await raw(own)
        assert "Juniper" not in lies and "5550102" not in lies
        assert await own.reencrypt(act(monday), unheard, unheard) == 0


async def test_it_goes_on_where_it_was_killed(
    location: str, in_the_clear: SqlLedger, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed stays, the rest is done by the next run; in between all of it can be read."""
    monkeypatch.setattr(reencrypting, "ROWS_AT_ONCE", 2)
    before = await everything(in_the_clear)
    told: list[int] = []

    def dies(part: int) -> None:
        told.append(part)
        if len(told) == 3:
            raise KilledError

    async with await reopened(location, KEY) as own:
        with pytest.raises(KilledError):
            await own.reencrypt(act(monday), unheard, dies)
        left = await own.not_under_key()
        assert await everything(own) == before
    async with await reopened(location, KEY) as own:
        assert await own.reencrypt(act(monday), unheard, unheard) == left > 0
        assert await own.not_under_key() == 0
        assert await everything(own) == before


async def test_what_somebody_wrote_meanwhile_is_left_as_they_wrote_it(
    location: str, in_the_clear: SqlLedger, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a row and its exchange: a retention that cleared it is not undone. On SQLite nobody
    can write then."""
    if "://" not in location:
        pytest.skip("SQLite has one writer")
    engine, anew, cleared = create_engine(ledger_url(location)), reencrypting._anew, []

    def late(payload: bytes, cipher: Any) -> dict[str, bytes]:
        for table in () if cleared else PAYLOADS:
            nothing = ", ".join(f"{column} = NULL" for column in PAYLOADS[table])
            with engine.begin() as connection:
                connection.execute(text(f"UPDATE {table} SET {nothing}"))
            cleared.append(table)
        return anew(payload, cipher)

    async with await reopened(location, KEY) as own:
        monkeypatch.setattr(reencrypting, "_anew", late)
        await own.reencrypt(act(monday), unheard, unheard)
        assert cleared and await kept(own) == {}
    engine.dispose()


async def test_without_a_key_there_is_nothing_to_do_it_with(
    location: str, in_the_clear: SqlLedger, monday: datetime
) -> None:
    """None set, or one missing that something was written with: said, and nothing is changed."""
    with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
        await in_the_clear.reencrypt(act(monday), unheard, unheard)
    async with await reopened(location, OTHER) as own:
        await own.reencrypt(act(monday), unheard, unheard)
    with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
        await reopened(location, KEY)
