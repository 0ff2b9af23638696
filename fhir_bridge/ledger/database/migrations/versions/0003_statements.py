"""What records say of whole persons is kept, so that it stops their other calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "statements",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("stop", sa.String(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("last_updated", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "record", "identity", name="pk_statements"),
    )
    op.create_index("ix_statements_source_identity", "statements", ["source", "identity"])
