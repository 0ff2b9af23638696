"""`fhir-bridge subscribe`: has a source's FHIR server tell us of changes, and keeps it at that.

Long because it is five commands over the same Subscriptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click
from rich.console import Console

from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.app.subscribing import keeping
from fhir_bridge.cli.acting import act, because
from fhir_bridge.cli.kept_shown import data_of, table_of, tell_states
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import Span, json_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.errors import UsageError
from fhir_bridge.mapping.printed import instant
from fhir_bridge.subscriptions.building import Wanted, build, hidden
from fhir_bridge.subscriptions.keeping import Keeper
from fhir_bridge.subscriptions.kept import Kept
from fhir_bridge.subscriptions.offered import offered_of
from fhir_bridge.subscriptions.watch_rules import WatchRules

FORMS = ("r4", "r4-backport", "r4b", "r5")
CONTENTS = ("empty", "id-only", "full-resource")
LOOK_EVERY = 0.5

source_option = click.option(
    "--source", metavar="NAME", help="The source in bridge.toml whose server is meant."
)
ids_argument = click.argument("ids", nargs=-1, metavar="[ID...]")


@click.group()
def subscribe() -> None:
    """Have a source's FHIR server tell us of changes, and look after it.

    The form is what the server offers by its CapabilityStatement and topics: a rest-hook with criteria (R4),
    topics with the Subscriptions Backport (R4, R4B), or R5. What is asked for stands in
    [sources.NAME.subscription] of bridge.toml; docs/missed-events.md tells the rest.
    """


@subscribe.command()
@source_option
@click.option("--endpoint", metavar="URL", help="Where the server posts to; else subscription.endpoint.")
@click.option("--form", type=click.Choice(FORMS), help="Not what the server offers, but this.")
@click.option("--criteria", multiple=True, metavar="TYPE?PARAMETERS",
              help="What to ask for; else subscription.criteria. Repeatable.")  # fmt: skip
@click.option("--topic", "topics", multiple=True, metavar="URL",
              help="A topic by its canonical address; else what the server offers. Repeatable.")  # fmt: skip
@click.option("--content", type=click.Choice(CONTENTS), help="How much comes with the news.")
@click.option("--lifetime", type=Span(), help="Until it is to end by itself, for instance 30d.")
@click.option("--dry-run", is_flag=True, help="Print what would be made, secrets as ***, and make nothing.")
@click.option("--wait", type=Span(), default="10s", show_default=True,
              help="How long to wait for the server to make it active.")  # fmt: skip
@json_option
@click.pass_obj
def create(
    config_file: str | None,
    /,
    source: str | None,
    dry_run: bool,
    wait: timedelta,
    as_json: bool,
    **given: Any,
) -> int:
    """Make the Subscriptions that are missing; never a second one for the same.

    The server is asked first what there is. What it must present to us goes into the Subscription's header
    and is shown nowhere. Run `serve` before: many servers knock at once and want an answer.

    Exit code 1 where the server did not make one active.

    \b
    fhir-bridge subscribe create --dry-run
    fhir-bridge subscribe create --endpoint https://bridge.example/fhir/ehr --form r4
    """

    async def made(keeper: Keeper) -> list[tuple[Kept, bool]]:
        wanted = await keeper.wanted()
        there = await keeper.ours()
        found = [await keeper.create(each, there) for each in wanted]
        return [(await _active(keeper, kept, wait), new) for kept, new in found]

    async def shown(keeper: Keeper) -> list[Wanted]:
        return await keeper.wanted()

    if dry_run:
        wanted = _keeping(config_file, source, given, shown)
        click.echo(json_text([hidden(build(each)) for each in wanted]))
        click.echo(
            f"{counted(len(wanted), 'Subscription')} would be made where missing; nothing was", err=True
        )
        return 0
    results = _keeping(config_file, source, given, made, note="subscribe-create")
    if as_json:
        click.echo(json_text([{**data_of(kept), "made": new} for kept, new in results]))
    else:
        for kept, new in results:
            click.echo(f"{kept.label} {'made' if new else 'was there already'}: {kept.status}")
    return tell_states([kept for kept, _ in results])


@subscribe.command("list")
@source_option
@click.option("--offered", is_flag=True, help="Show the form and the topics that the server offers instead.")
@json_option
@click.pass_obj
def list_(config_file: str | None, source: str | None, offered: bool, as_json: bool) -> int:
    """List the Subscriptions on the server that post to us.

    Exit code 1 where one is not active.
    """
    if offered:
        return _list_offered(config_file, source, as_json)

    async def ours(keeper: Keeper) -> list[Kept]:
        return await keeper.ours()

    found = _keeping(config_file, source, {}, ours)
    if as_json:
        click.echo(json_text([data_of(kept) for kept in found]))
    elif found:
        Console(highlight=False).print(table_of(found))
    else:
        click.echo("there is none; `fhir-bridge subscribe create` makes it")
    return tell_states(found)


@subscribe.command()
@source_option
@ids_argument
@click.pass_obj
def renew(config_file: str | None, source: str | None, ids: tuple[str, ...]) -> int:
    """Give our Subscriptions a new end, all of them or those with these IDs.

    subscription.lifetime from now on; where it is not set, without an end. A worker does this by itself
    where subscription.keep_active is true.
    """
    return _ask_again(config_file, source, ids, "renewed", lambda kept: True, "subscribe-renew")


@subscribe.command()
@source_option
@ids_argument
@click.pass_obj
def activate(config_file: str | None, source: str | None, ids: tuple[str, ...]) -> int:
    """Ask again for what the server gave up: all that are not active, or those with these IDs.

    FHIR leaves this to the subscriber. Mend first what made it give up: the list has its state, our log what
    it got. What happened meanwhile is searched for by itself.
    """
    return _ask_again(
        config_file,
        source,
        ids,
        "asked for again",
        lambda kept: kept.status != "active",
        "subscribe-activate",
    )


@subscribe.command()
@source_option
@ids_argument
@click.option("--all", "everything", is_flag=True, help="All that post to us.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken away, and take nothing.")
@because
@click.pass_obj
def delete(
    config_file: str | None,
    source: str | None,
    ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    because: str,
) -> int:
    """Take Subscriptions off the server: the source tells nothing more.

    Only such that post to us. What was told already stays, and what waits is sent.
    """
    if bool(ids) == everything:
        raise click.UsageError("name IDs, or --all")

    async def removed(keeper: Keeper) -> list[Kept]:
        found = _chosen(await keeper.ours(), ids)
        for kept in found if not dry_run else ():
            await keeper.remove(kept)
        return found

    found = _keeping(
        config_file, source, {}, removed, note=None if dry_run else "subscribe-delete", why=because
    )
    for kept in found:
        click.echo(f"{kept.label} {'would be ' if dry_run else ''}taken away")
    return 0


def _ask_again(
    config_file: str | None,
    source: str | None,
    ids: Sequence[str],
    done: str,
    wanted: Callable[[Kept], bool],
    note: str,
) -> int:
    async def again(keeper: Keeper) -> list[Kept]:
        ours = await keeper.ours()
        found = _chosen(ours, ids) if ids else [kept for kept in ours if wanted(kept)]
        return [await _active(keeper, await keeper.ask_again(kept), SETTLES) for kept in found]

    found = _keeping(config_file, source, {}, again, note=note)
    for kept in found:
        until = f", until {instant(kept.ends_at)}" if kept.ends_at else ""
        click.echo(f"{kept.label} {done}: {kept.status}{until}")
    if not found:
        click.echo("there was none to ask for; `fhir-bridge subscribe list` shows what there is")
    return tell_states(found)


SETTLES = timedelta(seconds=5)
"""How long a server may take to make active what was asked for again."""


def _chosen(ours: Sequence[Kept], ids: Sequence[str]) -> list[Kept]:
    """Those of ours with these ids, all where none is given."""
    wanted = {id.removeprefix("Subscription/") for id in ids}
    if unknown := wanted - {kept.id for kept in ours}:
        raise UsageError(
            f"Subscription/{sorted(unknown)[0]} is not there, or does not post to us",
            hint="`fhir-bridge subscribe list` shows those that do.",
        )
    return [kept for kept in ours if kept.id in wanted or not ids]


async def _active(keeper: Keeper, kept: Kept, wait: timedelta) -> Kept:
    """The same when its server has made it active, given it up, or let us wait too long."""
    deadline = keeper.clock() + wait
    while kept.status == "requested" and keeper.clock() < deadline:
        await asyncio.sleep(LOOK_EVERY)
        kept = await keeper.look_at(kept)
    return kept


def _list_offered(config_file: str | None, source: str | None, as_json: bool) -> int:
    async def look(keeper: Keeper) -> dict[str, Any]:
        offered = offered_of(await keeper.server.capabilities())
        topics = [] if offered.form == "r4" else await keeper.topics(offered.form, offered)
        return {
            "fhir_version": offered.version,
            "subscribes": offered.subscribes,
            "form": offered.form,
            "topics": [
                {"url": t.url, "title": t.title, "status": t.status, "types": sorted(t.resource_types)}
                for t in topics
            ],
        }

    found = _keeping(config_file, source, {}, look)
    if as_json:
        click.echo(json_text(found))
        return 0
    has = f"form {found['form']}" if found["subscribes"] else "no Subscriptions"
    click.echo(f"FHIR {found['fhir_version'] or 'of a version it does not say'}: {has}")
    for topic in found["topics"]:
        click.echo(f"  topic {topic['url']}  {', '.join(topic['types']) or 'of types it does not say'}")
    return 0


def _keeping(
    config_file: str | None,
    source: str | None,
    given: dict[str, Any],
    work: Callable[[Keeper], Awaitable[Any]],
    *,
    note: str | None = None,
    why: str = "asked for on the command line",
) -> Any:
    """Does one thing with a source's subscriptions; `note` is what the audit calls it."""

    async def run() -> Any:
        async with keeping(loaded_settings(config_file), source, lambda r: _with(r, given)) as (
            keeper,
            ledger,
        ):
            result = await work(keeper)
            if note is not None:
                await ledger.note(act(why), note, f"source {keeper.rules.source}")
            return result

    return asyncio.run(run())


def _with(rules: WatchRules, given: dict[str, Any]) -> WatchRules:
    """The rules with what the command line says instead. Raises UsageError."""
    from fhir_bridge.settings import values
    from fhir_bridge.subscriptions.criteria import criteria_of

    told = {name: value for name, value in given.items() if value}
    try:
        if "endpoint" in told:
            told["endpoint"] = values.http_url(told["endpoint"])
        if "criteria" in told:
            told["criteria"] = tuple(criteria_of(values.criteria(each)) for each in told["criteria"])
        if "topics" in told:
            told["topics"] = tuple(values.canonical(each) for each in told["topics"])
    except ValueError as error:
        raise UsageError(str(error)) from None
    return replace(rules, **told)
