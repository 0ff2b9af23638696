"""What a source has told and what it has not: subscriptions in full, gaps, sweeps, and who watches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

OPEN = sa.text("closed_by IS NULL")


def upgrade() -> None:
    """Make the columns and tables; nothing wrote to `subscriptions` before."""
    _complete_subscriptions()
    _make_gaps()
    op.create_table(
        "sweeps",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("criteria", sa.String(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("swept_at", sa.BigInteger(), nullable=True),
        sa.Column("found", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("source", "criteria", name="pk_sweeps"),
    )
    op.create_table(
        "watches",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("fetched_at", sa.BigInteger(), nullable=True),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("source", name="pk_watches"),
    )


def _complete_subscriptions() -> None:
    op.drop_column("subscriptions", "gaps_open")
    for name in ("form", "criteria", "endpoint", "error"):
        op.add_column("subscriptions", sa.Column(name, sa.String(), nullable=True))
    for name in ("ends_at", "last_event_at", "since", "checked_at", "check_at"):
        op.add_column("subscriptions", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("subscriptions", sa.Column("ours", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("subscriptions", sa.Column("heartbeat", sa.Integer(), nullable=True))
    op.add_column("subscriptions", sa.Column("events", sa.BigInteger(), server_default="0", nullable=False))
    for name in ("restarts", "revivals"):
        op.add_column("subscriptions", sa.Column(name, sa.Integer(), server_default="0", nullable=False))


def _make_gaps() -> None:
    op.create_table(
        "gaps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("subscription", sa.String(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("try_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.CheckConstraint("first <= last", name=op.f("ck_gaps_range")),
        sa.PrimaryKeyConstraint("id", name="pk_gaps"),
    )
    op.create_index(
        "ix_gaps_open",
        "gaps",
        ["source", "subscription"],
        unique=False,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
