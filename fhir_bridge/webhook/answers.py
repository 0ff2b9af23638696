"""What a sender is answered: a small OperationOutcome, always (intake, section 1).

https://hl7.org/fhir/R4/operationoutcome.html, the same in R5: HAPI parses what it gets.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

FHIR_JSON = "application/fhir+json"


class RefusedError(Exception):
    """A request that is not taken: HTTP status, issue code of FHIR, our own code for counts and logs, and
    words that name no patient."""

    def __init__(
        self,
        status: int,
        issue: str,
        code: str,
        diagnostics: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.issue = issue
        self.code = code
        self.diagnostics = diagnostics
        self.headers = headers


def outcome(severity: str, issue: str, diagnostics: str) -> bytes:
    """An OperationOutcome with one issue, as JSON."""
    found = {"severity": severity, "code": issue, "diagnostics": diagnostics}
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [found]})


# Made once: a Response keeps nothing of the request that it answers.
_TAKEN = Response(
    outcome("information", "informational", "kept; it is processed afterwards"), media_type=FHIR_JSON
)


def taken() -> Response:
    """200: what came is committed."""
    return _TAKEN


def refused(error: RefusedError) -> Response:
    """Why it was not taken. Whoever sends it again is right to do so only after 408, 429 or 5xx."""
    return Response(
        outcome("error", error.issue, error.diagnostics), error.status, error.headers, media_type=FHIR_JSON
    )


def unauthorized(challenge: str) -> RefusedError:
    """401, the same whether a source is unknown or its credentials are wrong."""
    return RefusedError(
        401, "login", "credentials", "the credentials are missing or wrong", {"WWW-Authenticate": challenge}
    )


def too_large(most: int) -> RefusedError:
    """413: more bytes than `serve.max_body`, as sent or unpacked."""
    return RefusedError(413, "too-long", "too-large", f"a body may have at most {most} bytes")


def unavailable(code: str, diagnostics: str) -> RefusedError:
    """503: nothing was kept, so it is to be sent again."""
    return RefusedError(503, "transient", code, diagnostics, {"Retry-After": "5"})
