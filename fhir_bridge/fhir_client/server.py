"""A FHIR server as the bridge uses it: read, search, operations, and the Subscriptions it keeps for us.

The one place that talks to a source (intake, "Reading from a FHIR server"). Bodies are bytes:
`fhir.documents.read` takes them apart.

Long because whatever a source is asked shares its token, its limits and what is known of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import Self

import httpx

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client import answers, references
from fhir_bridge.fhir_client.addresses import base_address, below
from fhir_bridge.fhir_client.answers import checked, failure, is_of_one, not_fhir, other_resource
from fhir_bridge.fhir_client.authorization import Anonymous, Authorization, Credentials
from fhir_bridge.fhir_client.capabilities import NOTHING_SAID, Capabilities, capabilities_of
from fhir_bridge.fhir_client.exchange import Asked, Exchange
from fhir_bridge.fhir_client.many import MOST_IN_BATCH, Name, answers_of, batch_of
from fhir_bridge.fhir_client.pages import page_of
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.references import resource_path
from fhir_bridge.fhir_client.route import Route, client_for
from fhir_bridge.fhir_client.stored import Stored, stored
from fhir_bridge.fhir_client.together import together

FHIR_JSON = "application/fhir+json"
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer that is kept in memory; what may be larger is streamed."""

MOST_PAGES = 1000
"""Of one search, unless more are expected: a server that always has a next page is stopped."""

Parameters = Sequence[tuple[str, str]]


class FhirServer:
    """One FHIR server; an async context manager, shared by all that ask it, for its limits are for all.

    `other_bases` are addresses besides its own from which an absolute reference may be fetched, without our
    credentials. Raises SettingsError for an address, proxy or certificate that cannot be used. Every method
    raises FhirServerError (`unreachable`, `timeout`, `tls`, `proxy`, `unknown-host`, `not-found`, `gone`,
    `unauthorized`, `forbidden`, `rate-limited`, `overloaded`, `http-NNN`, `not-fhir`, `too-large`,
    `other-resource`, `foreign-link`, `paging-loop`, `token-…`).
    """

    def __init__(
        self,
        base_url: str,
        *,
        authorization: Authorization | None = None,
        route: Route | None = None,
        limits: Limits | None = None,
        other_bases: Sequence[str] = (),
        rng: Random | None = None,
    ) -> None:
        self._base = base_address(base_url)
        self._other_bases = tuple(base_address(other) for other in other_bases)
        self._limits = limits or Limits()
        self._http = client_for(self._base, route or Route(), self._limits)
        self._authorization = authorization or Anonymous()
        self._exchange = Exchange(self._base, self._http, self._authorization, self._limits, rng or Random())
        self._reading: dict[str, asyncio.Task[bytes]] = {}
        self._asking, self._finding_out = asyncio.Lock(), asyncio.Lock()
        self._statement: bytes | None = None
        self._said: Capabilities | None = None

    @property
    def base_url(self) -> str:
        """The base, without a final slash."""
        return str(self._base)

    def __repr__(self) -> str:
        return f"FhirServer({self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of what is being read, and close all connections."""
        for task in list(self._reading.values()):
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        await self._http.aclose()

    # -- reading --

    async def read(self, resource_type: str, id: str, version_id: str | None = None) -> bytes:
        """One resource; that version of it where one is given (`vread`). Reads of one resource at one time
        are one request."""
        path = resource_path(resource_type, id, version_id)
        url = below(self._base, f"{self.base_url}/{path}", path)
        return await self._read_once(Asked("GET", url, f"read of {resource_type}", headers=_accept()))

    async def read_many(self, names: Sequence[Name]) -> dict[Name, bytes | FhirServerError]:
        """Several resources by type and id, each with its body or why there is none.

        As one batch where the server says that it takes batches, else, or where it does not after all, one by
        one. Raises FhirServerError for what would meet every one of them: no answer, no token.
        """
        answered: dict[Name, bytes | FhirServerError] = {}
        wanted: list[Name] = []
        for name in dict.fromkeys(names):
            try:
                resource_path(*name)
            except FhirServerError as error:
                answered[name] = error
            else:
                wanted.append(name)
        if len(wanted) > 2 and "batch" in (await self.known()).interactions:
            for at in range(0, len(wanted), MOST_IN_BATCH):
                answered |= await self._batched(wanted[at : at + MOST_IN_BATCH])
        rest = [name for name in wanted if name not in answered]
        singly = await together(self._read_or_refused(name) for name in rest)
        return answered | dict(zip(rest, singly, strict=True))

    async def _batched(self, names: Sequence[Name]) -> dict[Name, bytes | FhirServerError]:
        """The answers to one batch; none where the server takes no batch after all."""
        paths = [resource_path(*name) for name in names]
        headers = {**_accept(), "Content-Type": FHIR_JSON}
        asked = Asked("POST", self._base, "batch of reads", headers, batch_of(paths))
        response = await self._answer(asked)
        if response.status_code in (401, 429) or response.status_code >= 502:
            checked(response, asked.what)
        answers = answers_of(response.content, paths) if response.is_success else None
        return {} if answers is None else dict(zip(names, answers, strict=True))

    async def _read_or_refused(self, name: Name) -> bytes | FhirServerError:
        try:
            return await self.read(*name)
        except FhirServerError as error:
            if is_of_one(error):
                return error
            raise

    async def fetch(self, reference: str) -> bytes:
        """What a literal reference names: relative, or absolute on the server's own base or a listed one.
        Anything else raises `foreign-link` unasked."""
        for base in (self._base, *self._other_bases):
            try:
                url = below(base, reference, "a reference")
            except FhirServerError:
                continue
            asked = Asked("GET", url, "read of a reference", headers=_accept(), elsewhere=base != self._base)
            return await self._read_once(asked)
        raise references.foreign(reference)

    async def search(
        self,
        resource_type: str,
        parameters: Parameters,
        *,
        limit: int | None = None,
        most_pages: int = MOST_PAGES,
    ) -> AsyncIterator[bytes]:
        """Each page of a search, a Bundle; pages follow while fewer than `limit` matches were given.

        Only links on the server's own base are followed.
        """
        what = f"search of {resource_type} by {', '.join(name for name, _ in parameters) or 'nothing'}"
        url: httpx.URL | None = self._url(resource_type).copy_merge_params(list(parameters))
        asked_for: set[httpx.URL] = set()
        matches = 0
        while url is not None:
            if url in asked_for or len(asked_for) == most_pages:
                raise FhirServerError(f"{what}: its pages have no end", code="paging-loop")
            asked_for.add(url)
            body = await self._get(Asked("GET", url, what, headers=_accept()))
            page = page_of(body)
            if page is None:
                raise not_fhir(what, "the answer is no Bundle")
            yield body
            matches += page.matches
            done = page.next is None or (limit is not None and matches >= limit)
            url = (
                None if done or page.next is None else below(self._base, page.next, f"{what}: the next page")
            )

    async def operation(self, path: str, parameters: Parameters = ()) -> bytes:
        """GET of an operation or of any other path below the base, such as `Subscription/1/$events`."""
        url = self._url(path).copy_merge_params(list(parameters))
        return await self._get(Asked("GET", url, f"operation {path.rpartition('/')[2]}", headers=_accept()))

    async def capabilities(self) -> bytes:
        """The CapabilityStatement, asked for once; without credentials first, as the standard has it."""
        async with self._asking:
            if self._statement is None:
                self._statement = await self._asked_for_statement()
            return self._statement

    async def _asked_for_statement(self) -> bytes:
        asked = Asked("GET", self._url("metadata"), "metadata", headers=_accept(), authorised=False)
        response = await self._answer(asked)
        if response.status_code in (401, 403):
            response = await self._answer(Asked("GET", asked.url, asked.what, headers=_accept()))
        body = checked(response, asked.what).content
        self._said = capabilities_of(body)
        return body

    async def supports(self) -> Capabilities:
        """What the CapabilityStatement says that the server can do."""
        if self._said is None:
            statement = await self.capabilities()
            self._said = self._said or capabilities_of(statement)
        return self._said

    async def known(self) -> Capabilities:
        """The same; nothing where the server does not say, or not in FHIR. Raises FhirServerError where it
        does not answer."""
        async with self._finding_out:
            try:
                return await self.supports()
            except FhirServerError as error:
                if not is_of_one(error):
                    raise
                # A server that has no statement has none tomorrow either.
                self._said = NOTHING_SAID
                return NOTHING_SAID

    async def credentials(self) -> Credentials:
        """What we show the server, in words; a token is asked for where it takes one."""
        return await self._authorization.told(self._http)

    # -- what we keep there --

    async def create(self, resource_type: str, body: bytes) -> Stored:
        """Have a resource kept under an id of the server's choosing. Never sent twice by itself."""
        asked = self._writing("POST", self._url(resource_type), f"create of {resource_type}", body)
        return stored(checked(await self._answer(asked), asked.what), asked.what)

    async def update(
        self, resource_type: str, id: str, body: bytes, *, if_version: str | None = None
    ) -> Stored:
        """Put a resource in the place of the one there; with `if_version` only where that is the current one,
        else `version-conflict`."""
        asked = self._writing(
            "PUT", self._url(resource_path(resource_type, id)), f"update of {resource_type}", body, if_version
        )
        return stored(checked(await self._answer(asked), asked.what), asked.what, id)

    async def delete(self, resource_type: str, id: str) -> None:
        """Take a resource away; one that is not there any more is no error."""
        url = self._url(resource_path(resource_type, id))
        asked = Asked("DELETE", url, f"delete of {resource_type}", headers=_accept())
        response = await self._answer(asked)
        if response.status_code not in (404, 410):
            checked(response, asked.what)

    # -- for the bulk client --

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        elsewhere: bool = False,
        authorised: bool = True,
        again: bool | None = None,
    ) -> httpx.Response:
        """The answer to any request, whatever its status, body read (at most MOST_BYTES).

        `url` is absolute or below the base; another host is asked only with `elsewhere`, and never with our
        credentials. `again`: whether it may be asked once more after 429, 502, 503, 504 or no answer; by
        default only a GET, HEAD or DELETE.
        """
        return await self._answer(self._any(method, url, content, headers, elsewhere, authorised, again))

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        elsewhere: bool = False,
        authorised: bool = True,
        again: bool | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """The same with the body unread: `aiter_bytes()` is the caller's, and so is its end; it holds one of
        the places in flight meanwhile. Where the body breaks off FhirServerError is raised, too."""
        asked = self._any(method, url, content, headers, elsewhere, authorised, again)
        async with self._exchange.answered(asked) as response:
            try:
                yield response
            except httpx.HTTPError as error:
                raise failure(error, asked.what) from None

    # -- how --

    def _url(self, path: str) -> httpx.URL:
        return below(self._base, f"{self.base_url}/{path}", "a request")

    def _any(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        elsewhere: bool,
        authorised: bool,
        again: bool | None,
    ) -> Asked:
        target = httpx.URL(f"{self.base_url}/").join(url)
        may = again if again is not None else method in ("GET", "HEAD", "DELETE")
        return Asked(
            method, target, f"{method} request", headers or _accept(), content, may, elsewhere, authorised
        )

    def _writing(
        self, method: str, url: httpx.URL, what: str, body: bytes, if_version: str | None = None
    ) -> Asked:
        headers = {**_accept(), "Content-Type": FHIR_JSON, "Prefer": "return=representation"}
        if if_version is not None:
            headers["If-Match"] = f'W/"{if_version}"'
        return Asked(method, url, what, headers, body, again=False)

    async def _read_once(self, asked: Asked) -> bytes:
        """A resource, asked for once by all who want it at the moment."""
        key = str(asked.url)
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._resource(asked))
            task.add_done_callback(lambda done: self._forget(key, done))
        # Whoever gives up must not take the answer away from the others.
        return await asyncio.shield(task)

    def _forget(self, key: str, task: asyncio.Task[bytes]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            task.exception()  # or asyncio complains where everybody had given up

    async def _resource(self, asked: Asked) -> bytes:
        body = await self._get(asked)
        if not references.is_resource(body):
            raise not_fhir(asked.what, "the answer is no resource")
        if not references.is_answer(body, asked.url.path):
            raise other_resource(asked.what)
        return body

    async def _get(self, asked: Asked) -> bytes:
        response = checked(await self._answer(asked), asked.what)
        if "html" in answers.media_type(response):
            raise not_fhir(asked.what, "the answer is a web page")
        return response.content

    async def _answer(self, asked: Asked) -> httpx.Response:
        """The answer with its body."""
        async with self._exchange.answered(asked) as response:
            body = bytearray()
            try:
                async with asyncio.timeout(self._limits.timeout):
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MOST_BYTES:
                            raise FhirServerError(
                                f"{asked.what}: the answer is larger than we take", code="too-large"
                            )
            except (httpx.HTTPError, OSError, TimeoutError) as error:
                raise failure(error, asked.what) from None
            headers = [
                (name, value)
                for name, value in response.headers.multi_items()
                if name not in ("content-encoding", "transfer-encoding", "content-length")
            ]
            return httpx.Response(
                response.status_code, headers=headers, content=bytes(body), request=response.request
            )


def _accept() -> dict[str, str]:
    return {"Accept": FHIR_JSON}
