"""`fhir-bridge replay`: recorded messages mapped again, and what would be decided otherwise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from fhir_bridge.app.doors import processed_source
from fhir_bridge.app.ledgers import do_not_call_of, ledger_of
from fhir_bridge.app.rules import loaded_settings, served_sources
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import Instant, RowNumber, Setting, json_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.errors import InputError
from fhir_bridge.ledger.sources.messages import Message, MessageSelection, MessageState
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.logs import silence_values
from fhir_bridge.processing.replaying import Comparison, Replayed
from fhir_bridge.processing.replaying import replay as replayed
from fhir_bridge.settings import Loaded

MAY_BE_FETCHED = (
    "what a message did not bring was read from its source's server then, and is missing here: --fetch reads "
    "it as it is there today"
)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path),
                metavar="[FILE...]")  # fmt: skip
@click.option("--since", type=Instant(), help="Messages that came at this instant or later.")
@click.option("--until", type=Instant(), help="Messages that came before this instant.")
@click.option("--id", "message", type=RowNumber(), metavar="ID", help="This message of the inbox.")
@click.option("--source", metavar="NAME", help="Messages of this source; whose the FILEs are.")
@click.option("--set", "overrides", type=Setting(), multiple=True,
              help="A setting for this run, for instance consent=opt-in. Repeatable.")  # fmt: skip
@click.option("--fetch", is_flag=True,
              help="Read at the source what a message does not bring: as it is there today.")  # fmt: skip
@json_option
@click.pass_obj
def replay(
    config_file: str | None,
    files: tuple[Path, ...],
    since: datetime | None,
    until: datetime | None,
    message: int | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    fetch: bool,
    as_json: bool,
) -> int:
    """Map recorded messages again, and show what would be decided otherwise.

    Sends nothing and keeps nothing. FILEs are bodies of notifications as they came; without one, the messages
    of the inbox are taken, as long as retention keeps them, each at the moment at which it came. Exit code 1
    where something differs.

    \b
    fhir-bridge replay --since 2026-11-20T00:00:00Z --source ehr
    fhir-bridge replay --id 4711 --json
    fhir-bridge replay notification.json --source ehr --set consent=opt-in
    """
    silence_values()
    loaded = loaded_settings(config_file, secrets=fetch)
    if files:
        source = loaded.settings.source(source, demand=True).name
    chosen = MessageSelection(id=message, source=source, since=since, until=until)
    found = asyncio.run(_replay(loaded, files, chosen, dict(overrides), fetch))
    _print(found, as_json)
    different = {each.source for each in found if each.is_different}
    if not fetch and any(
        loaded.settings.sources[name].base_url for name in different & set(loaded.settings.sources)
    ):
        click.echo(f"  → {MAY_BE_FETCHED}", err=True)
    return 1 if different else 0


async def _replay(
    loaded: Loaded,
    files: Sequence[Path],
    chosen: MessageSelection,
    overrides: dict[str, str],
    fetch: bool,
) -> list[Replayed]:
    found: list[Replayed] = []
    async with ledger_of(loaded) as ledger, AsyncExitStack() as stack:
        servers = await stack.enter_async_context(fhir_servers(loaded.settings)) if fetch else {}
        sources = {
            name: processed_source(loaded, name, None, servers.get(name), overrides)
            for name in served_sources(loaded.settings)
            if chosen.source in (None, name)
        }
        async for name, message in _messages(ledger, files, chosen):
            if message.source not in sources:
                told = Replayed(name, message.source, None, Comparison.UNREADABLE, None, "no-such-source")
                found.append(told)
                continue
            blocked = await do_not_call_of(ledger, message.source)
            found += await replayed(message, name, sources[message.source], blocked, ledger.decided)
    return found


async def _messages(
    ledger: SqlLedger, files: Sequence[Path], chosen: MessageSelection
) -> AsyncIterator[tuple[str, Message]]:
    """Each with its name: the file's, else its id."""
    for file in files:
        yield str(file), _of_file(file, chosen.source or "")
    if not files:
        async for message in ledger.messages(chosen):
            yield str(message.id), message


def _of_file(file: Path, source: str) -> Message:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'cannot be read'}", code="no-file") from None
    now = datetime.now(UTC)
    return Message(0, source, body, now, "POST", None, None, MessageState.RECEIVED, None, 0)


def _print(found: Sequence[Replayed], as_json: bool) -> None:
    if as_json:
        click.echo(json_text([asdict(each) for each in found]))
        return
    for each in found:
        if each.comparison is not Comparison.SAME:
            _tell(each)
    counts = Counter(each.comparison for each in found)
    told = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    click.echo(f"replayed {counted(len(found), 'trigger')}" + (f": {told}" if told else ""), err=True)


def _tell(one: Replayed) -> None:
    """What became of a trigger then, and now; its fields where both are calls."""
    click.echo(f"message {one.message}  {one.trigger or ''}  {one.comparison}".replace("    ", "  "))
    click.echo(f"  then  {one.then or '–'}\n  now   {one.now or '–'}")
    if one.fields and one.then == one.now:
        click.echo(f"  other in  {', '.join(one.fields)}")
