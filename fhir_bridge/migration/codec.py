"""What the ledger takes in, as lines of JSON: a decision with its trigger's bytes, what records say of
persons, and what nobody can read and may speak of them.

One line is one record, so files of them may be joined, split and sorted; a line says its version. What is
written as a file has a line more that says how many there are, for a file that is cut off where a line ends
looks like a whole one. It is how processes, machines and `ledger load` hand over decisions, and the only
place that knows how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from fhir_bridge.errors import InputError
from fhir_bridge.ledger.records import Arrival, Broken, Heard
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.printed import kind
from fhir_bridge.mapping.statements import Statement

VERSION = 2
"""Of what an older release does not know: it must not go on as if it had not been said."""

SINCE_FIRST = 1
HEARD = "heard"
BROKEN = "broken"
END = "end"

Record = Arrival | Heard | Broken

_KINDS: dict[str, type[Decision]] = {"call": Call, "skip": Skip, "reject": Reject}
_M = TypeVar("_M", bound=BaseModel)


class _Line(msgspec.Struct, omit_defaults=True):
    """A record: `kind` is `call`, `skip`, `reject`, `heard` or `broken`; `body` is the trigger in base64."""

    v: int
    kind: str
    source: str
    decision: msgspec.Raw | None = None
    resource_type: str | None = None
    body: bytes | None = None
    delivery_id: str | None = None
    statement: Statement | None = None
    is_lasting: bool = False
    broken: Broken | None = None


class _Opened(_Line):
    decision: msgspec.Raw = msgspec.Raw(b"null")


def _to_json(value: Any) -> Any:
    """A draft as the JSON its own model writes; for msgspec, which knows no pydantic."""
    if isinstance(value, BaseModel):
        return msgspec.Raw(value.model_dump_json(exclude_none=True).encode())
    raise NotImplementedError


def _from_json(wanted: type[_M], value: Any) -> _M:
    return wanted.model_validate(value)


_encoder = msgspec.json.Encoder(enc_hook=_to_json)
_in_order = msgspec.json.Encoder(order="deterministic")
_line = msgspec.json.Decoder(_Opened)
_decoders = {name: msgspec.json.Decoder(wanted, dec_hook=_from_json) for name, wanted in _KINDS.items()}


def encode(record: Record) -> bytes:
    """One line, without its end."""
    if isinstance(record, Heard):
        return _encoder.encode(_Line(SINCE_FIRST, HEARD, record.source, statement=record.statement))
    if isinstance(record, Broken):
        return _in_order.encode(_Line(VERSION, BROKEN, record.source, broken=record))
    return _encoder.encode(
        _Line(
            SINCE_FIRST,
            kind(record.decision),
            record.source,
            msgspec.Raw(_encoder.encode(record.decision)),
            record.resource_type,
            record.body,
            record.delivery_id,
            is_lasting=record.is_lasting,
        )
    )


class _End(msgspec.Struct):
    v: int
    kind: str
    count: int


_end = msgspec.json.Decoder(_End)


def encode_end(count: int) -> bytes:
    """The line that says how many records were written beside it."""
    return _encoder.encode(_End(SINCE_FIRST, END, count))


def count_of_end(line: bytes) -> int | None:
    """How many records such a line tells of; None for any other line."""
    if b'"kind":"end"' not in line[:40]:
        return None
    try:
        read = _end.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return read.count if read.kind == END else None


def is_broken(line: bytes) -> bool:
    """Whether a line tells of what nobody could read."""
    return b'"kind":"broken"' in line[:40]


def decode(line: bytes) -> Record:
    """The record of one line. Raises InputError for what is none, or of a newer version."""
    try:
        read = _line.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        raise InputError("not a decision record", code="not-a-record") from None
    if read.v > VERSION:
        raise InputError(
            "written by a newer fhir-bridge", code="record-newer", hint="load it with that version"
        )
    if read.kind == HEARD and read.statement is not None:
        return Heard(read.source, read.statement)
    if read.kind == BROKEN and read.broken is not None:
        return read.broken
    try:
        decision: Decision = _decoders[read.kind].decode(read.decision)
    except (KeyError, msgspec.MsgspecError, ValidationError):
        raise InputError("not a decision record", code="not-a-record") from None
    return Arrival(
        read.source,
        decision,
        read.resource_type or "",
        read.body,
        read.delivery_id,
        is_lasting=read.is_lasting,
    )


def encode_all(records: Iterable[Record]) -> bytes:
    """Records as NDJSON, each line ended."""
    return b"".join(encode(record) + b"\n" for record in records)


def decode_all(data: bytes) -> Iterator[Record]:
    """The records of NDJSON. Raises InputError at the first that is none."""
    for line in data.split(b"\n"):
        if line:
            yield decode(line)
