"""How we show who we are: not at all, a fixed header, or a token that is fetched and kept (see `smart`)."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple, Protocol

import httpx
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.network import bearer


class Credentials(NamedTuple):
    """In words, never the secret itself. `scope` is what a token was granted, None where nobody says."""

    words: str
    scope: str | None = None


class Authorization(Protocol):
    """Gives the value of the Authorization header; `http` is for asking a token server, never for the
    resource."""

    async def header(self, http: httpx.AsyncClient) -> str | None:
        """The value, None for none. Raises FhirServerError where no token can be had."""
        ...

    def refused(self, value: str | None) -> bool:
        """The server answered 401 to this value: True where another one may be had."""
        ...

    async def told(self, http: httpx.AsyncClient) -> Credentials:
        """What may be said of them, once they are at hand. Raises FhirServerError as `header` does."""
        ...


class Anonymous:
    """No credentials: a test server, or a client certificate alone."""

    async def header(self, http: httpx.AsyncClient) -> str | None:
        """Always None."""
        return None

    def refused(self, value: str | None) -> bool:
        """There is no other."""
        return False

    async def told(self, http: httpx.AsyncClient) -> Credentials:
        """None."""
        return Credentials("without credentials")


class Fixed:
    """A header that stays: a static Bearer token, or HTTP Basic."""

    def __init__(self, value: SecretStr, words: str) -> None:
        self._value, self._words = value, words

    async def told(self, http: httpx.AsyncClient) -> Credentials:
        """Which of the two."""
        return Credentials(self._words)

    async def header(self, http: httpx.AsyncClient) -> str | None:
        """Always the same."""
        return self._value.get_secret_value()

    def refused(self, value: str | None) -> bool:
        """There is no other."""
        return False


def static_bearer(token: SecretStr) -> Fixed:
    """`Bearer …`. Raises SettingsError for a token no header can carry, without showing it."""
    return Fixed(SecretStr(bearer(token, "client.bearer")), "a token that stays the same")


def basic(user: str, password: SecretStr) -> Fixed:
    """`Basic …` (RFC 7617, in UTF-8). Raises SettingsError for a user name with a colon."""
    if ":" in user:
        raise SettingsError("client.user must not hold a colon: HTTP Basic cannot carry it", code="basic")
    pair = f"{user}:{password.get_secret_value()}".encode()
    return Fixed(SecretStr(f"Basic {b64encode(pair).decode()}"), f"HTTP Basic as {user}")
