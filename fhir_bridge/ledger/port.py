"""What the rest of the bridge asks of a ledger; the one implementation is `ledger.store`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from fhir_bridge.ledger.records import (
    Accepted,
    Act,
    Arrival,
    Claimed,
    Heard,
    ReadBack,
    Selection,
    Sent,
    Status,
    WorkItem,
    Write,
    Written,
)
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import Gate
from fhir_bridge.ledger.sources.messages import Held, MessageSelection, Unread


class Intakes(Protocol):
    """What intake asks: decisions in."""

    async def accept(
        self,
        arrivals: Sequence[Arrival],
        *,
        now: datetime,
        hold: timedelta = ...,
        keep_skips: bool = ...,
        heard: Sequence[Heard] = ...,
        held: Held | None = ...,
        missed: Unread = ...,
    ) -> list[Accepted]:
        """Take decisions in, in one transaction; doing it again changes nothing. Raises TakenOverError where
        the messages they come of are `held` no more.

        New calls are due after `hold`. Without `keep_skips` a Skip that touches nothing known leaves no row,
        unless it is lasting. What is `heard` of persons stops all their calls, and lets them go on when it is
        taken back; so does what was `missed`, for nobody could read it.
        """
        ...


class Dispatches(Protocol):
    """What dispatch asks: claims, attempts, and what holds it back. All instants are aware UTC."""

    async def claim(self, asked: Claim) -> list[Claimed]:
        """Lease what is due, one of each lane; nothing while the destination is held back."""
        ...

    async def write(self, batch: Sequence[Write]) -> list[Written]:
        """Commit attempts and settle them, all in one transaction; one answer each."""
        ...

    async def release(self, token: str) -> int:
        """Give back what was claimed under this token and not started."""
        ...

    async def rescue(self, now: datetime) -> int:
        """Put in doubt what was being sent when its lease ran out."""
        ...

    async def waiting(self) -> int:
        """How many intents are ready, due or not, or on their way."""
        ...

    async def next_due(self, only: Collection[str] | None = None) -> datetime | None:
        """When the next ready intent is due."""
        ...

    async def is_unread(self, source: str, before: datetime) -> bool:
        """Whether a message of the source that came before waits to be processed for the first time."""
        ...

    async def gate(self) -> Gate:
        """What holds requests back."""
        ...

    async def change_gate(self, of: Callable[[Gate], Gate]) -> Gate:
        """Change what holds requests back by a pure function of what it is."""
        ...

    async def take_polls(self, now: datetime, again_at: datetime, limit: int) -> list[Sent]:
        """The tasks to read back now."""
        ...

    async def record_polls(self, read: Sequence[ReadBack], now: datetime) -> None:
        """Keep what the endpoint shows of them."""
        ...


class Operations(Protocol):
    """What a person asks. Each act gives how many intents it changed, and leaves its reason in the audit."""

    async def status(self, now: datetime, only: list[str] | None = None) -> Status:
        """The ledger at a glance, or of these intents' keys only."""
        ...

    async def worklist(self, selection: Selection = ..., limit: int | None = None) -> list[WorkItem]:
        """What needs a person, longest waiting first."""
        ...

    async def show(self, named: str, act: Act | None = None) -> dict[str, Any]:
        """One intent in full, with PHI: by key, unique beginning of it, or trigger. Raises UsageError.

        With `act` the audit says who looked.
        """
        ...

    async def retry(self, selection: Selection, act: Act) -> int:
        """Decide refused, parked and cancelled intents again; due now."""
        ...

    async def retry_messages(self, selection: MessageSelection, act: Act) -> int:
        """Have messages that failed processed again; gives how many."""
        ...

    async def settle_failed(self, selection: MessageSelection, act: Act) -> int:
        """Messages that failed are settled, and hold nobody any more; gives how many."""
        ...

    async def cancel(self, selection: Selection, act: Act) -> int:
        """Let intents be."""
        ...

    async def resolve_sent(self, key: str, task_id: str, act: Act) -> int:
        """An intent in doubt was sent as this task."""
        ...

    async def resolve_resend(self, selection: Selection, act: Act) -> int:
        """Intents in doubt reached nobody: send them again."""
        ...

    async def resolve_patient(self, source: str, identity: str, created: str | None, act: Act) -> int:
        """A patient in doubt exists as `created`, or is to be created again; -1 where none such waits."""
        ...

    async def stuck_patients(self, selection: Selection) -> tuple[int, int]:
        """How many patients in doubt or refused are meant by source or reason, and intents behind them."""
        ...

    async def resend_patients(self, selection: Selection, act: Act) -> tuple[int, int]:
        """They are to be created again; gives how many, and how many intents are ready by that."""
        ...

    async def acknowledge(self, selection: Selection, act: Act) -> int:
        """Take alarms off the work list, of an intent or by filter (`reason`: the alarm); gives how many."""
        ...

    async def pause(self, source: str, act: Act) -> None:
        """Hold a source, or all (""), back."""
        ...

    async def resume(self, source: str, act: Act) -> bool:
        """Let it go on; False where it was not paused."""
        ...

    async def restored(self, as_of: datetime, act: Act) -> int:
        """The ledger is a backup of `as_of` (aware UTC): all is paused, and what waits is in doubt. Raises
        UsageError where it cannot be one."""
        ...

    async def block(self, kind: str, value: str, act: Act) -> int:
        """Never call this number (E.164) or patient (source and identity, with a bar between); gives how many
        intents are skipped for it.
        """
        ...

    async def verify_audit(self) -> int | None:
        """The first row of the audit that does not fit; None when it holds."""
        ...


class Ledger(Intakes, Dispatches, Operations, Protocol):
    """All of it, and an end."""

    async def aclose(self) -> None:
        """Close all connections."""
        ...
