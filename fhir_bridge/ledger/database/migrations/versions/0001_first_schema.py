"""The first schema: every table of the ledger (delivery, "One ledger for every way in").

A migration is a record of what was done and never follows the code, so it repeats the tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite numbers rows by itself only in a column declared INTEGER.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "audit",
        sa.Column("number", ROW_ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_table(
        "blocked",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('number', 'patient')", name=op.f("ck_blocked_kind")),
        sa.PrimaryKeyConstraint("kind", "value", name=op.f("pk_blocked")),
    )
    op.create_table(
        "destination",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("api_url", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=True),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("stopped_by", sa.String(), nullable=True),
        sa.Column("probed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_destination_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_destination")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("trigger", sa.String(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.CheckConstraint("state IN ('received', 'processed', 'failed')", name=op.f("ck_inbox_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
    )
    op.create_index(
        "ix_inbox_open",
        "inbox",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state <> 'processed'"),
        postgresql_where=sa.text("state <> 'processed'"),
    )
    op.create_table(
        "patients",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("api_id", sa.String(), nullable=True),
        sa.Column("request", sa.LargeBinary(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('new', 'creating', 'created', 'in_doubt', 'refused')", name=op.f("ck_patients_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("source", "identity", name=op.f("uq_patients_source_identity")),
    )
    op.create_index(
        "ix_patients_unsettled",
        "patients",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state IN ('creating', 'in_doubt', 'refused')"),
        postgresql_where=sa.text("state IN ('creating', 'in_doubt', 'refused')"),
    )
    op.create_table(
        "pauses",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_pauses")),
    )
    op.create_table(
        "subscriptions",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("subscription", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=True),
        sa.Column("last_event_number", sa.BigInteger(), nullable=True),
        sa.Column("last_heard_at", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("gaps_open", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("source", "subscription", name=op.f("pk_subscriptions")),
    )
    op.create_table(
        "intents",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("loss", sa.String(), server_default="", nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("expression", sa.String(), nullable=True),
        sa.Column("identity", sa.String(), nullable=True),
        sa.Column("patient_id", ROW_ID, nullable=True),
        sa.Column("lane", sa.String(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("called_at", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.String(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("remote_status", sa.String(), nullable=True),
        sa.Column("remote_outcome", sa.LargeBinary(), nullable=True),
        sa.Column("poll_at", sa.BigInteger(), nullable=True),
        sa.Column("alarm", sa.String(), nullable=True),
        sa.Column("alarm_reason", sa.String(), nullable=True),
        sa.Column("alarm_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state <> 'ready' OR (due_at IS NOT NULL AND lane IS NOT NULL)", name=op.f("ck_intents_ready")
        ),
        sa.CheckConstraint("state <> 'sent' OR task_id IS NOT NULL", name=op.f("ck_intents_sent")),
        sa.CheckConstraint(
            "state IN ('ready', 'skipped', 'rejected', 'sending', 'sent', "
            "'in_doubt', 'refused', 'parked', 'cancelled', 'done')",
            name=op.f("ck_intents_state"),
        ),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_intents_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intents")),
        sa.UniqueConstraint("key", name=op.f("uq_intents_key")),
    )
    op.create_index(
        "ix_intents_due",
        "intents",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_intents_lane_called",
        "intents",
        ["lane", "called_at"],
        unique=False,
        sqlite_where=sa.text("called_at IS NOT NULL"),
        postgresql_where=sa.text("called_at IS NOT NULL"),
    )
    op.create_index(
        "ix_intents_lane_due",
        "intents",
        ["lane", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_intents_one_in_flight_a_lane",
        "intents",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("ix_intents_patient", "intents", ["patient_id"], unique=False)
    op.create_index(
        "ix_intents_poll",
        "intents",
        ["poll_at"],
        unique=False,
        sqlite_where=sa.text("state = 'sent'"),
        postgresql_where=sa.text("state = 'sent'"),
    )
    op.create_index("ix_intents_counts", "intents", ["reason", "state"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("intent_id", ROW_ID, nullable=True),
        sa.Column("patient_id", ROW_ID, nullable=True),
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("call IN ('create_patient', 'create_task')", name=op.f("ck_attempts_call")),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name=op.f("fk_attempts_intent_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_attempts_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("intent_id", "number", name=op.f("uq_attempts_intent_id_number")),
        sa.UniqueConstraint("patient_id", "number", name=op.f("uq_attempts_patient_id_number")),
    )
    op.create_table(
        "members",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("member", sa.String(), nullable=False),
        sa.Column("loss", sa.String(), nullable=False),
        sa.Column("intent_id", ROW_ID, nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name=op.f("fk_members_intent_id")),
        sa.PrimaryKeyConstraint("source", "member", "loss", name=op.f("pk_members")),
    )
    op.create_index("ix_members_intent", "members", ["intent_id"], unique=False)
    op.create_table(
        "triggers",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("intent_id", ROW_ID, nullable=False),
        sa.Column("resource_type", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("last_updated", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("decision IN ('call', 'skip', 'reject')", name=op.f("ck_triggers_decision")),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name=op.f("fk_triggers_intent_id")),
        sa.PrimaryKeyConstraint("source", "trigger", name=op.f("pk_triggers")),
    )
    op.create_index("ix_triggers_intent", "triggers", ["intent_id"], unique=False)
