"""What an operator names: an intent, or a Skip that stands alone and is shown as the intent it would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, func, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.arrivals.alone import place_of
from fhir_bridge.ledger.database.given import GIVEN, as_given, given, given_values
from fhir_bridge.ledger.database.tables import intents, triggers
from fhir_bridge.ledger.states import State

NAMES = (
    "name it by its trigger, such as Appointment/a1, its number in the log, or as `fhir-bridge worklist` does"
)

NO_ROW = 0
"""The id of what stands alone: no row of `intents` has it."""

_DIGITS = 19
"""As many do not fit into a row's number."""


def _key() -> ColumnElement[str]:
    """Of what stands alone."""
    of_patient = triggers.c.source + "|" + func.coalesce(triggers.c.identity, "?")
    return func.coalesce(triggers.c.key, of_patient + "|" + triggers.c.trigger, type_=String)


_ALONE = triggers.c.intent_id.is_(None)
_AS_INTENT: dict[str, ColumnElement[Any]] = {
    **{column.name: column for column in triggers.c if column.name in intents.c},
    "key": _key(),
    "state": literal(str(State.SKIPPED)),
    "loss": literal(""),
    "tries": literal(0),
    "created_at": triggers.c.changed_at,
}


class Named(NamedTuple):
    """An intent's row and key. `place`: source and trigger of a Skip that stands alone."""

    id: int
    key: str
    place: tuple[str, str] | None = None


async def find(connection: AsyncConnection, named: str) -> Named:
    """What has this key, a unique beginning of one, a trigger such as Appointment/a1, or this number in the
    log. Raises UsageError for a name of none or several.
    """
    of_intent = select(intents.c.id, intents.c.key, null().label("source"), null().label("trigger"))
    alone = select(
        literal(NO_ROW).label("id"), _key().label("key"), triggers.c.source, triggers.c.trigger
    ).where(_ALONE)
    number = int(named) if named.isascii() and named.isdigit() and len(named) < _DIGITS else -1
    by_trigger = of_intent.join(triggers, triggers.c.intent_id == intents.c.id)
    for statement in (
        of_intent.where(intents.c.key == named),
        alone.where(_has_key(named)),
        by_trigger.where(triggers.c.trigger == named).union_all(alone.where(triggers.c.trigger == named)),
        of_intent.where(intents.c.id == number),
        of_intent.where(intents.c.key.startswith(named, autoescape=True)).union_all(
            alone.where(_key().startswith(named, autoescape=True))
        ),
    ):
        rows = (await connection.execute(statement.limit(4))).all()
        if len(rows) == 1:
            row = rows[0]
            return Named(row.id, row.key, None if row.id else (row.source, row.trigger))
        if rows:
            keys = ", ".join(row.key for row in rows[:3])
            raise UsageError(f"{named} means several intents: {keys}, …", hint="Give more of the key.")
    raise UsageError(f"no intent {named}", hint=NAMES)


def _has_key(named: str) -> ColumnElement[bool]:
    source, trigger = place_of(named)
    here = and_(triggers.c.source == source, triggers.c.trigger == trigger)
    return or_(triggers.c.key == named, and_(here, _key() == named))


def row_of(named: Named) -> Select[Any]:
    """The intent's row, or what stands alone with the same columns."""
    if named.place is None:
        return select(intents).where(intents.c.id == named.id)
    return alone_as_intents().where(_stands_at(named.place))


def alone_as_intents() -> Select[Any]:
    """The Skips that stand alone, with the columns of intents."""
    return select(*(_AS_INTENT.get(column.name, null()).label(column.name) for column in intents.c)).where(
        _ALONE
    )


def standing_in(named: Named) -> Select[Any]:
    """The triggers that speak in it."""
    if named.place is None:
        return select(triggers).where(triggers.c.intent_id == named.id).order_by(triggers.c.trigger)
    return select(triggers).where(_stands_at(named.place))


def _stands_at(place: tuple[str, str]) -> ColumnElement[bool]:
    return and_(triggers.c.source == place[0], triggers.c.trigger == place[1])


async def reasons_alone(connection: AsyncConnection, only: Sequence[str] | None = None) -> dict[str, int]:
    """How many Skips stand alone, by reason; `only`: of these keys."""
    counts, keys = [_counts()], {}
    if only is not None:
        dialect = connection.dialect.name
        counts = [_counts_by_key(dialect), _counts_by_place(dialect)]
        keys = {GIVEN: as_given((key, *place_of(key)) for key in only)}
    found: Counter[str] = Counter()
    for statement in counts:
        for reason, count in await connection.execute(statement, keys):
            found[reason] += count
    return found


def _counts() -> Select[Any]:
    return select(triggers.c.reason, func.count()).where(_ALONE).group_by(triggers.c.reason)


@lru_cache
def _counts_by_key(dialect: str) -> Select[Any]:
    return _counts().where(triggers.c.key.in_(given_values(dialect, String)))


@lru_cache
def _counts_by_place(dialect: str) -> Select[Any]:
    of = given(dialect, key=String, source=String, trigger=String)
    here = and_(triggers.c.source == of["source"], triggers.c.trigger == of["trigger"])
    return _counts().where(here, triggers.c.key.is_(None), _key() == of["key"])
