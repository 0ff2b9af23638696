"""What an answer, or the lack of one, says about a request (delivery, "Which outcome means what"); pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from pydantic import ValidationError

from fhir_bridge.task_api.records import Created

MAX_RETRY_AFTER = 3600.0
"""Seconds; an endpoint that asks for more is asked again after this."""

MAX_DETAIL = 2000
"""Characters of the endpoint's own words that are kept."""


class OutcomeClass(StrEnum):
    """The five things that can have become of a request."""

    ACCEPTED = "accepted"
    NOT_PROCESSED = "not-processed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    KEY_REFUSED = "key-refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    `status` is the HTTP status, None when no answer came. `error` is a stable code for logs and metrics, such
    as `http-503`, `unreadable-answer` or `connect-timeout`; None when accepted. `retry_after` is in seconds,
    `id` the id of what was created. `detail` is the endpoint's own text: it may name a patient, so it belongs
    in the ledger only and is left out of the repr. `repeatable`: unknown, but the request had a key that the
    endpoint honours, so the same may be sent again under it and is processed once.
    """

    kind: OutcomeClass
    status: int | None = None
    error: str | None = None
    retry_after: float | None = None
    detail: str | None = field(default=None, repr=False)
    id: str | None = None
    repeatable: bool = False

    @property
    def pauses_destination(self) -> bool:
        """Whether the endpoint asked for all of our requests to wait, not only for this one: 429."""
        return self.status == 429


def outcome_of_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    now: datetime,
    safe_statuses: Collection[int] = (),
    idempotent: bool = False,
) -> Outcome:
    """What an answer to a POST means; `body` is None when it could not be read to its end.

    `headers` has lower-case names or ignores case; `now` is aware UTC. `safe_statuses` are those that a site
    knows to be safe to retry where the outcome would be unknown; never a 2xx, for that one was processed.
    `idempotent` says that nothing can have been processed: it was a question.
    """
    created = _created(body) if 200 <= status < 300 else None
    wait = retry_after(headers.get("retry-after"), now)
    kind = OutcomeClass.ACCEPTED if created else _kind_of_status(status, wait)
    if kind is OutcomeClass.UNKNOWN and (idempotent or (status in safe_statuses and status >= 300)):
        kind = OutcomeClass.NOT_PROCESSED
    if created:
        return Outcome(kind, status, id=created.id)
    error = "unreadable-answer" if 200 <= status < 300 else f"http-{status}"
    return Outcome(kind, status, error, wait, _detail(body))


def outcome_of_failure(error: str, *, before_first_byte: bool, idempotent: bool = False) -> Outcome:
    """What it means that no answer came; `before_first_byte` only where the transport proves it."""
    safe = before_first_byte or idempotent
    return Outcome(OutcomeClass.NOT_PROCESSED if safe else OutcomeClass.UNKNOWN, error=error)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from `now` (aware UTC) that a Retry-After, in seconds or as a date, asks to wait: 0 to 3600.

    None when there is none that can be read (RFC 9110, section 10.2.3).
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date in the obsolete asctime form has no zone; HTTP dates are always GMT.
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((when - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _kind_of_status(status: int, wait: float | None) -> OutcomeClass:
    if status in (401, 403):
        return OutcomeClass.KEY_REFUSED
    if status in (408, 425, 429) or (status == 503 and wait is not None):
        return OutcomeClass.NOT_PROCESSED
    if 300 <= status < 500:
        return OutcomeClass.REFUSED
    return OutcomeClass.UNKNOWN


def _created(body: bytes | None) -> Created | None:
    try:
        return Created.model_validate_json(body) if body else None
    except ValidationError:
        return None


def _detail(body: bytes | None) -> str | None:
    """The text of `{"detail": …}`; failing that the body's own text, for a gateway answers in HTML."""
    if not body:
        return None
    text = body.decode("utf-8", errors="replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text[:MAX_DETAIL] or None
    detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
    return (detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False))[:MAX_DETAIL]
