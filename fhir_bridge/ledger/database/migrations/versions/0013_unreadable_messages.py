"""What a message says and nobody can read is kept with whom it may be about, for it may speak against
calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OF_MESSAGES = sa.text("message IS NOT NULL")


def upgrade() -> None:
    """Two columns that no row has a value in yet."""
    name = op.f("fk_statements_message")
    if op.get_bind().dialect.name == "sqlite":
        # A column with a reference is all that SQLite adds in place; its name is none that anything asks for.
        op.execute(
            f"ALTER TABLE statements ADD COLUMN message INTEGER CONSTRAINT {name} REFERENCES inbox (id)"
        )
    else:
        op.add_column("statements", sa.Column("message", _ROW_ID, sa.ForeignKey("inbox.id", name=name)))
    op.add_column("statements", sa.Column("about", sa.String(), nullable=True))
    op.create_index(
        "ix_statements_message",
        "statements",
        ["message"],
        sqlite_where=_OF_MESSAGES,
        postgresql_where=_OF_MESSAGES,
    )
