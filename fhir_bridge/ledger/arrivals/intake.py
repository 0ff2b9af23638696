"""Taking decisions in: what is known of their chains is read, folded and written in one transaction.

Long because it shows in which order one transaction writes, from the locks to the last row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import aliases, alone, deciding, folding, outdated, stopping, unread
from fhir_bridge.ledger.arrivals.batch import Intake, Known, KnownIntent
from fhir_bridge.ledger.arrivals.content import lane_of, standing_of
from fhir_bridge.ledger.arrivals.known import known_of, with_standings
from fhir_bridge.ledger.arrivals.precedence import Standing
from fhir_bridge.ledger.database.ids import new_ids
from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.many import insert_many, upsert_many
from fhir_bridge.ledger.database.tables import inbox, intents, members, triggers
from fhir_bridge.ledger.people import blocking, crosswalk
from fhir_bridge.ledger.records import Accepted, Arrival, Change, Heard
from fhir_bridge.ledger.sources import inbox as messages
from fhir_bridge.ledger.sources.messages import NOTHING_UNREAD, Held, Unread
from fhir_bridge.ledger.states import DECIDED_AGAIN, UNDECIDED, State

MAY_BE_DECIDED = UNDECIDED | {State.CANCELLED}
"""By newer data while undecided, and by an operator's `retry` when cancelled."""

Json = dict[str, Any]


async def accept(
    connection: AsyncConnection,
    arrivals: Sequence[Arrival],
    intake: Intake,
    salt: bytes,
    heard: Sequence[Heard] = (),
    held: Held | None = None,
    missed: Unread = NOTHING_UNREAD,
) -> list[Accepted]:
    """Fold every arrival in, in order, and write what changed; one answer an arrival. What was `heard` of
    persons, and what was `missed` that may speak of them, counts first, for their other intents too. Raises
    TakenOverError where the messages that all this comes of are `held` no more.
    """
    sources = {arrival.source for arrival in arrivals} | {each.source for each in heard} | missed.sources
    for source in sorted(sources):
        await hold(connection, Lock.INTAKE, source)
    if held is not None:
        await messages.demand_held(connection, held)
    linked = await aliases.take_in(connection, heard)
    said = await stopping.take_in(connection, heard, intake.now)
    await outdated.note_records(connection, said.older, intake.now)
    parted, freed = await stopping.part(connection, said.alone)
    turned = said.turned | freed | await unread.take_in(connection, missed, arrivals, heard, intake.now, salt)
    turned |= await stopping.follow(connection, linked | turned)
    others = await stopping.intents_of(connection, turned)
    apart = await alone.told_apart(connection, arrivals)
    told = await alone.take_in(connection, arrivals, apart.alone, intake, salt)
    rest = [position for position in range(len(arrivals)) if position not in told]
    if not intake.keep_skips:
        # Taken in a second time they must leave nothing that the first time did not.
        rest.sort(key=lambda position: folding.is_kept_with_others(arrivals[position]))
    known = await known_of(connection, apart.touching, others)
    folded = await _fold(connection, known, [arrivals[position] for position in rest], intake, salt, others)
    told |= zip(rest, folded, strict=True)
    if linked:
        await blocking.follow(connection, linked, intake.now)
    if turned or parted:
        await blocking.stay(connection, turned | parted, intake.now)
    await crosswalk.park_behind(connection, intake.now)
    return [told[position] for position in range(len(arrivals))]


async def _fold(
    connection: AsyncConnection,
    known: Known,
    arrivals: Sequence[Arrival],
    intake: Intake,
    salt: bytes,
    others: Collection[int],
) -> list[Accepted]:
    """Take in what may belong to a chain, and write it; `others` are intents of persons of whom something
    else is said.
    """
    intake = await _with_stops(connection, known.by_key.values(), intake, arrivals)
    accepted = [folding.fold(known, arrival, standing_of(arrival, salt), intake) for arrival in arrivals]
    for intent in list(known.by_key.values()):
        if intent.id in others:
            deciding.heed(intent, intake)
    await outdated.note(connection, zip(arrivals, accepted, strict=True), intake.now)
    await _write_inbox(connection, zip(arrivals, accepted, strict=True), intake.now)
    changed = _to_be_written(known)
    patient_ids = await crosswalk.take_in(connection, changed, intake.now, salt)
    await _write_intents(connection, changed, patient_ids, intake.now, salt)
    await _write_triggers(connection, known, changed, intake.now)
    await _write_members(connection, known)
    return accepted


async def _with_stops(
    connection: AsyncConnection,
    known: Iterable[KnownIntent],
    intake: Intake,
    arrivals: Sequence[Arrival] = (),
) -> Intake:
    """The intake with what stands against calling any of these persons."""
    places = {(intent.source, person) for intent in known for person in deciding.persons_of(intent)}
    places |= {(a.source, a.decision.subject.patient) for a in arrivals if a.decision.subject.patient}
    return replace(intake, stops=await stopping.standing(connection, places))


async def decide_anew(
    connection: AsyncConnection, ids: Collection[int], intake: Intake, salt: bytes, *, trust: bool = False
) -> int:
    """Decide these intents from what their triggers last said, whatever they were; gives how many could be.

    One whose payloads retention has cleared stays as it is: only newer data can bring it back. With `trust`
    what may be older counts too: somebody looked.
    """
    decided = [intent for intent in await with_standings(connection, ids) if intent.standings]
    intake = await _with_stops(connection, decided, intake)
    trusted: dict[tuple[str, str], KnownIntent] = {}
    for intent in decided:
        if trust:
            trusted |= {(intent.source, label): intent for label in deciding.trust(intent)}
        deciding.decide_anew(intent, intake)
    await _write_decided(connection, decided, intake.now, salt, trusted)
    return len(decided)


async def catch_up(connection: AsyncConnection, ids: Collection[int], now: datetime, salt: bytes) -> None:
    """Let intents that came back unsent go by what was said while they were away: a newer version, or that
    nobody must be called any more. Only those that are ready are looked at.
    """
    away = [intent for intent in await with_standings(connection, ids) if intent.state is State.READY]
    intake = await _with_stops(connection, away, Intake(now, now))
    changed = [intent for intent in away if intent.standings and deciding.catch_up(intent, intake)]
    await _write_decided(connection, changed, now, salt)


async def _write_decided(
    connection: AsyncConnection,
    decided: Sequence[KnownIntent],
    now: datetime,
    salt: bytes,
    trusted: Mapping[tuple[str, str], KnownIntent] | None = None,
) -> None:
    patient_ids = await crosswalk.take_in(connection, decided, now, salt)
    await _write_intents(connection, decided, patient_ids, now, salt)
    await _write_triggers(connection, Known(moved=dict(trusted or {})), decided, now)
    await crosswalk.park_behind(connection, now)


def _to_be_written(known: Known) -> list[KnownIntent]:
    """The intents that changed, and those that get a row; not what stands alone."""
    everyone = known.everyone()
    return [intent for intent in everyone if intent.has_row and (intent.changed or intent.id is None)]


async def _write_inbox(
    connection: AsyncConnection, taken: Iterable[tuple[Arrival, Accepted]], now: datetime
) -> None:
    """The bytes of what calls or is rejected; what was known already, or is skipped, adds nothing to account
    for.
    """
    rows = [
        {
            "source": arrival.source,
            "delivery_id": arrival.delivery_id,
            "trigger": arrival.decision.subject.trigger,
            "body": arrival.body,
            "received_at": now,
            "state": "processed",
        }
        for arrival, accepted in taken
        if arrival.body is not None
        and accepted.state is not State.SKIPPED
        and accepted.change not in (Change.UNCHANGED, Change.OLDER, Change.NOT_KEPT)
    ]
    await insert_many(connection, inbox, rows)


async def _write_intents(
    connection: AsyncConnection,
    changed: Sequence[KnownIntent],
    patient_ids: dict[tuple[str, str], int],
    now: datetime,
    salt: bytes,
) -> None:
    # Ids as they came: later ones go by which intent is the oldest.
    new = sorted((intent for intent in changed if intent.id is None), key=lambda intent: intent.number)
    for intent, intent_id in zip(new, await new_ids(connection, intents, len(new)), strict=True):
        intent.id = intent_id
    rows = [
        {
            "id": intent.id,
            **_decided(intent, patient_ids, salt),
            **_row(intent),
            "created_at": now,
            "changed_at": now,
        }
        for intent in new
    ]
    await insert_many(connection, intents, rows)
    fresh = {id(intent) for intent in new}
    again = [intent for intent in changed if id(intent) not in fresh]
    await _decide_again(connection, [i for i in again if i.decision], patient_ids, now, salt)
    await _update(connection, [i for i in again if not i.decision], now)


def _row(intent: KnownIntent) -> Json:
    return {"key": intent.key, "source": intent.source, "loss": intent.loss, **_standing_of(intent)}


def _standing_of(intent: KnownIntent) -> Json:
    # A plain text: sqlite3 takes four times as long over a StrEnum.
    state = intent.state and intent.state._value_
    return {"state": state, "reason": intent.reason, "due_at": intent.due_at}


def _decided(intent: KnownIntent, patient_ids: dict[tuple[str, str], int], salt: bytes) -> Json:
    """What an intent takes over from the decision it goes by."""
    content, decision = intent.content, intent.decision
    assert content is not None and decision is not None
    calls = decision.decision == "call"
    place = (intent.source, crosswalk.identity_of(intent))
    return {
        "trigger": decision.trigger,
        "version_id": decision.version.version_id,
        "fingerprint": decision.fingerprint,
        "content": decision.content,
        "identity": content.identity,
        "expression": content.expression,
        "patient_id": patient_ids[place] if calls else None,
        "lane": lane_of(content.phone_number, salt) if calls else None,
    }


async def _decide_again(
    connection: AsyncConnection,
    changed: Sequence[KnownIntent],
    patient_ids: dict[tuple[str, str], int],
    now: datetime,
    salt: bytes,
) -> None:
    """New content takes away whatever lease a worker had on the old one, and begins the deadline anew.

    Whether an intent may be decided was judged in this transaction, under its lock; the WHERE says it once
    more.
    """
    rows = [
        {
            **_decided(intent, patient_ids, salt),
            **_standing_of(intent),
            "key": intent.key,
            "changed_at": now,
            "of_id": intent.id,
        }
        for intent in changed
    ]
    if rows:
        fresh = {"lease_token": None, "lease_until": None, "first_attempt_at": None, "answer": None}
        statement = (
            update(intents)
            .where(intents.c.id == bindparam("of_id"))
            # An IN list cannot stand in a statement for many rows.
            .where(or_(*(intents.c.state == state for state in sorted(MAY_BE_DECIDED))))
            .values(**{name: bindparam(name) for name in rows[0] if name != "of_id"}, **fresh)
        )
        await connection.execute(statement, rows)


async def _update(connection: AsyncConnection, changed: Sequence[KnownIntent], now: datetime) -> None:
    """Intents that nothing speaks for any more, and alarms."""
    for intent in changed:
        values: Json = {"key": intent.key}
        if intent.state in DECIDED_AGAIN:
            values |= {**_standing_of(intent), "changed_at": now, "lease_token": None, "lease_until": None}
        if intent.alarm:
            values |= {"alarm": intent.alarm, "alarm_reason": intent.alarm_reason, "alarm_at": now}
        await connection.execute(update(intents).where(intents.c.id == intent.id).values(**values))


async def _write_triggers(
    connection: AsyncConnection, known: Known, changed: Sequence[KnownIntent], now: datetime
) -> None:
    """What moved, and all that stand in an intent that changed or got its row: which of them it goes by may
    have changed too.
    """
    places = dict(known.moved)
    several = (intent for intent in changed if len(intent.standings) > 1 or intent.number)
    places |= {(intent.source, label): intent for intent in several for label in intent.standings}
    rows = [
        _trigger_row(source, intent.standings[label], intent, now)
        for (source, label), intent in places.items()
    ]
    await upsert_many(connection, triggers, rows)


def _trigger_row(source: str, standing: Standing, intent: KnownIntent, now: datetime) -> Json:
    goes_by = (intent.trigger, intent.fingerprint) == (standing.trigger, standing.fingerprint)
    is_alone = not intent.has_row
    return {
        "source": source,
        "trigger": standing.trigger,
        "intent_id": intent.id,
        "resource_type": standing.resource_type,
        "version_id": standing.version.version_id,
        "last_updated": standing.version.last_updated,
        "decision": standing.decision,
        "reason": standing.reason,
        "fingerprint": standing.fingerprint,
        "deleted": standing.deleted or None,
        "content": standing.content if is_alone or not goes_by else None,
        "changed_at": standing.said_at or now,
        "identity": intent.identity if is_alone else None,
        "key": alone.own_key(intent.key, source, intent.identity, standing.trigger) if is_alone else None,
    }


async def _write_members(connection: AsyncConnection, known: Known) -> None:
    """Whatever led to an intent that was merged into another leads to that one, at hand here or not."""
    for gone, intent in known.merged:
        mine = (members.c.intent_id == gone.id, members.c.loss == gone.loss)
        await connection.execute(update(members).where(*mine).values(intent_id=intent.id))
    rows = [
        {"source": source, "member": member, "loss": loss, "intent_id": intent.id}
        for (source, member, loss), intent in known.joined.items()
    ]
    await upsert_many(connection, members, rows)
