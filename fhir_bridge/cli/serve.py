"""`fhir-bridge serve`: takes Subscription webhooks, and works on what they bring."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from fhir_bridge.app.doors import credentials_of, webhook_of
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings, served_sources
from fhir_bridge.cli.stopping import stop_on_signals
from fhir_bridge.cli.working import work
from fhir_bridge.http_server.serving import Listening
from fhir_bridge.ledger.database.direct import let_threads_in
from fhir_bridge.logs import set_up_logs
from fhir_bridge.network import is_loopback
from fhir_bridge.settings import Loaded, Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
              help="The port; 0 takes any free one.")  # fmt: skip
@click.option("--no-worker", is_flag=True,
              help="Only take messages: `fhir-bridge worker` processes and sends.")  # fmt: skip
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Certificate chain in PEM: speak https without a proxy.")  # fmt: skip
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Its private key, in PEM.")  # fmt: skip
@click.option("--insecure", is_flag=True,
              help="Let sources without credentials in; only on this machine, to try out.")  # fmt: skip
@click.pass_obj
def serve(
    config_file: str | None,
    host: str,
    port: int,
    no_worker: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
) -> int:
    """Take Subscription webhooks, keep them, and send what they call for.

    A message is acknowledged when it is committed to the ledger, and mapped afterwards. Each source posts to
    /fhir/NAME and presents its credentials; docs/subscriptions.md says how to point an EHR here. SIGTERM
    answers what was begun, keeps it, and ends.

    \b
    fhir-bridge serve --host 0.0.0.0 --port 8443 --tls-cert chain.pem --tls-key key.pem
    fhir-bridge serve --no-worker          # several of these, and `fhir-bridge worker` beside them
    curl -X POST -H "Authorization: Bearer $TOKEN" --data @appointment.json localhost:8080/fhir/ehr
    """
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if insecure and not is_loopback(host):
        raise click.UsageError("--insecure is only for this machine: leave --host out, or set credentials")
    set_up_logs()
    loaded = loaded_settings(config_file)
    credentials_of(loaded.settings, insecure=insecure)
    if not no_worker:
        loaded.settings.endpoint()
    _allow_connections()
    let_threads_in()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(loaded, Listening(host, port, tls_cert, tls_key), insecure, not no_worker))


async def _serve(loaded: Loaded, at: Listening, insecure: bool, works: bool) -> int:
    """Stopped: takes nothing more, answers what was begun, commits it, and only then stops working."""
    came, done = asyncio.Event(), asyncio.Event()
    async with ledger_of(loaded) as ledger:
        with stop_on_signals() as stop:
            working = (
                asyncio.create_task(work(loaded, ledger, done, wake=came, stays_up=True)) if works else None
            )
            try:
                async with webhook_of(loaded, ledger, at, insecure=insecure, came=came.set) as url:
                    for line in banner(loaded.settings, url, at, works=works):
                        click.echo(line)
                    sys.stdout.flush()
                    await stop.event.wait()
            finally:
                done.set()
                if working is not None:
                    await working
    return stop.exit_code or 0


def banner(settings: Settings, url: str, at: Listening, *, works: bool) -> list[str]:
    """Which address each EHR is to be given, what it must present, and what is missing."""
    lines = [f"webhooks are taken at {url}; Ctrl-C stops it"]
    for name in served_sources(settings):
        source = settings.source(name).settings
        kinds = source.credentials.kinds if source.credentials else ()
        lines.append(f"  {name}: Subscription.channel.endpoint {url}/fhir/{name}")
        lines.append(f"    must present: {', '.join(kinds) or 'nothing (--insecure)'}")
        if source.base_url is None or source.client is None:
            lines.append(
                "    nothing is fetched without base_url and client: its content must be full-resource"
            )
    if works:
        lines.append(
            f"  what they call for is sent to {settings.endpoint().url}; --no-worker only takes them"
        )
    else:
        lines.append("  --no-worker: nothing is processed or sent until `fhir-bridge worker` runs")
    if at.certificate is None and not is_loopback(at.host):
        lines.append("  plain http: let nobody in but a proxy that speaks https, or give --tls-cert")
    elif at.certificate is None:
        lines.append(
            "  from elsewhere by a proxy that speaks https and passes on /fhir/: its address goes before that"
        )
    lines.append(f"  watch {url}/healthz, /readyz and /metrics")
    return lines


def _allow_connections() -> None:
    """Each connection is an open file: as many as the system lets us have."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
