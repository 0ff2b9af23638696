"""What can be set about the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from fhir_bridge.sandbox.faults import FaultScript


def utc_now() -> datetime:
    """The time of day, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Everything the sandbox is told; each default suits a test on one machine.

    port: 0 takes any free one.
    api_keys: the Bearer keys accepted; with none, any is.
    webhook: where `call.completed` and `task.completed` are posted; None sends none.
    storage: an SQLite file that survives a restart; None keeps everything in memory.
    call_seconds: how long a simulated call takes; None lets every task wait for ever.
    failed_share: the share of the called numbers, 0 to 1, that never pick up; the same ones for one seed.
    idempotency_header: the header to honour, which the real API does not have; None ignores all.
    require_address: hold patients to the schema, which demands the address that the quick start leaves out.
    require_known_patient: refuse a task for a patient that was not created here.
    now: the clock of the timestamps, aware UTC.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_keys: tuple[SecretStr, ...] = ()
    webhook: str | None = None
    faults: FaultScript = field(default_factory=FaultScript)
    storage: Path | None = None
    call_seconds: float | None = 2.0
    failed_share: float = 0.1
    seed: int = 0
    idempotency_header: str | None = None
    require_address: bool = False
    require_known_patient: bool = False
    now: Callable[[], datetime] = utc_now
