"""A person's act on the ledger: who, when and why, for the audit."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.ledger.port import Ledger
from fhir_bridge.ledger.records import Act


class _Why(click.Option):
    """Asked for where nobody gave it; in a script, where nobody answers, it is missing."""

    def prompt_for_value(self, ctx: click.Context) -> Any:
        try:
            return super().prompt_for_value(ctx)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.MissingParameter(ctx=ctx, param=self) from None


because = click.option(
    "--because",
    cls=_Why,
    metavar="TEXT",
    prompt="Why (goes into the audit; no patient data)",
    help="Why; kept in the audit.",
)


def act(reason: str) -> Act:
    """Who does it, why and now."""
    return Act(getpass.getuser(), reason, datetime.now(UTC))


def on_ledger(
    config_file: str | None, work: Callable[[Ledger], Awaitable[int]], *, is_restored: bool = False
) -> int:
    """Does one thing on the ledger and gives its count; for `is_restored` see `ledger_of`."""

    async def run() -> int:
        loaded = loaded_settings(config_file, secrets=False)
        async with ledger_of(loaded, is_restored=is_restored) as ledger:
            return await work(ledger)

    return asyncio.run(run())
