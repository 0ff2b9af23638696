"""Decisions may be packed: a release that cannot read them refuses the ledger."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nothing: what was kept before stays as it is, and is read so."""
