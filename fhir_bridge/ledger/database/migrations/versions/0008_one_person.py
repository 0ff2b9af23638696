"""Which identities are one person, and which entries of the do-not-call list follow from another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """A column that no row has a value in yet, and a table."""
    op.add_column("blocked", sa.Column("via", sa.String(), nullable=True))
    op.create_table(
        "aliases",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "record", "identity", name="pk_aliases"),
    )
    op.create_index("ix_aliases_source_identity", "aliases", ["source", "identity"])
