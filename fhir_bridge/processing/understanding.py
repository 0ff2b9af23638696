"""One message, from its bytes to what the ledger is to take in of it; or why that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from fhir_bridge.errors import FhirServerError, InputError
from fhir_bridge.fhir import references
from fhir_bridge.fhir_client.answers import is_of_one
from fhir_bridge.intake.files import Inputs
from fhir_bridge.intake.notifications import Notification, Route, parse
from fhir_bridge.ledger.records import Arrival, Heard
from fhir_bridge.ledger.sources.messages import FETCHED, Message, Unreadable
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping_run import MappingRun, superseded_in
from fhir_bridge.processing import reasons, unread
from fhir_bridge.processing.reading import add_document, inputs_of, to_fetch
from fhir_bridge.processing.source import ProcessedSource, SourceServer

logger = structlog.get_logger(__name__)

AT_ONCE = 8
"""Resources of one message that are fetched at a time; the client's own limits hold besides."""


Missing = dict[str, str]
"""What a message names and could not be had, by its reference: the code that says why."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What a message comes to. `failure`: why something of it could not be used, None where all was; `again`:
    whether that may pass by itself, and nothing of it is to be taken in before. `notification`: what was said
    of the source's subscriptions, None where its source did not send it or it cannot be read. `unread`: what
    may speak against calls and could not be had, where it failed."""

    arrivals: Sequence[Arrival] = ()
    heard: Sequence[Heard] = ()
    failure: str | None = None
    again: bool = False
    notification: Notification | None = None
    unread: Sequence[Unreadable] = ()


async def understand(
    message: Message, source: ProcessedSource, blocked: Blocked, now: datetime
) -> Understood:
    """Read, gather and decide at `now` (aware UTC); raises nothing for what is in a message, LedgerError
    where the ledger fails.

    Deciding happens in a thread, so that a large message delays no answer.
    """
    if message.body is None:
        return Understood(failure=reasons.PAYLOADS_CLEARED)
    name = name_of(message)
    try:
        notification = parse(message.body, route_of(message), name)
    except InputError as error:
        return Understood(failure=error.code, unread=unread.whole(message))
    sent = notification if message.method != FETCHED else None
    if not notification.is_about_events:
        return Understood(notification=sent)
    understood = await _understood(notification, message, source, blocked, now)
    return replace(understood, notification=sent)


async def _understood(
    notification: Notification, message: Message, source: ProcessedSource, blocked: Blocked, now: datetime
) -> Understood:
    """What a notification of events comes to."""
    name = f"message {message.id}"
    inputs = inputs_of(notification, name, message.received_at)
    run = source.run(now)
    try:
        inputs, missing = await _gathered(notification, inputs, source, run, blocked)
    except FhirServerError as error:
        logger.warning("source-not-read", message=message.id, source=source.name, error=error.code)
        return Understood(failure=reasons.SOURCE_UNREACHABLE, again=True, unread=unread.whole(message))
    return await _decided(run, inputs, blocked, message, missing)


async def _gathered(
    notification: Notification, inputs: Inputs, source: ProcessedSource, run: MappingRun, blocked: Blocked
) -> tuple[Inputs, Missing]:
    """The inputs with what the message names and what its cases need; and what could not be had, with the
    code that says why.

    Raises FhirServerError where the source does not answer: it may know why nobody is to be called.
    """
    missing = to_fetch(notification, inputs)
    says_nothing = not (notification.parts or notification.named or notification.deletions)
    failed: Missing = {}
    if says_nothing and not source.can_search:
        failed[""] = reasons.NOTHING_TO_READ_FROM
    if source.server is None:
        failed |= dict.fromkeys(missing, reasons.NOTHING_TO_READ_FROM)
    elif missing:
        failed |= await _fetch(missing, inputs, source.server)
    if source.completes is not None and inputs.resources:
        inputs = await source.completes.complete(run, inputs, (), blocked)
        if inputs.gaps:
            logger.info("fetched-with-gaps", source=source.name, gaps=inputs.gaps)
    return inputs, failed


async def _fetch(missing: Sequence[str], inputs: Inputs, server: SourceServer) -> Missing:
    """Reads what is missing; gives what of it cannot be had. Raises FhirServerError where it is the server
    that does not answer."""
    failures: Missing = {}
    places = asyncio.Semaphore(AT_ONCE)

    async def fetch(reference: str) -> None:
        try:
            async with places:
                body = await server.fetch(reference)
        except FhirServerError as error:
            if not is_of_one(error):
                raise
            _note(error.code, reference, inputs, failures)
        else:
            add_document(inputs, body, "fetched")

    # Each ends by itself: a group that cancels would leave the others' answers unread.
    ended = await asyncio.gather(*map(fetch, missing), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error
    return failures


def _note(code: str, reference: str, inputs: Inputs, failures: Missing) -> None:
    """What is gone is deleted; anything else somebody must look at."""
    target = references.parse(reference)
    if code == "gone" and target is not None and target.label is not None:
        inputs.deleted[target.label] = None
    elif code in ("foreign-link", "bad-reference"):
        failures[reference] = reasons.FOREIGN_REFERENCE
    else:
        failures[reference] = code


async def _decided(
    run: MappingRun, inputs: Inputs, blocked: Blocked, message: Message, missing: Missing
) -> Understood:
    arrivals, heard = await asyncio.to_thread(run.taken, inputs, blocked)
    if older := superseded_in(inputs):
        logger.info(
            "older-versions-left-aside", message=message.id, source=message.source, counts=dict(older)
        )
    failures = [*missing.values(), *(problem.code for problem in inputs.problems)]
    return Understood(
        *_as_said(message, inputs, arrivals, heard),
        failure=failures[0] if failures else None,
        unread=[*unread.references(message, missing), *unread.records(message, inputs.problems)],
    )


def _as_said(
    message: Message, inputs: Inputs, arrivals: Sequence[Arrival], heard: Sequence[Heard]
) -> tuple[list[Arrival], list[Heard]]:
    """What the message itself brought is said when it came, and is kept with it: its resources need not be
    kept once more. What was fetched is said now."""
    name, own, fetched = name_of(message), set[bytes](), set[str]()
    for one in inputs.resources:
        if one.origin.file == name:
            own.add(one.raw)
    for one in (*inputs.resources, *inputs.context):
        if one.origin.file != name:
            fetched.add(one.label)
    at, late = message.received_at, message.is_late

    def is_own(arrival: Arrival) -> bool:
        # A deletion that the message tells of has a time, one that was met by asking has none.
        return arrival.body in own or (arrival.body is None and bool(arrival.decision.subject.last_updated))

    return (
        [replace(a, body=None, said_at=at, is_late=late) if is_own(a) else a for a in arrivals],
        [h if h.statement.record in fetched else replace(h, said_at=at, is_late=late) for h in heard],
    )


def name_of(message: Message) -> str:
    """What a message is called where it must be named without a patient's data."""
    return f"message {message.id}"


def route_of(message: Message) -> Route:
    """What its request said beside the body."""
    kind, _, id_ = (message.path or "").partition("/")
    return Route(message.method, kind or None, id_ or None, message.deleted)
