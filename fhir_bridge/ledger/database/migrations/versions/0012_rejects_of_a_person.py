"""A Reject is found by whom it is about, for a record that speaks against calling that person later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """One more index; rows stay as they are."""
    where = sa.text("patient_id IS NULL")
    op.create_index(
        "ix_intents_identity", "intents", ["identity"], sqlite_where=where, postgresql_where=where
    )
