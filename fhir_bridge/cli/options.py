"""Options that several commands share, so that each is said once and means the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from fhir_bridge.ledger.records import AuditHead

Command = TypeVar("Command", bound=Callable[..., Any])


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant with a zone, as aware UTC."""

    name = "ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises click's usage error for what is none."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no instant; write it like 2026-11-23T10:00:00-05:00", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no zone; end it with Z or an offset such as -05:00", param, ctx)
        # At the calendar's ends another zone would have no such day.
        if not 1900 <= moment.year <= 9000:
            self.fail(f"{value!r} is no instant at which anybody was called, or will be", param, ctx)
        return moment.astimezone(UTC)


class Head(click.ParamType["AuditHead"]):
    """A head of the audit as a worker logs it, `NUMBER:CHAIN`."""

    name = "NUMBER:CHAIN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AuditHead:
        """Raises click's usage error for what is none."""
        from fhir_bridge.ledger.records import AuditHead

        number, _, chain = str(value).partition(":")
        if not (number.isdigit() and chain):
            self.fail("it is NUMBER:CHAIN, as the log has it", param, ctx)
        return AuditHead(int(number), chain.lower())


class Address(click.ParamType[tuple[str, int]]):
    """`ADDRESS:PORT`, or a port of this machine alone, as a pair. An IPv6 address stands in brackets."""

    name = "ADDRESS:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Raises click's usage error for what is none."""
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65_536):
            self.fail(f"{value!r} is no ADDRESS:PORT, such as 127.0.0.1:9464", param, ctx)
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class Setting(click.ParamType[tuple[str, str]]):
    """`key=value`, as a pair."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Raises click's usage error where there is no `=`."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key.strip(), text


class Span(click.ParamType[timedelta]):
    """A length of time as in bridge.toml: `60s`, `90m`, `4h`."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Raises click's usage error for what is none."""
        from fhir_bridge.settings.values import duration

        try:
            return duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration; write it like 60s, 90m or 4h", param, ctx)


class RowNumber(click.ParamType[int]):
    """The number of a row of the ledger, from 1; no database holds one of more than 63 bits."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click's usage error for what is none."""
        number = click.INT.convert(value, param, ctx)
        if not 1 <= number < 2**63:
            self.fail(f"{value!r} is no number of the ledger's", param, ctx)
        return number


class PathOrAddress(click.ParamType[str]):
    """A folder or file that is there, or an address in an object store; as a string."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises click's usage error for what is none."""
        return str(value if "://" in value else click.Path(exists=True).convert(value, param, ctx))


PATH: click.ParamType[Any] = click.Path(exists=True, path_type=Path)


def mapping_options(command: Command, context_type: click.ParamType[Any] = PATH) -> Command:
    """--source, --set, --context: what every command that maps takes (intake, section 3)."""
    source = click.option(
        "--source", metavar="NAME", help="The source in bridge.toml that the files came from."
    )
    overrides = click.option(
        "--set", "overrides", type=Setting(), multiple=True,
        help="A setting for this run, for instance timezone=America/New_York. Repeatable.",
    )  # fmt: skip
    context = click.option(
        "--context", type=context_type, multiple=True, metavar="DIR",
        help="A folder or file of resources to have at hand: visits, guardians, practitioners. Repeatable.",
    )  # fmt: skip
    return source(overrides(context(command)))


processes_option = click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="Else as many as there are cores."
)

work_option = click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where scratch files go, which hold patient data; else a folder of this user's in TMPDIR.",
)


def now_option(command: Command) -> Command:
    """--now: only for commands that send nothing."""
    return click.option(
        "--now", type=Instant(), default=None, help="Decide as if it were this instant, with its zone."
    )(command)


def fetch_option(command: Command) -> Command:
    """--fetch: for commands that map."""
    return click.option(
        "--fetch", is_flag=True,
        help="Fetch what is missing from the source's FHIR server: its base_url and client must be set.",
    )(command)  # fmt: skip


def files_argument(command: Command) -> Command:
    """FILE…: resources, Bundles, NDJSON, folders of them; `-` is standard input."""
    return click.argument("files", nargs=-1, required=True, metavar="FILE...")(command)


def confirm(question: str) -> None:
    """Goes on if the answer is yes. Raises click.Abort for any other, UsageError where nobody answers."""
    try:
        agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("nobody answers, and nothing was done: --yes does not ask") from None
    if not agreed:
        raise click.Abort


def yes_option(question: str) -> Callable[[Command], Command]:
    """--yes: the question is asked without it."""

    def ask(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if not value and not ctx.resilient_parsing:
            confirm(question)

    return click.option(
        "--yes", is_flag=True, callback=ask, expose_value=False, help="Do not ask before it is done."
    )


def json_option(command: Command) -> Command:
    """--json: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def selection_options(command: Command) -> Command:
    """--state, --reason, --source: which intents are meant; the command is given them as `selection`."""
    from fhir_bridge.ledger.records import Selection
    from fhir_bridge.ledger.states import State

    @click.option("--state", type=click.Choice([state.value for state in State]), help="Only in this state.")
    @click.option("--reason", metavar="CODE", help="Only with this reason.")
    @click.option("--source", metavar="NAME", help="Only from this source.")
    @wraps(command)
    def with_selection(
        *args: Any, state: str | None, reason: str | None, source: str | None, **rest: Any
    ) -> Any:
        chosen = Selection(state=State(state) if state else None, reason=reason, source=source)
        return command(*args, selection=chosen, **rest)

    return cast("Command", with_selection)
