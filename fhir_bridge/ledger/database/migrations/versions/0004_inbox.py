"""The inbox keeps messages as they came, and who is processing them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = (
    sa.Column("method", sa.String(), nullable=True),
    sa.Column("path", sa.String(), nullable=True),
    sa.Column("deleted", sa.String(), nullable=True),
    sa.Column("digest", sa.LargeBinary(), nullable=True),
    sa.Column("due_at", sa.BigInteger(), nullable=True),
    sa.Column("lease_token", sa.String(), nullable=True),
    sa.Column("lease_until", sa.BigInteger(), nullable=True),
    sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
    sa.Column("changed_at", sa.BigInteger(), nullable=True),
)
INDEXES = {
    "ix_inbox_received": (["id"], sa.text("state = 'received'")),
    "ix_inbox_leased": (["source", "lease_until"], sa.text("lease_until IS NOT NULL")),
    "ix_inbox_delivery": (["source", "delivery_id"], sa.text("delivery_id IS NOT NULL")),
}


def upgrade() -> None:
    """Add the columns and what finds rows by them."""
    for column in COLUMNS:
        op.add_column("inbox", column)
    for name, (columns, where) in INDEXES.items():
        op.create_index(name, "inbox", columns, sqlite_where=where, postgresql_where=where)
