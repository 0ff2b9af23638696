"""The work list is read off an index of its own: what waits for a person is few among millions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WAITS = sa.text(
    "state = 'rejected' OR state = 'refused' OR state = 'in_doubt' OR state = 'parked' OR alarm IS NOT NULL"
)


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_intents_worklist",
        "intents",
        ["changed_at", "id"],
        unique=False,
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
