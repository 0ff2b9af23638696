"""What a story's triggers come to in a real ledger: never more calls than the specification demands."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.ledger.records import Accepted, Arrival
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.gates import Blocked

MADE: dict[str, list[Decision]] = {}


def decisions(story: Any) -> list[Decision]:
    """The story's decisions, as they go into a ledger; made once for the ways they go."""
    if story.folder.name not in MADE:
        MADE[story.folder.name] = _decided(story)
    return MADE[story.folder.name]


def _decided(story: Any) -> list[Decision]:
    run = mapping_run(None, None, story.told["set"], datetime.fromisoformat(story.told["now"]))
    inputs = run.read([str(path) for path in story.inputs], story.context)
    return run.decide(inputs, Blocked(numbers=frozenset(story.told.get("do_not_call", ()))))


def arrival(decision: Decision) -> Arrival:
    """A decision as intake hands it over; a trigger without an id is the Appointment of its story."""
    kind, slash, _ = decision.subject.trigger.partition("/")
    return Arrival("default", decision, kind if slash else "Appointment")


def calls_demanded(story: Any) -> int:
    """How many people are phoned: the calls expected, less those that are one call with another."""
    calls = sum(each["decision"] == "call" for each in story.expected)
    together = [*story.told.get("same_intent", []), *story.told.get("one_call", [])]
    return calls - sum(len(group) - 1 for group in together)


def calls_in(folder: Path) -> int:
    """How many intents are ready to be sent, holding back or not."""
    with closing(sqlite3.connect(folder / "ledger.db")) as database:
        (ready,) = database.execute(
            "SELECT count(*) FROM intents WHERE state = ?", [State.READY.value]
        ).fetchone()
    return int(ready)


DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "story"}


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger that holds nothing yet, made once."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"

    async def make() -> None:
        await (await open_ledger(path, **DESTINATION)).aclose()

    asyncio.run(make())
    return path


@pytest.fixture
async def ledger(empty_ledger: Path, tmp_path: Path) -> AsyncIterator[SqlLedger]:
    """A ledger of its own for each test."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    async with await open_ledger(tmp_path / "ledger.db", **DESTINATION) as opened:
        yield opened


async def accept(ledger: SqlLedger, story: Any, batch: list[Decision]) -> list[Accepted]:
    """Takes decisions in, at the story's clock."""
    arrivals = [arrival(decision) for decision in batch]
    return await ledger.accept(arrivals, now=datetime.fromisoformat(story.told["now"]))


WAYS: dict[str, Callable[[list[Decision]], list[list[Decision]]]] = {
    "in one message": lambda all_: [all_],
    "backwards, one by one": lambda all_: [[each] for each in all_[::-1]],
    "three times": lambda all_: [all_, all_, all_],
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_story_comes_to_the_calls_demanded(
    story: Any, way: str, ledger: SqlLedger, tmp_path: Path
) -> None:
    """However its triggers arrive, as many intents are ready as people are to be phoned."""
    for batch in WAYS[way](decisions(story)):
        await accept(ledger, story, batch)
    assert calls_in(tmp_path) == calls_demanded(story)


async def test_a_loss_takes_the_call_of_its_order(stories: Any, ledger: SqlLedger) -> None:
    """Of an order and its lost Appointment the Appointment's call remains, with the date that was lost."""
    (story,) = [each for each in stories if "one_call" in each.told]
    accepted = await accept(ledger, story, decisions(story))
    shown = await ledger.show(accepted[-1].key)
    assert shown["trigger"] == story.told["one_call"][0][-1]
