"""A Skip that nothing else is known of takes one row and opens no intent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_ONLY_SKIPS = "intent_id IS NOT NULL OR decision = 'skip'"
_KEY = "CONSTRAINT pk_triggers"


def upgrade() -> None:
    """Rows stay as they are: a Skip that has an intent keeps it."""
    for name in ("identity", "key"):
        op.add_column("triggers", sa.Column(name, sa.String(), nullable=True))
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _reword(connection)
    else:
        op.alter_column("triggers", "intent_id", nullable=True)
        op.create_check_constraint(op.f("ck_triggers_alone"), "triggers", _ONLY_SKIPS)
    op.drop_index("ix_triggers_intent", "triggers")
    _create_index("intent", "intent_id", "intent_id IS NOT NULL")
    _create_index("alone", "reason", "intent_id IS NULL")
    _create_index("key", "key", "key IS NOT NULL", unique=True)


def _create_index(name: str, column: str, condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_triggers_{name}",
        "triggers",
        [column],
        unique=unique,
        sqlite_where=where,
        postgresql_where=where,
    )


def _reword(connection: sa.Connection) -> None:
    """In place, as SQLite's manual has it for a change that leaves the rows as they are ("ALTER TABLE",
    section 7).
    """
    made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'triggers'").scalar_one()
    nullable = made.replace("intent_id INTEGER NOT NULL", "intent_id INTEGER")
    checked = nullable.replace(_KEY, f"CONSTRAINT ck_triggers_alone CHECK ({_ONLY_SKIPS}), \n\t{_KEY}")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql("UPDATE sqlite_master SET sql = ? WHERE name = 'triggers'", (checked,))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
