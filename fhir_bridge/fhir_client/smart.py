"""SMART Backend Services: a signed assertion for a token, kept until shortly before it ends
(https://hl7.org/fhir/smart-app-launch/backend-services.html)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import httpx
import msgspec
from pydantic import SecretStr

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import failure
from fhir_bridge.fhir_client.authorization import Credentials
from fhir_bridge.fhir_client.keys import SigningKey
from fhir_bridge.network import is_safe

WELL_KNOWN = ".well-known/smart-configuration"
ASSERTION_LIFE = 240
"""Seconds; the standard allows 300, and clocks differ."""

ANY_READ = "system/*.read"
ANY_READ_2 = "system/*.rs"
_LIFE_UNSAID = 300
_TRIES = 3
_WORD = re.compile(r"[a-zA-Z_\-]{1,64}")
_HINTS = {
    "invalid_client": "does the server know this client_id, and the public half of this key under key_id?",
    "invalid_scope": "the server grants other scopes: set `scope` of this source's client to what was agreed",
    "unauthorized_client": "the registration does not allow client_credentials: ask for Backend Services",
    "invalid_grant": "it does not take the assertion: is the clock right? `fhir-bridge check` compares",
    "invalid_request": "the token endpoint is stricter than the standard: is token_url right?",
}
_CHECK = "`fhir-bridge check` tries it step by step"


class Configuration(msgspec.Struct):
    """What a server says of its authorization server."""

    token_endpoint: str | None = None
    scopes_supported: list[str] = []
    token_endpoint_auth_methods_supported: list[str] = []
    capabilities: list[str] = []


class _Granted(msgspec.Struct):
    access_token: str | None = None
    expires_in: int | float | str | None = None
    scope: str | None = None


class _Refused(msgspec.Struct):
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token, until when it is used (seconds, monotonic), and the scope it was granted."""

    value: SecretStr
    until: float
    scope: str | None


class BackendServices:
    """Authorization by SMART Backend Services at `base_url`'s authorization server.

    `token_url`: where tokens are had; without it what the server's own configuration says. `scope`: what is
    asked for; without it to read everything the server offers to read.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        key: SigningKey,
        *,
        token_url: str | None = None,
        scope: str | None = None,
    ) -> None:
        self._base_url, self._client_id, self._key = base_url, client_id, key
        self._token_url, self._scope = token_url, scope
        self._token: Token | None = None
        self._asking = asyncio.Lock()
        self._place: tuple[str, str] | None = None

    async def header(self, http: httpx.AsyncClient) -> str | None:
        """`Bearer …`, with a token that lasts a while yet; those who wait for a new one wait for the same."""
        return f"Bearer {(await self.token(http)).value.get_secret_value()}"

    def refused(self, value: str | None) -> bool:
        """Forget the token that a 401 answered; there is always another to ask for."""
        if self._token is not None and value == f"Bearer {self._token.value.get_secret_value()}":
            self._token = None
        return True

    async def told(self, http: httpx.AsyncClient) -> Credentials:
        """The token's life and scope, and how it was asked for."""
        token = await self.token(http)
        url, scope = await self.place(http)
        seconds = round(token.until - time.monotonic())
        words = (
            f"a token from {httpx.URL(url).host}, asked for with {self._key.algorithm} under kid "
            f"{self._key.key_id}, used for {seconds} s, scope {token.scope or scope}"
        )
        return Credentials(words, token.scope or scope)

    async def token(self, http: httpx.AsyncClient) -> Token:
        """The token in force. Raises FhirServerError."""
        async with self._asking:
            if self._token is None or self._token.until <= time.monotonic():
                self._token = await self._fetched(http)
            return self._token

    async def configuration(self, http: httpx.AsyncClient) -> Configuration:
        """What stands at `.well-known/smart-configuration`. Raises FhirServerError `smart-configuration`."""
        try:
            response = await http.get(
                f"{self._base_url}/{WELL_KNOWN}", headers={"Accept": "application/json"}
            )
            if response.is_success:
                return msgspec.json.decode(response.content, type=Configuration)
        except httpx.HTTPError as error:
            raise failure(error, "smart-configuration") from None
        except (msgspec.MsgspecError, UnicodeError):
            pass
        raise FhirServerError(
            f"smart-configuration: HTTP {response.status_code}, and nothing to be read there",
            code="smart-configuration",
            hint="set token_url, or use `bearer`, `user` or a certificate if this is no SMART server",
            status=response.status_code,
        )

    async def place(self, http: httpx.AsyncClient) -> tuple[str, str]:
        """Where a token is had, and the scope to ask for; both as set, else as the server says."""
        if self._place is None:
            if self._token_url and self._scope:
                found = Configuration()
            else:
                found = await self._said(http)
            url = self._token_url or found.token_endpoint
            if not url or not is_safe(httpx.URL(url)):
                raise FhirServerError(
                    "smart-configuration: it names no token endpoint with https",
                    code="smart-configuration",
                    hint="set token_url of this source's client",
                )
            self._place = url, self._scope or read_scopes(found.scopes_supported)
        return self._place

    async def _said(self, http: httpx.AsyncClient) -> Configuration:
        """The configuration; where only the scopes are missing, none is as good."""
        try:
            return await self.configuration(http)
        except FhirServerError:
            if self._token_url is None:
                raise
            return Configuration()

    async def _fetched(self, http: httpx.AsyncClient) -> Token:
        url, scope = await self.place(http)
        for attempt in range(_TRIES):
            began = time.monotonic()
            try:
                response = await http.post(url, data=self._form(url, scope), headers=_headers())
            except httpx.HTTPError as error:
                raise failure(error, "token endpoint") from None
            if response.status_code not in (429, 502, 503, 504) or attempt + 1 == _TRIES:
                break
            await asyncio.sleep(2**attempt / 2)
        return _granted(response, began)

    def _form(self, url: str, scope: str) -> dict[str, str]:
        """The request's form; an assertion is used once, so each has a `jti` of its own."""
        claims: dict[str, str | int] = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": url,
            "exp": int(time.time()) + ASSERTION_LIFE,
            "jti": str(uuid4()),
        }
        return {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._key.signed(claims),
        }


def covers(scope: str, resource_type: str) -> bool:
    """Whether a granted scope lets us read a type, in the first or second version of SMART's spelling."""
    for each in scope.split():
        match = re.fullmatch(r"(?:system|user|patient)/(\*|[A-Za-z]+)\.(\*|read|[cruds]+)(?:\?.*)?", each)
        if match and match[1] in ("*", resource_type) and (match[2] in ("*", "read") or "r" in match[2]):
            return True
    return False


def read_scopes(supported: Sequence[str]) -> str:
    """What to ask for by default: to read everything, as the server spells it; else each type it lists."""
    for whole in (ANY_READ_2, ANY_READ):
        if whole in supported:
            return whole
    each = [scope for scope in supported if re.fullmatch(r"system/[A-Za-z]+\.(read|r?s|rs)", scope)]
    return " ".join(each) or ANY_READ


def _granted(response: httpx.Response, began: float) -> Token:
    try:
        granted = msgspec.json.decode(response.content, type=_Granted)
    except (msgspec.MsgspecError, UnicodeError):
        granted = _Granted()
    if not response.is_success or not granted.access_token:
        raise _refusal(response)
    try:
        life = float(granted.expires_in or _LIFE_UNSAID)
    except ValueError:
        life = _LIFE_UNSAID
    # Refreshed early, so that no request arrives with a token that ends on the way.
    return Token(SecretStr(granted.access_token), began + life - min(60.0, life / 5), granted.scope)


def _refusal(response: httpx.Response) -> FhirServerError:
    """The error in OAuth's own word; its description may repeat what was sent."""
    try:
        said = msgspec.json.decode(response.content, type=_Refused).error or ""
    except (msgspec.MsgspecError, UnicodeError):
        said = ""
    word = said if _WORD.fullmatch(said) else ""
    return FhirServerError(
        f"token endpoint: HTTP {response.status_code}{f' ({word})' if word else ', and no token'}",
        code="token-refused",
        hint=_HINTS.get(word, _CHECK),
        status=response.status_code,
    )


def _headers() -> dict[str, str]:
    return {"Accept": "application/json"}
