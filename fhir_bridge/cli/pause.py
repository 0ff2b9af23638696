"""`fhir-bridge pause` and `resume`: hold everything back, or one source, until somebody lets it go on."""

from __future__ import annotations

import click

from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because, on_ledger
from fhir_bridge.ledger.port import Ledger

_source = click.option("--source", metavar="NAME", help="Only what comes from this source; else everything.")


@click.command()
@_source
@because
@click.pass_obj
def pause(config_file: str | None, source: str | None, because: str) -> None:
    """Send nothing any more, or nothing of one source, until `resume`.

    Every worker obeys within a second. What is on its way to the endpoint arrives; what the endpoint has
    already, it will call: tell the vendor too. Triggers are still taken in.

    \b
    fhir-bridge pause --because "wrong clinic name in every call"
    fhir-bridge pause --source ehr --because "test data in production"
    """
    # A slip of the pen would leave what should be held back going on.
    loaded_settings(config_file, secrets=False).settings.source(source)

    async def held(ledger: Ledger) -> int:
        await ledger.pause(source or "", act(because))
        return 0

    on_ledger(config_file, held)
    click.echo(f"{_what(source)} paused; `fhir-bridge resume{_option(source)}` lets it go on")


@click.command()
@_source
@because
@click.pass_obj
def resume(config_file: str | None, source: str | None, because: str) -> int:
    """Let what was paused go on.

    A pause of everything and a pause of a source are apart: each is ended as it was begun.
    """

    async def let_go(ledger: Ledger) -> int:
        return await ledger.resume(source or "", act(because))

    if on_ledger(config_file, let_go):
        click.echo(f"{_what(source)} goes on")
        return 0
    click.echo(f"{_what(source)} was not paused; `fhir-bridge status` shows what is", err=True)
    return 1


def _what(source: str | None) -> str:
    return f"source {source}" if source else "everything"


def _option(source: str | None) -> str:
    return f" --source {source}" if source else ""
