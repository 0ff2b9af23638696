"""What a server is to present to us, as it is told in a Subscription: our credentials as headers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence

from pydantic import SecretStr

from fhir_bridge.settings.tables import SourceSettings
from fhir_bridge.settings.webhook import CredentialSettings


def channel_headers(credentials: CredentialSettings | None) -> tuple[tuple[str, str], ...]:
    """The headers that carry a source's credentials, (name, value), each with the first of its live secrets;
    none for what no header can say."""
    return () if credentials is None else tuple(_headers(credentials))


def signing_secret(settings: SourceSettings) -> str | None:
    """The secret that Medplum is to sign with; other servers have no place for one."""
    credentials = settings.credentials
    return _first(credentials.hmac.secret) if credentials and credentials.hmac else None


def _headers(credentials: CredentialSettings) -> Iterator[tuple[str, str]]:
    if bearer := _first(credentials.bearer or ()):
        yield "Authorization", f"Bearer {bearer}"
    if credentials.basic and (password := _first(credentials.basic.password)):
        pair = f"{credentials.basic.user}:{password}".encode()
        yield "Authorization", f"Basic {b64encode(pair).decode()}"
    if credentials.header and (value := _first(credentials.header.value)):
        yield credentials.header.name, value


def _first(secrets: Sequence[SecretStr | None]) -> str | None:
    """None where the secret is not at hand."""
    return secrets[0].get_secret_value() if secrets and secrets[0] else None
