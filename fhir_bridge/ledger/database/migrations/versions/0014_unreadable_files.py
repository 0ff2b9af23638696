"""What cannot be read in files is found by the record it was: there may be as many as lines of an export."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """One more index; rows stay as they are."""
    where = sa.text("about IS NOT NULL")
    op.create_index(
        "ix_statements_about", "statements", ["source", "about"], sqlite_where=where, postgresql_where=where
    )
