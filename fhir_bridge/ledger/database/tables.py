"""The tables of the ledger, the same on SQLite and PostgreSQL (delivery, "One ledger for every way in").

Instants are whole microseconds since 1970 UTC: they sort, compare and index alike on both databases. Columns
of type `Payload` hold what may name a patient: they are what retention clears, so keys and states never
depend on them. Long because a schema is read whole.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
    literal_column,
    or_,
    text,
)

from fhir_bridge.ledger.database.encryption import cipher_of
from fhir_bridge.ledger.sources.messages import MessageState
from fhir_bridge.ledger.states import PatientState, State

REVISION = "0014"
"""The newest migration; a ledger at another one is upgraded (SQLite) or refused (PostgreSQL)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def microseconds(value: datetime | None) -> int | None:
    """Since 1970 UTC, whole; a naive datetime raises TypeError instead of being guessed."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def instant(value: int | None) -> datetime | None:
    """The aware UTC datetime of so many microseconds since 1970."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """See `microseconds`."""
        return microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """See `instant`."""
        return instant(value)


class Payload(TypeDecorator[bytes]):
    """Bytes that may name a patient: cleared by retention, kept as the ledger's cipher has it."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """What is kept. Raises LedgerError where that needs a key that is not set."""
        return None if value is None else cipher_of(dialect).encrypt(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        """The payload. Raises LedgerError where its key is not set."""
        return None if value is None else cipher_of(dialect).decrypt(bytes(value))


# SQLite numbers rows by itself only in a column declared INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> str:
    """The SQL condition that a column holds one of these words.

    SQLite compares with one word or two, but of more it builds a table for every row that is written.
    """
    words = [repr(str(value)) for value in values]
    pairs = [", ".join(words[at : at + 2]) for at in range(0, len(words), 2)]
    return " OR ".join(f"{column} IN ({pair})" for pair in pairs)


def in_state(table: Any, *states: State | PatientState | MessageState) -> ColumnElement[bool]:
    """Whether a row is in one of these states, spelt out in the statement.

    SQLite uses a partial index only where it can read there that the index's condition holds: never off a
    parameter.
    """
    return or_(*(table.c.state == literal_column(f"'{state}'") for state in states))


NEEDS_A_PERSON = (State.REJECTED, State.REFUSED, State.IN_DOUBT, State.PARKED)

_WORKLIST = text(" OR ".join([*(f"state = '{state}'" for state in NEEDS_A_PERSON), "alarm IS NOT NULL"]))

destination = Table(
    "destination",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("api_url", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Breaker, stop and pause: read by every worker before it claims, so all obey.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("open_until", Instant),
    Column("paused_until", Instant),
    Column("stopped_at", Instant),
    Column("stopped_by", String),
    Column("probed_at", Instant),
    # Pacing: no task before this moment, from whatever worker.
    Column("next_task_at", Instant),
    # The key that payloads are written under, by its id; none: in the clear.
    Column("encryption_key_id", String),
    # The same of the site's own key of the audit chain; none: the ledger's.
    Column("audit_key_id", String),
    CheckConstraint("id = 1", name="single"),
)

pauses = Table(
    "pauses",
    metadata,
    Column("source", String, primary_key=True),  # empty: every source
    Column("since", Instant, nullable=False),
    Column("by", String, nullable=False),
    Column("why", String, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source", String, nullable=False),
    Column("delivery_id", String),
    Column("trigger", String),
    Column("body", Payload),
    Column("received_at", Instant, nullable=False),
    Column("state", String, nullable=False),
    Column("error", String),
    # How a message came: its request's method, the Type/id of its path, what Medplum's header says is
    # deleted, a keyed digest of the body. None of it: an imported trigger.
    Column("method", String),
    Column("path", String),
    Column("deleted", String),
    Column("digest", LargeBinary),
    # When it may be processed, who is at it, and when it was settled.
    Column("due_at", Instant),
    Column("lease_token", String),
    Column("lease_until", Instant),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("changed_at", Instant),
    CheckConstraint(one_of("state", MessageState), name="state"),
    Index(
        "ix_inbox_received",
        "id",
        sqlite_where=text("state = 'received'"),
        postgresql_where=text("state = 'received'"),
    ),
    Index(
        "ix_inbox_leased",
        "source",
        "lease_until",
        sqlite_where=text("lease_until IS NOT NULL"),
        postgresql_where=text("lease_until IS NOT NULL"),
    ),
    Index(
        "ix_inbox_delivery",
        "source",
        "delivery_id",
        sqlite_where=text("delivery_id IS NOT NULL"),
        postgresql_where=text("delivery_id IS NOT NULL"),
    ),
    Index(
        "ix_inbox_open",
        "state",
        sqlite_where=text("state <> 'processed'"),
        postgresql_where=text("state <> 'processed'"),
    ),
)

patients = Table(
    "patients",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("state", String, nullable=False),
    Column("api_id", String),
    Column("request", Payload),
    Column("person", String),  # whom the request named, by keyed digests, once it is cleared
    Column("answer", Payload),
    Column("error", String),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("due_at", Instant),
    Column("lease_token", String),
    Column("lease_until", Instant),
    Column("changed_at", Instant, nullable=False),
    UniqueConstraint("source", "identity"),
    CheckConstraint(one_of("state", PatientState), name="state"),
    Index(
        "ix_patients_unsettled",
        "state",
        sqlite_where=text("state IN ('creating', 'in_doubt', 'refused')"),
        postgresql_where=text("state IN ('creating', 'in_doubt', 'refused')"),
    ),
)

intents = Table(
    "intents",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("source", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String),
    # The lost appointment this intent is to make good, empty for a chain's first call (mapping, section 2).
    Column("loss", String, nullable=False, server_default=""),
    # The decision this intent goes by, and the version of the trigger that it was made from.
    Column("trigger", String, nullable=False),
    Column("version_id", String),
    Column("fingerprint", String, nullable=False),
    Column("content", Payload),
    Column("expression", String),
    Column("identity", String),
    Column("patient_id", RowId, ForeignKey("patients.id")),
    Column("lane", String),
    # When it may be tried, and who is at it. `tries` only grows: with the id it names an attempt.
    Column("due_at", Instant),
    Column("lease_token", String),
    Column("lease_until", Instant),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("first_attempt_at", Instant),
    Column("called_at", Instant),
    # What the endpoint said.
    Column("task_id", String),
    Column("answer", Payload),
    Column("remote_status", String),
    Column("remote_outcome", Payload),
    Column("poll_at", Instant),
    Column("alarm", String),
    Column("alarm_reason", String),
    Column("alarm_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint(one_of("state", State), name="state"),
    CheckConstraint("state <> 'ready' OR (due_at IS NOT NULL AND lane IS NOT NULL)", name="ready"),
    CheckConstraint("state <> 'sent' OR task_id IS NOT NULL", name="sent"),
    Index(
        "ix_intents_one_in_flight_a_lane",
        "lane",
        unique=True,
        sqlite_where=text("state = 'sending'"),
        postgresql_where=text("state = 'sending'"),
    ),
    Index(
        "ix_intents_due",
        "due_at",
        "id",
        sqlite_where=text("state = 'ready'"),
        postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "ix_intents_lane_due",
        "lane",
        "due_at",
        "id",
        sqlite_where=text("state = 'ready'"),
        postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "ix_intents_lane_called",
        "lane",
        "called_at",
        sqlite_where=text("called_at IS NOT NULL"),
        postgresql_where=text("called_at IS NOT NULL"),
    ),
    Index(
        "ix_intents_poll",
        "poll_at",
        sqlite_where=text("state = 'sent'"),
        postgresql_where=text("state = 'sent'"),
    ),
    # What waits for a person, longest waiting first.
    Index(
        "ix_intents_worklist",
        "changed_at",
        "id",
        sqlite_where=_WORKLIST,
        postgresql_where=_WORKLIST,
    ),
    # For counting. The reason first, or SQLite walks all that is ready to update a few by id.
    Index("ix_intents_counts", "reason", "state"),
    Index(
        "ix_intents_patient",
        "patient_id",
        sqlite_where=text("patient_id IS NOT NULL"),
        postgresql_where=text("patient_id IS NOT NULL"),
    ),
    # For what a record says of a person later; for a Reject nobody is made a patient of the endpoint's.
    Index(
        "ix_intents_identity",
        "identity",
        sqlite_where=text("patient_id IS NULL"),
        postgresql_where=text("patient_id IS NULL"),
    ),
)

triggers = Table(
    "triggers",
    metadata,
    Column("source", String, primary_key=True),
    Column("trigger", String, primary_key=True),
    # None: a Skip that stands alone, and would be the whole of its intent (`alone.py`).
    Column("intent_id", RowId, ForeignKey("intents.id")),
    Column("resource_type", String, nullable=False),
    Column("version_id", String),
    Column("last_updated", Instant),
    Column("decision", String, nullable=False),
    Column("reason", String),
    Column("fingerprint", String, nullable=False),
    # Gone since last_updated; version_id is the last that was known before. None: it is there.
    Column("deleted", Boolean),
    Column("content", Payload),  # none where it is the one that the intent goes by and holds
    Column("changed_at", Instant, nullable=False),
    # Of one that stands alone: whom it is about, and its intent's key where these do not tell it.
    Column("identity", String),
    Column("key", String),
    CheckConstraint(one_of("decision", ("call", "skip", "reject")), name="decision"),
    CheckConstraint("intent_id IS NOT NULL OR decision = 'skip'", name="alone"),
    Index(
        "ix_triggers_intent",
        "intent_id",
        sqlite_where=text("intent_id IS NOT NULL"),
        postgresql_where=text("intent_id IS NOT NULL"),
    ),
    Index(
        "ix_triggers_key",
        "key",
        unique=True,
        sqlite_where=text("key IS NOT NULL"),
        postgresql_where=text("key IS NOT NULL"),
    ),
    # For counting those that stand alone.
    Index(
        "ix_triggers_alone",
        "reason",
        sqlite_where=text("intent_id IS NULL"),
        postgresql_where=text("intent_id IS NULL"),
    ),
)

# Versions of a trigger that came after a newer one and were left aside: how many, and the last of them.
outdated = Table(
    "outdated",
    metadata,
    Column("source", String, primary_key=True),
    Column("trigger", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("version_id", String),
    Column("last_updated", Instant),
    Column("last_at", Instant, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("source", String, primary_key=True),
    Column("member", String, primary_key=True),
    Column("loss", String, primary_key=True),
    Column("intent_id", RowId, ForeignKey("intents.id"), nullable=False),
    Index("ix_members_intent", "intent_id"),
)

statements = Table(
    "statements",
    metadata,
    Column("source", String, primary_key=True),
    Column("record", String, primary_key=True),
    Column("identity", String, primary_key=True),
    Column("stop", String),  # none: the record spoke against calls once, and does no more
    Column("version_id", String),
    Column("last_updated", Instant),
    Column("changed_at", Instant, nullable=False),
    # Of what a message says that nobody can read: which message, and the record it was, where that shows.
    Column("message", RowId, ForeignKey("inbox.id")),
    Column("about", String),
    Index("ix_statements_source_identity", "source", "identity"),
    Index(
        "ix_statements_message",
        "message",
        sqlite_where=text("message IS NOT NULL"),
        postgresql_where=text("message IS NOT NULL"),
    ),
    Index(
        "ix_statements_about",
        "source",
        "about",
        sqlite_where=text("about IS NOT NULL"),
        postgresql_where=text("about IS NOT NULL"),
    ),
)

# Identities that a record once said are one person: whom not to call is asked for all of them.
aliases = Table(
    "aliases",
    metadata,
    Column("source", String, primary_key=True),
    Column("record", String, primary_key=True),
    Column("identity", String, primary_key=True),
    Index("ix_aliases_source_identity", "source", "identity"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("intent_id", RowId, ForeignKey("intents.id")),
    Column("patient_id", RowId, ForeignKey("patients.id")),
    Column("call", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("status", Integer),
    Column("outcome", String),
    Column("error", String),
    Column("latency_us", BigInteger),
    CheckConstraint(one_of("call", ("create_patient", "create_task")), name="call"),
    UniqueConstraint("intent_id", "number"),
    UniqueConstraint("patient_id", "number"),
)

blocked = Table(
    "blocked",
    metadata,
    Column("kind", String, primary_key=True),
    Column("value", String, primary_key=True),  # a lane (hashed number), or `source|identity` of a patient
    Column("since", Instant, nullable=False),
    Column("by", String, nullable=False),
    Column("why", String, nullable=False),
    Column("via", String),  # the entry of the same person that this one follows; none: somebody put it there
    CheckConstraint(one_of("kind", ("number", "patient")), name="kind"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("source", String, primary_key=True),
    Column("subscription", String, primary_key=True),  # empty: what names none, the source as a whole
    Column("topic", String),
    Column("last_event_number", BigInteger),
    Column("last_heard_at", Instant),
    Column("state", String, nullable=False),
    Column("form", String),
    Column("criteria", String),
    Column("endpoint", String),
    Column("ours", Boolean, nullable=False, server_default=false()),
    Column("heartbeat", Integer),
    Column("ends_at", Instant),
    Column("last_event_at", Instant),
    Column("events", BigInteger, nullable=False, server_default="0"),
    Column("restarts", Integer, nullable=False, server_default="0"),
    Column("since", Instant),
    Column("checked_at", Instant),
    Column("check_at", Instant),
    Column("revivals", Integer, nullable=False, server_default="0"),
    Column("error", String),
)

# Event numbers that never came. A closed one stays, to show what was missed and how it was made good.
gaps = Table(
    "gaps",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source", String, nullable=False),
    Column("subscription", String, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("closed_by", String),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("try_at", Instant),
    Column("error", String),
    CheckConstraint("first <= last", name="range"),
    Index(
        "ix_gaps_open",
        "source",
        "subscription",
        sqlite_where=text("closed_by IS NULL"),
        postgresql_where=text("closed_by IS NULL"),
    ),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("source", String, primary_key=True),
    Column("criteria", String, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("swept_at", Instant),
    Column("found", BigInteger, nullable=False, server_default="0"),
    Column("missed", BigInteger, nullable=False, server_default="0"),
    Column("error", String),
    Column("failing_since", Instant),
)

# One watcher at a source: of all workers the one that holds the lease.
watches = Table(
    "watches",
    metadata,
    Column("source", String, primary_key=True),
    Column("asked_at", Instant),
    Column("fetched_at", Instant),
    Column("began_at", Instant),
    Column("lease_token", String),
    Column("lease_until", Instant),
)

audit = Table(
    "audit",
    metadata,
    Column("number", RowId, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)
