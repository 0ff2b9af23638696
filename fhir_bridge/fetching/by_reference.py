"""Resources that others refer to, read from the source's server or the one that they name."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_bridge.case.wanted import Missing
from fhir_bridge.errors import FhirServerError
from fhir_bridge.fetching.keeping import Keeping
from fhir_bridge.fhir_client.answers import is_of_one
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.fhir_client.together import together


class ByReference:
    """Puts what it reads into `keeping`, and why not what it cannot."""

    def __init__(self, server: FhirServer, keeping: Keeping) -> None:
        self._server, self._keeping = server, keeping

    async def fetch(self, references: Sequence[Missing]) -> None:
        """Resources by reference: those on the source's own server together, the others one by one."""
        own = {each: name for each in references if (name := self._own(each))}
        answers = await self._server.read_many([name for each, name in own.items() if not _version(each)])
        others = [each for each in references if each not in own or _version(each)]
        singly = await together(self._fetch_one(each) for each in others)
        for (kind, id_), answer in answers.items():
            self._keeping.keep_one(f"{kind}/{id_}", answer, f"{self._server.base_url}/{kind}/{id_}")
        for each, answer in zip(others, singly, strict=True):
            url = each.target.url if each not in own else None
            url = url or f"{self._server.base_url}/{each.target.label}"
            self._keeping.keep_one(each.target.label or "", answer, url)

    def _own(self, missing: Missing) -> tuple[str, str] | None:
        """Type and id on the source's own server; None for a reference to another one."""
        target = missing.target
        if target.base not in (None, self._server.base_url) or not (target.type and target.id):
            return None
        return target.type, target.id

    async def _fetch_one(self, missing: Missing) -> bytes | FhirServerError:
        """A version, else the current one; or what stands on another server that is listed."""
        target, name = missing.target, self._own(missing)
        try:
            if name is None:
                return await self._server.fetch(target.url or "")
            try:
                return await self._server.read(*name, target.version)
            except FhirServerError as error:
                if not is_of_one(error):
                    raise
                return await self._server.read(*name)
        except FhirServerError as error:
            if is_of_one(error):
                return error
            raise


def _version(missing: Missing) -> str | None:
    """The version that is asked for, where another would not do as well."""
    return None if missing.current else missing.target.version
