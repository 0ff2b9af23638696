"""One request, from its headers to the commit: who sends it, whether it can be read, and that it is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NoReturn

from starlette.requests import Request

from fhir_bridge.errors import InputError, LedgerError
from fhir_bridge.intake.notifications import DELETED_HEADER, Route, check
from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.webhook.answers import RefusedError, unauthorized, unavailable
from fhir_bridge.webhook.bodies import Bodies
from fhir_bridge.webhook.credentials import DELIVERY_ID, Credentials, Presented
from fhir_bridge.webhook.keeping import InboxWriter

_TYPE = re.compile(r"[A-Za-z]{1,64}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # https://hl7.org/fhir/R4/datatypes.html#id
_DELETED = DELETED_HEADER.lower().encode()
_LABEL = re.compile(rf"{_TYPE.pattern}/{_ID.pattern}")
_DELIVERY = re.compile(rb"[!-~]{1,128}")
_XML = re.compile(rb"\s*(?:application|text)/(?:fhir\+)?xml\b", re.IGNORECASE)


class Door:
    """Takes messages of these sources; None for one that needs no credentials (`--insecure`)."""

    def __init__(
        self,
        sources: Mapping[str, Credentials | None],
        bodies: Bodies,
        writer: InboxWriter,
        clock: Callable[[], datetime],
    ) -> None:
        self._sources = sources
        self._bodies = bodies
        self._writer = writer
        self._clock = clock
        kinds = {kind for each in sources.values() if each for kind in each.kinds}
        self._challenge = 'Basic realm="fhir-bridge"' if kinds == {"basic"} else "Bearer"

    async def take(self, request: Request) -> str:
        """Keep what a request brings; gives the name of its source once it is committed.

        Raises RefusedError with what the sender is to be told, and GoneError where nobody waits for it.
        """
        name = request.path_params["source"]
        presented = Presented(request.scope["headers"], request.client.host if request.client else None)
        candidates = self._candidates(presented)
        encoding = _demand_readable(presented)
        declared = presented.header(b"content-length")
        body = await self._bodies.read(
            request.receive, int(declared) if declared and declared.isdigit() else None
        )
        size = len(body)
        try:
            self._demand_right(name, candidates, presented, body)
            route = _route(request, presented)
            unpacked = self._bodies.unpacked(body, encoding)
            _demand_fhir(unpacked, route)
            await self._keep(self._message(name, unpacked, route, presented))
        finally:
            self._bodies.give_back(size)
        return str(name)

    def _candidates(self, presented: Presented) -> list[str]:
        """The sources these headers may speak for. Raises RefusedError (401) where there are none."""
        fitting = [
            source
            for source, credentials in self._sources.items()
            if credentials is None or credentials.fit(presented)
        ]
        if not fitting:
            raise unauthorized(self._challenge)
        return fitting

    def _demand_right(self, name: str, candidates: list[str], presented: Presented, body: bytes) -> None:
        """Raises RefusedError: 401, for a wrong name as for wrong credentials, so that who may not send
        learns nothing of names; 404 to who may send under another name."""
        signed = [
            source
            for source in ([name] if name in candidates else candidates)
            if self._signs(source, presented, body)
        ]
        if name in signed:
            return
        if name in self._sources or not signed:
            raise unauthorized(self._challenge)
        raise RefusedError(
            404, "not-found", "no-such-source", "there is no source of this name in bridge.toml"
        )

    def _signs(self, source: str, presented: Presented, body: bytes) -> bool:
        credentials = self._sources[source]
        return credentials is None or credentials.sign(presented, body, self._clock())

    def _message(self, source: str, body: bytes, route: Route, presented: Presented) -> Received:
        delivery = presented.header(DELIVERY_ID)
        numbered = delivery is not None and _DELIVERY.fullmatch(delivery)
        return Received(
            source,
            body,
            self._clock(),
            route.method,
            route.label,
            route.deleted,
            delivery.decode("ascii") if delivery and numbered else None,
        )

    async def _keep(self, message: Received) -> None:
        """Until it is committed. Raises RefusedError (503) where it may not be: then nobody is told it is."""
        try:
            await self._writer.put(message)
        except TimeoutError:
            raise unavailable("ledger-slow", "the ledger takes too long at this moment") from None
        except LedgerError as error:
            raise unavailable(error.code, "the ledger cannot be written at this moment") from None


def _demand_readable(presented: Presented) -> bytes:
    """The content encoding. Raises RefusedError (415) for a type that is never read."""
    if _XML.match(presented.header(b"content-type") or b""):
        _refuse_xml()
    return presented.header(b"content-encoding") or b""


def _demand_fhir(body: bytes, route: Route) -> None:
    """Raises RefusedError: 400, or 415 for XML whatever it is called."""
    try:
        check(body, route)
    except InputError as error:
        if error.code == "xml":
            _refuse_xml()
        raise RefusedError(400, "structure", error.code, str(error)) from None


def _refuse_xml() -> NoReturn:
    raise RefusedError(
        415, "not-supported", "xml", "FHIR is read in JSON: set the Subscription's payload to it"
    ) from None


def _route(request: Request, presented: Presented) -> Route:
    """What path, method and header say. Raises RefusedError (400) for what FHIR has no such id for."""
    kind, id_ = request.path_params.get("type"), request.path_params.get("id")
    if (kind is not None and not _TYPE.fullmatch(kind)) or (id_ is not None and not _ID.fullmatch(id_)):
        raise RefusedError(400, "value", "path", "the path's Type/id is none of FHIR's")
    deleted = presented.header(_DELETED)
    label = None if deleted is None else deleted.decode("latin-1").strip()
    if label is not None and not _LABEL.fullmatch(label):
        raise RefusedError(400, "value", "deleted-header", f"{DELETED_HEADER}: not Type/id")
    return Route(request.method, kind, id_, label)
