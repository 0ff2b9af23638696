"""One request to a FHIR server until it is answered: in its turn, authorised, asked once more where that may
help, and never sent with our credentials to another host (intake, "Reading from a FHIR server")."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random

import httpx

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.addresses import same_host
from fhir_bridge.fhir_client.answers import failure
from fhir_bridge.fhir_client.authorization import Authorization
from fhir_bridge.fhir_client.politeness import RETRIED, Limits, Turns, backoff, retry_after
from fhir_bridge.network import is_loopback, is_safe

MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `what` names it in messages, without values; `again`: asking twice does no harm.

    `elsewhere`: it may leave our server's host, by its address or a redirect, and does so without our
    credentials.
    """

    method: str
    url: httpx.URL
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    again: bool = True
    elsewhere: bool = False
    authorised: bool = True


class Exchange:
    """Sends requests to one server, whose base is `base`; within the limits, whoever asks."""

    def __init__(
        self,
        base: httpx.URL,
        http: httpx.AsyncClient,
        authorization: Authorization,
        limits: Limits,
        rng: Random,
    ) -> None:
        self._base, self._http, self._authorization = base, http, authorization
        self._limits, self._rng = limits, rng
        self._turns = Turns(limits)

    @contextlib.asynccontextmanager
    async def answered(self, asked: Asked) -> AsyncIterator[httpx.Response]:
        """The answer with its body unread: whatever its status, once asking again would not help.

        Raises FhirServerError for no answer at all and `foreign-link` for what must not be asked.
        """
        began = time.monotonic()
        for attempt in range(self._limits.tries):
            last = not asked.again or attempt + 1 == self._limits.tries
            async with contextlib.AsyncExitStack() as open_:
                await open_.enter_async_context(self._turns)
                try:
                    response = await open_.enter_async_context(self._authorised(asked))
                except FhirServerError as error:
                    if last or error.code not in ("unreachable", "timeout") or self._is_late(began, 0):
                        raise
                    wait = backoff(attempt, self._limits, self._rng)
                else:
                    wanted = self._wait_before_next(response, attempt)
                    if last or wanted is None or self._is_late(began, wanted):
                        yield response
                        return
                    wait = wanted
            await asyncio.sleep(wait)

    def _wait_before_next(self, response: httpx.Response, attempt: int) -> float | None:
        """Seconds until the same may be asked again; None where the answer is to be taken as it is."""
        if response.status_code not in RETRIED:
            return None
        told = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        if told is None:
            return backoff(attempt, self._limits, self._rng)
        if told > self._limits.retry_after_cap:
            return None
        self._turns.rest(told)
        return told

    def _is_late(self, began: float, wait: float) -> bool:
        return time.monotonic() - began + wait > self._limits.patience

    @contextlib.asynccontextmanager
    async def _authorised(self, asked: Asked) -> AsyncIterator[httpx.Response]:
        """The answer; after a 401 the one to another token, where there is one (once)."""
        header = await self._header(asked)
        async with self._redirected(asked, header) as response:
            if response.status_code != 401 or header is None or not self._authorization.refused(header):
                yield response
                return
        async with self._redirected(asked, await self._header(asked)) as response:
            yield response

    async def _header(self, asked: Asked) -> str | None:
        if not asked.authorised or not same_host(asked.url, self._base):
            return None
        return await self._authorization.header(self._http)

    @contextlib.asynccontextmanager
    async def _redirected(self, asked: Asked, header: str | None) -> AsyncIterator[httpx.Response]:
        """The answer after its redirects: of a read only, and to another host without our credentials."""
        for _ in range(MOST_REDIRECTS + 1):
            own = same_host(asked.url, self._base)
            if not own and not (asked.elsewhere and self._may_leave_for(asked.url)):
                raise _foreign(asked)
            async with self._sent(asked, header if own else None) as response:
                target = response.headers.get("location")
                moved = response.status_code in _REDIRECTS and target and asked.method == "GET"
                if not moved:
                    yield response
                    return
                asked = replace(asked, url=_joined(asked, target))
        raise FhirServerError(f"{asked.what}: redirected again and again", code="redirect-loop")

    def _may_leave_for(self, url: httpx.URL) -> bool:
        """Whether another address is encrypted. This machine's own plain ones are for a server on this
        machine: another must not make us ask what listens here."""
        return url.scheme == "https" or (is_safe(url) and is_loopback(self._base.host))

    @contextlib.asynccontextmanager
    async def _sent(self, asked: Asked, header: str | None) -> AsyncIterator[httpx.Response]:
        headers = dict(asked.headers) | ({"Authorization": header} if header is not None else {})
        request = self._http.build_request(asked.method, asked.url, headers=headers, content=asked.content)
        try:
            response = await self._http.send(request, stream=True)
        except (httpx.HTTPError, OSError) as error:
            raise failure(error, asked.what) from None
        try:
            yield response
        finally:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await response.aclose()


def _joined(asked: Asked, target: str) -> httpx.URL:
    try:
        return asked.url.join(target)
    except httpx.InvalidURL:
        raise _foreign(asked) from None


def _foreign(asked: Asked) -> FhirServerError:
    return FhirServerError(
        f"{asked.what}: leads to another host, or out of https: it is not followed",
        code="foreign-link",
        hint="base_url must be the address the server has for itself",
    )
