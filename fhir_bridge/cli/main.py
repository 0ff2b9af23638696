"""`fhir-bridge`: the commands by name, each loaded only when it is called, and what an error becomes."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

import click

from fhir_bridge.cli.commands import COMMANDS, SECTIONS
from fhir_bridge.errors import BridgeError

FAULT = 70
"""The exit code of a fault of the program itself, as sysexits.h has it (EX_SOFTWARE)."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they are meant to be read."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(f"fhir_bridge.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word. Raises click.NoSuchCommand with those it may have meant, for which
        click looks only among the commands that are imported already."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. A reader of its output that went away, such as `head`, is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python would complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands by section without importing any of them."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in commands.items()])


def _version() -> str:
    from importlib.metadata import version

    return version("fhir-bridge")


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"fhir-bridge {_version()}")
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    default=None,
    help="Settings; else $FHIR_BRIDGE_CONFIG, else ./bridge.toml if it is there.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def group(ctx: click.Context, config_file: str | None) -> None:
    """FHIR in, voice-agent tasks out: every record accounted for, nobody phoned twice.

    \b
    Look, without sending anything:
        fhir-bridge map appointment.json
        fhir-bridge explain appointment.json
        fhir-bridge submit appointment.json --dry-run
    Try the whole of it on a made-up hospital:
        fhir-bridge demo

    \b
    Exit codes: 0 all well · 1 done, but something needs a person · 2 usage
    3 configuration · 4 no input readable · 5 endpoint or FHIR server
    6 ledger · 70 a fault of fhir-bridge itself · 130 interrupted
    """
    ctx.obj = config_file


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with a documented code (intake, section 3)."""
    code = run(arguments)
    gc.freeze()  # or the exit looks through all of it for cycles, for a third of a second
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line and gives its exit code. Errors become one line, and one that says what to do."""
    try:
        result: Any = group.main(args=arguments, prog_name="fhir-bridge", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except BridgeError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"  → {error.hint}", err=True)
        return error.exit_code
    except Exception as error:
        return _tell_fault(error)
    return result if isinstance(result, int) else 0


def _tell_fault(error: Exception) -> int:
    """A fault of ours in one line: its type and where. Its text and its traceback may quote a patient."""
    from fhir_bridge.faults import location

    click.echo(f"error: a fault of fhir-bridge itself: {location(error)}", err=True)
    click.echo("  → please report this line and the output of `fhir-bridge --version`;", err=True)
    click.echo("    what the ledger had taken in is safe: `fhir-bridge status` shows it", err=True)
    return FAULT
