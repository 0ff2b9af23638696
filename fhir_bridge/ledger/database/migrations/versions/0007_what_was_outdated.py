"""Deletions are kept as such, and what came after something newer is counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """A column that no row has a value in yet, and a table."""
    op.add_column("triggers", sa.Column("deleted", sa.Boolean(), nullable=True))
    op.create_table(
        "outdated",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("last_updated", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "trigger", name="pk_outdated"),
    )
