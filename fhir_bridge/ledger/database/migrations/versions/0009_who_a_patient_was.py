"""Whom a patient was created as can be told from somebody else after their data is cleared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """A column that no row has a value in yet."""
    op.add_column("patients", sa.Column("person", sa.String(), nullable=True))
