"""`fhir-bridge sandbox`: the task API, emulated on this machine."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import click
from pydantic import SecretStr

from fhir_bridge.sandbox.faults import FaultScript
from fhir_bridge.sandbox.server import serve_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8484, show_default=True, type=click.IntRange(0, 65535),
              help="The port; 0 takes any free one.")  # fmt: skip
@click.option("--api-key", "api_keys", multiple=True, envvar="FHIR_BRIDGE_SANDBOX_KEY",
              help="A Bearer key to accept; repeatable. Without one, any key will do.")  # fmt: skip
@click.option("--webhook", metavar="URL", help="Where call.completed and task.completed are posted.")
@click.option("--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="A script of faults, YAML or JSON: see docs/sandbox.md.")  # fmt: skip
@click.option("--fault", "fault_lines", multiple=True, metavar="RULE",
              help="One fault, for instance 'drop-after POST /v1/task nth=2'; repeatable.")  # fmt: skip
@click.option("--storage", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep patients and tasks in this SQLite file; without it, in memory.")  # fmt: skip
@click.option("--call-seconds", default=2.0, show_default=True, type=click.FloatRange(min=0),
              help="How long a simulated call takes.")  # fmt: skip
@click.option("--failed-share", default=0.1, show_default=True, type=click.FloatRange(0, 1),
              help="The share of called numbers that never pick up.")  # fmt: skip
@click.option("--idempotency-header", metavar="NAME", help="Honour this header; the real API has none.")
@click.option("--strict", is_flag=True,
              help="Demand an address, as the schema does; refuse tasks for unknown patients.")  # fmt: skip
def sandbox(
    host: str,
    port: int,
    api_keys: tuple[str, ...],
    webhook: str | None,
    faults: Path | None,
    fault_lines: tuple[str, ...],
    storage: Path | None,
    call_seconds: float,
    failed_share: float,
    idempotency_header: str | None,
    strict: bool,
) -> None:
    """Run the task API emulated on this machine.

    Nobody is phoned. It takes patients and tasks, simulates the calls, sends both webhooks, counts tasks for
    each patient (GET /_sandbox/stats, or /_sandbox in a browser), and fails where it is told to.

    \b
    fhir-bridge sandbox --port 8484 --api-key try-me
    fhir-bridge sandbox --fault 'status-before POST /v1/task code=429 retry-after=5 nth=1'
    """
    script = FaultScript.read(faults) if faults else FaultScript()
    lines = FaultScript.parse(fault_lines)
    settings = SandboxSettings(
        host=host,
        port=port,
        api_keys=tuple(SecretStr(key) for key in api_keys),
        webhook=webhook,
        faults=FaultScript(script.rules + lines.rules, script.seed),
        storage=storage,
        call_seconds=call_seconds,
        failed_share=failed_share,
        idempotency_header=idempotency_header,
        require_address=strict,
        require_known_patient=strict,
    )
    asyncio.run(serve_sandbox(settings, on_start=partial(_say_where, key=api_keys[0] if api_keys else "any")))


def _say_where(url: str, key: str) -> None:
    click.echo(f"sandbox: the task API, emulated, at {url} (overview: {url}/_sandbox); Ctrl-C stops it")
    click.echo("  in bridge.toml:")
    for line in ("[api]", *(f"{name} = {json.dumps(value)}" for name, value in _api(url, key).items())):
        click.echo(f"    {line}")


def _api(url: str, key: str) -> dict[str, str]:
    """The settings by which the bridge finds it; to the sandbox one project is as good as another."""
    return {"url": url, "key": key, "project_id": "00000000-0000-4000-8000-000000000001"}
