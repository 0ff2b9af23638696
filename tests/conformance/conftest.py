"""One suite for every database a ledger can be kept in: each test runs once for each of DATABASES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import pytest

from fhir_bridge.ledger.store import SqlLedger, open_ledger

DATABASES = ("sqlite", "postgresql")
DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}

Opener = Callable[[], Awaitable[SqlLedger]]


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty ledger may be made: a file path or a SQLAlchemy URL."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    database: Callable[[], str] = request.getfixturevalue("postgres_database")
    return database()


@pytest.fixture
async def ledger(location: str, monday: datetime) -> AsyncIterator[SqlLedger]:
    """An empty ledger."""
    async with await open_ledger(location, now=monday, **DESTINATION) as opened:
        yield opened
