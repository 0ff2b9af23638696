"""The task API: is it there, and does it take our key? Nothing is created (delivery, the probe)."""

from __future__ import annotations

from fhir_bridge.checkup.step import Mark, Step
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass


async def endpoint_step(client: TaskApiClient, host: str) -> Step:
    """Asks for a task that cannot be: to be told so is to be let in."""
    outcome: Outcome = await client.probe()
    if outcome.kind is OutcomeClass.ACCEPTED:
        return Step("endpoint", Mark.OK, f"{host} takes our key (HTTP {outcome.status})")
    if outcome.kind is OutcomeClass.KEY_REFUSED:
        to_do = "look at api.key; nothing is sent until it is taken"
        return Step(
            "endpoint", Mark.FAIL, f"{host} refuses our key (HTTP {outcome.status})", to_do, "key-refused"
        )
    told = f"HTTP {outcome.status}" if outcome.status else outcome.error or "no answer"
    to_do = "is api.url right, and does the way out need network.proxy or network.ca_bundle?"
    return Step("endpoint", Mark.FAIL, f"{host}: {told}", to_do, outcome.error or "endpoint")
