"""The work list has an index of its own; the destination knows its next turn and its payloads' key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WAITS = sa.text(
    "state = 'rejected' OR state = 'refused' OR state = 'in_doubt' OR state = 'parked' OR alarm IS NOT NULL"
)


def upgrade() -> None:
    """Make the index and the columns."""
    op.create_index(
        "ix_intents_worklist",
        "intents",
        ["changed_at", "id"],
        unique=False,
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
    op.add_column("destination", sa.Column("next_task_at", sa.BigInteger(), nullable=True))
    op.add_column("destination", sa.Column("encryption_key_id", sa.String(), nullable=True))
    op.add_column("destination", sa.Column("audit_key_id", sa.String(), nullable=True))
