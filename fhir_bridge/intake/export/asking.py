"""What is to be asked for where the command line leaves it open: the types that the bridge reads."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from fhir_bridge.fhir.views import VIEWS
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.crawl_plan import CrawlRules
from fhir_bridge.intake.export.request import HEADERS, ExportRequest


async def types_read(server: FhirServer) -> tuple[str, ...]:
    """The resource types that the bridge has a use for, and of which the server does not say that it lacks
    them. Raises FhirServerError."""
    capabilities = await server.supports()
    return tuple(name for name in sorted(VIEWS) if not capabilities.lacks(name))


def told(request: ExportRequest, *, post: bool) -> str:
    """The kick-off request as it goes over the wire, but for the token."""
    line = f"POST {request.url}" if post else f"GET {request.kick_off_url()}"
    lines = [line, *(f"{name}: {value}" for name, value in HEADERS.items())]
    if post:
        body = msgspec.json.format(msgspec.json.encode(request.body()), indent=2).decode()
        lines += ["Content-Type: application/fhir+json", "", body]
    return "\n".join(lines)


def told_searches(request: ExportRequest, rules: CrawlRules, kinds: Sequence[str]) -> str:
    """What a crawl searches for besides, one patient for all; `kinds` are those known not to be exported."""
    lines = [
        f"GET {request.base_url}/{kind}?{urlencode(search, safe=',:{}/')}"
        for kind in kinds
        for searches in (rules.of_patients(kind, ["{id}"]) if rules.by_patient.get(kind) else ())
        for search in searches
    ]
    if not kinds:
        return "\nthen searches for what of Appointments and orders the export holds nothing of"
    return "\n".join(["\nthen, for each patient:", *lines])
