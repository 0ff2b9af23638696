"""The types of single settings: durations, sizes, rates, addresses, secrets, each read from a TOML text.

Long because each type has a parser, and an error that says what it should look like.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
LONGEST = timedelta(days=36_500)
"""No duration is longer: a calendar that must go back as far, or on, has no such day."""

_DIGITS = 100
"""Nobody writes a number as long as this, and none with a fraction could hold it."""

KEY_LENGTH = 32
"""Bytes of an encryption key: AES-256."""

_PERIODS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a setting may refer to: bridge.toml's folder, the environment; whether secrets must be there."""

    folder: Path
    environ: Mapping[str, str]
    need_secrets: bool = True


def _error(kind: str, message: str) -> PydanticCustomError:
    """An error whose message never holds the value."""
    return PydanticCustomError("setting", message, {"kind": kind})


def duration(value: object) -> timedelta:
    """`"60s"`, `"4h"`, `"1h30m"`, `"30d"`, `"500ms"`; 0, as a number or as text, needs no unit."""
    if isinstance(value, timedelta):
        return value
    if value in (0, "0") and not isinstance(value, bool):
        return timedelta()
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise _error("duration", 'not a duration: write it like "60s", "90m", "4h" or "30d"')
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts) if len(value) < _DIGITS else math.inf
    if seconds > LONGEST.total_seconds():
        raise _error("duration", "too long: at most 36500d")
    return timedelta(seconds=seconds)


def positive(value: timedelta) -> timedelta:
    """A duration of more than nothing."""
    if not value:
        raise _error("duration", "must be longer than 0")
    return value


def at_least_a_day(value: timedelta) -> timedelta:
    """How long payloads are kept: what waits over a weekend must still be there on Monday."""
    if value < timedelta(days=1):
        raise _error("duration", "must be at least 1d")
    return value


def duration_text(value: timedelta) -> str:
    """A duration as it is written in bridge.toml, in the largest unit that holds it whole."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds % round(_UNITS[unit] * 1000) == 0:
            return f"{milliseconds // round(_UNITS[unit] * 1000)}{unit}" if milliseconds else "0s"
    return f"{milliseconds}ms"


class Bytes(int):
    """A number of bytes that says itself as it is written in bridge.toml, in the largest unit that holds it
    whole."""

    def __str__(self) -> str:
        units = [(number, unit) for unit, number in _SIZES.items() if self % number == 0]
        number, unit = max(units)
        return f"{int(self) // number}{unit}"


def size(value: object) -> Bytes:
    """`"8MiB"`, `"100MB"`, in bytes."""
    if isinstance(value, Bytes):
        return value
    match = re.fullmatch(r"(\d+) ?([kKMG]i?B|B)", value) if isinstance(value, str) else None
    if match is None or match[2] not in _SIZES:
        raise _error("size", 'not a size: write it like "8MiB" or "100MB"')
    return Bytes(int(match[1]) * _SIZES[match[2]])


def rate(value: object) -> float:
    """`"10/s"`, `"600/min"`, `"200/h"`, as a number a second."""
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"(\d{1,9}) ?/ ?(s|min|h|d)", value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise _error("rate", 'not a rate: write it like "10/s", "600/min" or "200/h"')
    return int(match[1]) / _PERIODS[match[2]]


def rate_text(value: float) -> str:
    """A rate as it is written in bridge.toml, in the shortest period that makes it a whole number."""
    for unit, seconds in _PERIODS.items():
        if abs(value * seconds - round(value * seconds)) < 1e-6:
            return f"{round(value * seconds)}/{unit}"
    return f"{value:g}/s"


def http_url(value: str) -> str:
    """An https URL without a final slash; plain http only to this machine (intake, "Reading …")."""
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise _error("url", 'not a web address: write it like "https://host/path"')
    if parts.username or parts.password:
        raise _error("url", "a web address must not carry a user name or a password")
    loopback = host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host)
    if parts.scheme == "http" and not loopback:
        raise _error("url", "plain http is refused except to this machine: use https")
    return value.rstrip("/")


def zone(value: object) -> object:
    """An IANA time zone by its name."""
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise _error("zone", 'none of the IANA time zones: write it like "America/New_York"') from None


def phone_number(value: str) -> str:
    """A number in E.164 form."""
    if not re.fullmatch(r"\+[1-9]\d{1,14}", value):
        raise _error("phone", 'not a phone number in E.164 form: write it like "+15551234567"')
    return value


def uuid(value: str) -> str:
    """A UUID in its usual form."""
    try:
        return str(UUID(value))
    except ValueError:
        raise _error("uuid", 'not a UUID: write it like "123e4567-e89b-12d3-a456-426614174000"') from None


def country(value: str) -> str:
    """Two capitals; whether there is such a country is asked where its layer is looked for."""
    if not re.fullmatch("[A-Z]{2}", value):
        raise _error("country", 'not an ISO 3166-1 alpha-2 country: write it like "US"')
    return value


def header_name(value: str) -> str:
    """The name of an HTTP header (RFC 9110, section 5.6.2)."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise _error("header", 'not the name of an HTTP header: write it like "Idempotency-Key"')
    return value


def criteria(value: str) -> str:
    """What a subscription asks for: a resource type, and search parameters after a `?`."""
    resource_type, _, query = value.partition("?")
    if not re.fullmatch(r"[A-Z][A-Za-z]+", resource_type):
        raise _error("criteria", 'not a criteria: write it like "Appointment?" or "Appointment?location=…"')
    names = {part.partition("=")[0].partition(":")[0] for part in query.split("&")}
    if "status" in names:
        raise _error("criteria", "must not name a status: what leaves a criteria is told to nobody")
    if "_lastUpdated" in names:
        raise _error("criteria", "must not name _lastUpdated: a search for what was missed adds it")
    return value


def canonical(value: str) -> str:
    """The address that names a SubscriptionTopic."""
    if not re.fullmatch(r"(https?://|urn:)\S+", value):
        raise _error("canonical", 'not the address of a topic: write it like "http://ehr.example/topic"')
    return value


def path(value: object, info: ValidationInfo) -> object:
    """A path; a relative one counts from the folder of bridge.toml."""
    return surroundings(info).folder / value if isinstance(value, str | Path) else value


def secret(value: object, info: ValidationInfo) -> object:
    """A secret from its text, `{ env = "NAME" }` or `{ file = "PATH" }`; a file's outer blanks are dropped.

    Where secrets are not needed, one that is not there is None.
    """
    if not isinstance(value, dict):
        return value
    around = surroundings(info)
    match value:
        case {"env": str(name), **rest} if not rest:
            found, problem = around.environ.get(name), f"the environment variable {name} is not set"
        case {"file": str(name), **rest} if not rest:
            found, problem = _content(around.folder / name)
        case _:
            raise _error("secret", 'a secret is a text, { env = "NAME" } or { file = "PATH" }')
    if not found and around.need_secrets:
        raise _error("secret", problem)
    return found or None


def encryption_key(value: SecretStr | None) -> SecretStr | None:
    """A key of 32 bytes in base64, as `openssl rand -base64 32` writes it."""
    if value is None:
        return None
    try:
        key = b64decode(value.get_secret_value(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_LENGTH:
        raise _error("key", "not a key of 32 bytes in base64: make one with `openssl rand -base64 32`")
    return value


def several(value: object, info: ValidationInfo) -> object:
    """One secret, or a list of them, as a list."""
    return tuple(secret(each, info) for each in (value if isinstance(value, list | tuple) else (value,)))


def not_blank(value: SecretStr | None) -> SecretStr | None:
    """A secret that everybody would guess protects nothing."""
    if value is not None and not value.get_secret_value().strip():
        raise _error("secret", "must not be empty")
    return value


def one_or_more(value: tuple[object, ...]) -> tuple[object, ...]:
    """A list that names nothing would let nobody, or everybody, in."""
    if not value:
        raise _error("secret", "name at least one")
    return value


def network(value: object) -> object:
    """An address or a network: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`."""
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError:
        raise _error(
            "network", 'not an address or network: write it like "10.0.0.7" or "10.0.0.0/8"'
        ) from None


def _content(file: Path) -> tuple[str | None, str]:
    """A file's text, and what to say where it has none."""
    try:
        return file.read_text(encoding="utf-8").strip(), f"the file {file} is empty"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        return None, f"the file {file} cannot be read: {reason}"


def surroundings(info: ValidationInfo) -> Surroundings:
    """The surroundings given to validation; without any, the working folder and no environment."""
    return (
        info.context
        if isinstance(info.context, Surroundings)
        else Surroundings(Path(), {}, need_secrets=False)
    )


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(duration_text)]
PositiveDuration = Annotated[Duration, AfterValidator(positive)]
RetentionPeriod = Annotated[Duration, AfterValidator(at_least_a_day)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Size = Annotated[Bytes, BeforeValidator(size)]
Rate = Annotated[float, BeforeValidator(rate), PlainSerializer(rate_text)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
Zone = Annotated[ZoneInfo, BeforeValidator(zone)]
PhoneNumber = Annotated[str, AfterValidator(phone_number)]
Uuid = Annotated[str, AfterValidator(uuid)]
Country = Annotated[str, AfterValidator(country)]
HeaderName = Annotated[str, AfterValidator(header_name)]
Criteria = Annotated[str, AfterValidator(criteria)]
Canonical = Annotated[str, AfterValidator(canonical)]
File = Annotated[Path, BeforeValidator(path)]
Secret = Annotated[SecretStr, BeforeValidator(secret)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(secret)]
OptionalEncryptionKey = Annotated[OptionalSecret, AfterValidator(encryption_key)]
Secrets = Annotated[
    tuple[Annotated[SecretStr | None, AfterValidator(not_blank)], ...],
    BeforeValidator(several),
    AfterValidator(one_or_more),
]
"""One secret or several, each of which will do: so that one can be exchanged while both are in use."""

Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network), PlainSerializer(str)]
