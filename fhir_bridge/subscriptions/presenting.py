"""What a server is to present to us, as it is told in a Subscription: our credentials as headers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence

from pydantic import SecretStr

from fhir_bridge.settings.tables import SourceSettings
from fhir_bridge.settings.webhook import CredentialSettings

SIGNS = "medplum"
"""The vendor whose Subscription has a place for a secret to sign with."""


def channel_headers(credentials: CredentialSettings | None) -> tuple[tuple[str, str], ...]:
    """The headers that carry a source's credentials, (name, value); nothing for what no header can say: a
    signature, a certificate. Of several secrets the first is told."""
    return () if credentials is None else tuple(_headers(credentials))


def _headers(credentials: CredentialSettings) -> Iterator[tuple[str, str]]:
    if bearer := _first(credentials.bearer):
        yield "Authorization", f"Bearer {bearer}"
    if (basic := credentials.basic) and (password := _first(basic.password)):
        yield "Authorization", f"Basic {b64encode(f'{basic.user}:{password}'.encode()).decode()}"
    if (header := credentials.header) and (value := _first(header.value)):
        yield header.name, value


def signing_secret(settings: SourceSettings) -> str | None:
    """The secret that Medplum is to sign with; other servers have no place for one."""
    credentials = settings.credentials
    if settings.vendor != SIGNS or credentials is None or credentials.hmac is None:
        return None
    return _first(credentials.hmac.secret)


def _first(secrets: Sequence[SecretStr | None] | None) -> str | None:
    return next((each.get_secret_value() for each in secrets or () if each is not None), None)
