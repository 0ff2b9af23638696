"""How Subscriptions on a server are shown: as a table, as data, and what is to be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table

from fhir_bridge.mapping.printed import instant
from fhir_bridge.subscriptions.findings import NEVER_ACTIVE
from fhir_bridge.subscriptions.kept import Kept

GIVEN_UP = "its server gave it up; see that it reaches the endpoint, then `fhir-bridge subscribe activate`"


def tell_states(found: Sequence[Kept]) -> int:
    """What is not as it should be, and what to do; 1 where one is not active."""
    requested = any(kept.status == "requested" for kept in found)
    if requested:
        click.echo(f"  → requested: not active yet, so it tells nothing; {NEVER_ACTIVE}", err=True)
    given_up = [kept for kept in found if kept.status in ("error", "off")]
    if given_up:
        click.echo(f"  → {given_up[0].status}: {GIVEN_UP}", err=True)
    return 1 if given_up or requested else 0


def table_of(found: Sequence[Kept]) -> Table:
    """A line each."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("subscription", "state", "form", "about", "until"):
        table.add_column(column, overflow="fold")
    for kept in found:
        until = instant(kept.ends_at) if kept.ends_at else "–"
        table.add_row(kept.label, kept.status, kept.form, kept.subject, until)
    return table


def data_of(kept: Kept) -> dict[str, Any]:
    """For machines; no header is among it."""
    names = ("status", "form", "topic", "criteria", "endpoint", "content", "heartbeat", "ends_at")
    return {"subscription": kept.label, **{name: getattr(kept, name) for name in names}}
