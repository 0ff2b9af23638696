"""A decision as the ledger keeps it: one JSON object, its fingerprint, and the lane it will run in."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from functools import lru_cache

import msgspec

from fhir_bridge.ledger.arrivals.precedence import Standing, Version
from fhir_bridge.ledger.database.packing import packed, unpacked
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.mapping.decision import DELETED, Call, Decision, Lineage, Note, Reject, Skip


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an intent takes over from a decision. `task` and `patient` are the JSON of the drafts.

    `identity` is who the patient is in the crosswalk, `api_id` the task API's id where the site's data
    carries it.
    """

    identity: str | None = None
    expression: str | None = None
    detail: str | None = None
    task: msgspec.Raw = msgspec.Raw(b"null")
    patient: msgspec.Raw = msgspec.Raw(b"null")
    phone_number: str = ""
    api_id: str | None = None
    zones: tuple[str, ...] = ()
    valid_until: datetime | None = None
    lineage: msgspec.Raw = msgspec.Raw(b"{}")


class LineageRecord(msgspec.Struct, frozen=True):
    """Where every field came from and what was noted: what `show` prints."""

    notes: tuple[Note, ...] = ()
    lineage: tuple[Lineage, ...] = ()


_encoder = msgspec.json.Encoder()
_content = msgspec.json.Decoder(Content)


def content_of(decision: Decision) -> Content:
    """All of a decision but its subject."""
    lineage = msgspec.Raw(_encoder.encode(LineageRecord(decision.notes, decision.lineage)))
    identity = decision.subject.patient
    if isinstance(decision, Call):
        return Content(
            identity=identity,
            task=msgspec.Raw(decision.task.to_json()),
            patient=msgspec.Raw(decision.patient.to_json()),
            phone_number=decision.task.phone_number,
            api_id=decision.patient_id,
            zones=decision.zones,
            valid_until=decision.valid_until,
            lineage=lineage,
        )
    if isinstance(decision, Reject):
        return Content(
            identity=identity, expression=decision.expression, detail=decision.detail, lineage=lineage
        )
    assert isinstance(decision, Skip)
    return Content(identity=identity, detail=decision.detail, lineage=lineage)


class _SkipContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same JSON as a Content that holds no more than this, in one go."""

    identity: str | None = None
    detail: str | None = None
    lineage: LineageRecord | None = None


def read_content(stored: bytes) -> Content:
    """The content out of the ledger."""
    return _content.decode(unpacked(stored))


def standing_of(arrival: Arrival, salt: bytes) -> Standing:
    """What the arrival's trigger now says; the fingerprint is salted, for its content may be guessable."""
    decision = arrival.decision
    subject = decision.subject
    kind = "call" if isinstance(decision, Call) else "reject" if isinstance(decision, Reject) else "skip"
    reason = arrival.reason
    content = content_of(decision)
    told = _encoder.encode(content)
    return Standing(
        trigger=subject.trigger,
        resource_type=arrival.resource_type,
        version=Version(subject.version_id, subject.last_updated),
        decision=kind,
        reason=reason,
        fingerprint=_fingerprint(told, kind, reason, subject.intent, salt),
        content=packed(told),
        read=content,
        said_at=arrival.said_at,
        deleted=reason == "entered-in-error" and content.detail == DELETED,
    )


def skip_told(decision: Skip, salt: bytes) -> tuple[bytes, str]:
    """The content of a Skip as the ledger keeps it, and its fingerprint: as `standing_of` has them."""
    record = LineageRecord(decision.notes, decision.lineage)
    subject = decision.subject
    told = _encoder.encode(_SkipContent(subject.patient, decision.detail, record))
    return packed(told), _fingerprint(told, "skip", decision.reason, subject.intent, salt)


def _fingerprint(told: bytes, kind: str, reason: str | None, key: str | None, salt: bytes) -> str:
    seen = _keyed(salt).copy()
    seen.update(told)
    seen.update(f"{kind} {reason} {key}".encode())
    return seen.hexdigest()


@lru_cache(maxsize=8)
def _keyed(salt: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(key=salt[:64], digest_size=16)


def lane_of(phone_number: str, salt: bytes) -> str:
    """The lane of a called number (E.164): salted, so that the ledger's index names nobody."""
    return hmac.digest(salt, phone_number.encode(), "sha256").hex()[:32]
