"""Reads what a chaos run left in the ledger and at the endpoint, and settles doubts as an operator does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, func, select

from fhir_bridge.ledger.database.engine import ledger_url
from fhir_bridge.ledger.database.tables import attempts, audit, intents, patients, triggers
from fhir_bridge.ledger.records import Act, Selection
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from tests.acceptance.chaos_evidence import Evidence, Intent, Kill, Task
from tests.acceptance.chaos_site import MAX_IN_FLIGHT, PROJECT, Site, family, trigger


class Books:
    """The ledger and the endpoint's own database side by side, read without the bridge's code in between."""

    def __init__(self, site: Site, count: int) -> None:
        self._site = site
        self._numbers = {family(number): number for number in range(count)}
        url = ledger_url(site.ledger)
        driver = "sqlite" if url.get_backend_name() == "sqlite" else url.drivername
        self._engine: Engine = create_engine(url.set(drivername=driver), poolclass=NullPool)

    def under_way(self) -> int:
        """Intents that are ready or being sent."""
        return len(self._rows(select(intents.c.id).where(intents.c.state.in_([State.READY, State.SENDING]))))

    def left_by(self, tokens: Iterable[str]) -> int:
        """What is being sent under these tokens: tasks, and patients."""
        held = list(tokens)
        if not held:  # it may have died while it made the ledger
            return 0
        tasks = select(intents.c.id).where(intents.c.state == State.SENDING, intents.c.lease_token.in_(held))
        creating = patients.c.state == PatientState.CREATING
        people = select(patients.c.id).where(creating, patients.c.lease_token.in_(held))
        return len(self._rows(tasks)) + len(self._rows(people))

    def tasks(self) -> list[Task]:
        """The endpoint's, each with the trigger of the person it is about."""
        found = self._at_endpoint(
            "SELECT t.id, p.body ->> 'last_name' FROM tasks t JOIN patients p ON p.id = t.patient_id"
        )
        return [Task(task, trigger(self._numbers[name])) for task, name in found]

    def patients(self) -> dict[str, str]:
        """The endpoint's, by the identity the ledger has for them."""
        found = self._at_endpoint("SELECT body ->> 'last_name', id FROM patients")
        return {f"Patient/p{self._numbers[name]}": number for name, number in found}

    async def evidence(self, offered: frozenset[str], kills: list[Kill], acts: int) -> Evidence:
        """All that the invariants look at."""
        async with await self._open() as ledger:
            states = (await ledger.status(datetime.now(UTC))).states
            broken_at = await ledger.verify_audit()
        unfinished = select(func.count()).select_from(attempts).where(attempts.c.finished_at.is_(None))
        return Evidence(
            offered=offered,
            triggers={row[0]: row[1] for row in self._rows(select(triggers.c.trigger, triggers.c.intent_id))},
            intents={
                row.id: Intent(row.state, row.task_id)
                for row in self._rows(select(intents.c.id, intents.c.state, intents.c.task_id))
            },
            states=states,
            tasks=self.tasks(),
            exchanges=[exchange for running in self._site.processes for exchange in running.exchanges()],
            kills=kills,
            unfinished=self._rows(unfinished)[0][0],
            max_in_flight=MAX_IN_FLIGHT,
            acts=acts,
            audit_rows=self._rows(select(func.count()).select_from(audit))[0][0],
            audit_broken_at=broken_at,
        )

    async def settle(self) -> int:
        """What is in doubt is looked up at the endpoint: what arrived is sent, what did not is sent again."""
        people, tasks = self.patients(), {task.trigger: task.id for task in self.tasks()}
        lost = select(patients.c.source, patients.c.identity).where(patients.c.state == PatientState.IN_DOUBT)
        doubts = select(intents.c.key, intents.c.trigger).where(intents.c.state == State.IN_DOUBT)
        settled = 0
        async with await self._open() as ledger:
            for source, identity in self._rows(lost):
                await ledger.resolve_patient(source, identity, people.get(identity), _act())
                settled += 1
            for key, of in self._rows(doubts):
                if of in tasks:
                    settled += await ledger.resolve_sent(key, tasks[of], _act())
                else:
                    settled += await ledger.resolve_resend(Selection(key=key), _act())
        return settled

    async def _open(self) -> SqlLedger:
        return await open_ledger(self._site.ledger, api_url=self._site.url, project_id=PROJECT)

    def _rows(self, statement: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(statement))

    def _at_endpoint(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self._site.storage)) as database:
            return database.execute(statement).fetchall()


def _act() -> Act:
    return Act("operator", "looked up at the endpoint", datetime.now(UTC))
