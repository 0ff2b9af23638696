"""Whether a request may speak for a source: everything that its settings demand (intake, section 1).

Secrets are compared in constant time, and all that are live are compared, so that the time taken says nothing
about which of them nearly fitted.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64Error
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from pydantic import SecretStr

from fhir_bridge.settings.webhook import (
    BasicCredential,
    ClientCertificateCredential,
    CredentialSettings,
    HmacCredential,
    StandardWebhooksCredential,
)

Network = IPv4Network | IPv6Network
Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case. So are names asked for as bytes."""

DELIVERY_ID = b"webhook-id"
"""The header in which Standard Webhooks number a delivery."""


class Presented:
    """What a request shows before its body: headers, and the address it comes from."""

    def __init__(self, headers: Headers, peer: str | None) -> None:
        self.peer = peer
        self._headers: dict[bytes, bytes | None] = {}
        for name, value in headers:
            self._headers[name] = None if name in self._headers else value

    def header(self, name: str | bytes) -> bytes | None:
        """The one value of a header; None where there is none, or several that could be read differently."""
        return self._headers.get(name if isinstance(name, bytes) else name.lower().encode())


class Credentials:
    """What one source's webhooks must present: all that is set."""

    def __init__(self, settings: CredentialSettings, trusted_proxies: Sequence[Network] = ()) -> None:
        self._settings = settings
        self._proxies = tuple(trusted_proxies)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Their names in the settings."""
        return self._settings.kinds

    def fit(self, presented: Presented) -> bool:
        """Whether the headers do, as far as they can be judged without the body."""
        wanted = self._settings
        # Every check is made: an early end would tell which of two credentials was wrong.
        checks = [
            wanted.bearer is None or _bearer(wanted.bearer, presented),
            wanted.basic is None or _basic(wanted.basic, presented),
            wanted.header is None or _fits(wanted.header.value, presented.header(wanted.header.name)),
            wanted.client_certificate is None or self._certificate(wanted.client_certificate, presented),
        ]
        return all(checks)

    def sign(self, presented: Presented, body: bytes, now: datetime) -> bool:
        """Whether the signatures over the body, as it was sent, do at `now` (aware UTC)."""
        wanted = self._settings
        checks = [
            wanted.hmac is None or _hmac(wanted.hmac, presented, body),
            wanted.standard_webhooks is None
            or _standard_webhook(wanted.standard_webhooks, presented, body, now),
        ]
        return all(checks)

    def _certificate(self, wanted: ClientCertificateCredential, presented: Presented) -> bool:
        """A header that anybody can write is worth something only from a proxy that overwrites it."""
        told = presented.header(wanted.header) if is_within(presented.peer, self._proxies) else None
        return _fits(wanted.value, told)


def is_within(peer: str | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks; a mapped IPv4 address is that IPv4 address."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def live(secrets: Iterable[SecretStr | None]) -> list[bytes]:
    """The secrets that are there, as bytes."""
    return [secret.get_secret_value().encode() for secret in secrets if secret is not None]


def _fits(secrets: Iterable[SecretStr | None], presented: bytes | None) -> bool:
    given = presented or b""
    fits = [hmac.compare_digest(secret, given) for secret in live(secrets)]
    return any(fits) and presented is not None


def _bearer(secrets: Iterable[SecretStr | None], presented: Presented) -> bool:
    scheme, _, token = (presented.header(b"authorization") or b"").partition(b" ")
    return _fits(secrets, token.strip() if scheme.lower() == b"bearer" else None)


def _basic(wanted: BasicCredential, presented: Presented) -> bool:
    scheme, _, given = (presented.header(b"authorization") or b"").partition(b" ")
    pairs = [SecretStr(f"{wanted.user}:{each.get_secret_value()}") for each in wanted.password if each]
    return _fits(pairs, _base64(given.strip()) if scheme.lower() == b"basic" else None)


def _hmac(wanted: HmacCredential, presented: Presented, body: bytes) -> bool:
    given = (presented.header(wanted.header) or b"").strip()
    digest = _digest_of(given[len(b"sha256=") :] if given[:7].lower() == b"sha256=" else given)
    made = [hmac.digest(secret, body, hashlib.sha256) for secret in live(wanted.secret)]
    fits = [hmac.compare_digest(each, digest or b"") for each in made]
    return any(fits)


def _digest_of(text: bytes) -> bytes | None:
    """A digest in hex or base64."""
    try:
        return bytes.fromhex(text.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return _base64(text)


def _base64(text: bytes) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (NotBase64Error, ValueError):
        return None


def _standard_webhook(
    wanted: StandardWebhooksCredential, presented: Presented, body: bytes, now: datetime
) -> bool:
    """HMAC of id, timestamp and body, within the tolerance of `now`; of several signatures one must fit."""
    names = (DELIVERY_ID, b"webhook-timestamp", b"webhook-signature")
    id_, timestamp, signatures = (presented.header(name) or b"" for name in names)
    signed = b".".join((id_, timestamp, body))
    made = [
        b"v1," + b64encode(hmac.digest(_key(secret), signed, hashlib.sha256))
        for secret in live(wanted.secret)
    ]
    given = signatures.split(b" ")[:_MOST_SIGNATURES]
    fits = [hmac.compare_digest(each, one) for each in made for one in given]
    return any(fits) and bool(id_) and _is_recent(timestamp, now, wanted.tolerance.total_seconds())


_MOST_SIGNATURES = 8
"""Of a sender that exchanges its secrets; more would be work for nothing."""


def _key(secret: bytes) -> bytes:
    """`whsec_` and base64, as the standard has it; else the bytes themselves."""
    if secret.startswith(b"whsec_"):
        return _base64(secret[len(b"whsec_") :]) or secret
    return secret


def _is_recent(timestamp: bytes, now: datetime, tolerance: float) -> bool:
    """Seconds since 1970: neither older nor newer than the tolerance, or a recorded request could be played
    again."""
    if not timestamp.isdigit() or len(timestamp) > 12:
        return False
    return abs(now.astimezone(UTC).timestamp() - int(timestamp)) <= tolerance
