"""What a FHIR server's refusal means: a stable code, the codes of its OperationOutcome, and what to do next.

`issue.diagnostics` and `details.text` may quote a patient, so neither is ever part of a message
(https://hl7.org/fhir/R4/operationoutcome.html).
"""

from __future__ import annotations

import re
import socket
import ssl

import httpx
import msgspec

from fhir_bridge.errors import FhirServerError

_CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    410: "gone",
    412: "version-conflict",
    413: "too-large",
    429: "rate-limited",
    503: "overloaded",
}
_HINTS = {
    "unauthorized": "the server does not take our credentials: look at `client` of this source",
    "forbidden": "it knows us, and does not let us: ask its administrator for the scope or the type",
    "rate-limited": "it wants fewer requests: lower `rate` or `max_in_flight` of this source's client",
    "overloaded": "it has no time now; it will be asked again",
    "not-fhir": "is base_url right? `GET base_url/metadata` must answer with a CapabilityStatement in JSON",
    "timeout": "it answers too slowly, or a firewall drops what is sent; `timeout` is the client's",
    "unreachable": "is it up, is base_url right, and does the way out need network.proxy?",
    "unknown-host": "no name server knows this host: is base_url spelt right?",
    "tls": "its certificate is not trusted here: network.ca_bundle names the authorities to trust",
    "proxy": "network.proxy does not let us through",
}
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_PATH = re.compile(r"[A-Za-z0-9_.\-\[\]():/]{1,128}")
_MOST_ISSUES = 5


class _Coding(msgspec.Struct):
    code: str | None = None


class _Concept(msgspec.Struct):
    coding: list[_Coding] = []


class _Issue(msgspec.Struct):
    severity: str | None = None
    code: str | None = None
    details: _Concept | None = None
    expression: list[str] = []
    location: list[str] = []


class _Outcome(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    issue: list[_Issue] = []


_decode = msgspec.json.Decoder(_Outcome).decode


def issues(body: bytes) -> list[str]:
    """The issues of an OperationOutcome, each as `severity code detail-code at expression`; none where the
    body is none."""
    try:
        outcome = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    if outcome.resource_type != "OperationOutcome":
        return []
    return [_told(issue) for issue in outcome.issue[:_MOST_ISSUES]]


def _told(issue: _Issue) -> str:
    details = [coding.code for coding in issue.details.coding] if issue.details else []
    words = [word for word in (issue.severity, issue.code, *details) if word and _WORD.fullmatch(word)]
    places = [place for place in issue.expression or issue.location if _PATH.fullmatch(place)]
    return " ".join([*words, *(["at", places[0]] if places else [])])


def checked(response: httpx.Response, asked: str) -> httpx.Response:
    """The response where it is a success; its body must have been read. `asked` is what was asked, without
    values. Raises FhirServerError."""
    if response.is_success:
        return response
    raise refusal(response.status_code, response.content, asked)


def refusal(status: int, body: bytes, asked: str) -> FhirServerError:
    """The error for an answer that is no success."""
    code = _CODES.get(status, f"http-{status}")
    said = "; ".join(filter(None, issues(body)))
    return FhirServerError(
        f"{asked}: HTTP {status}{f' ({said})' if said else ''}",
        code=code,
        hint=_HINTS.get(code),
        status=status,
    )


def is_of_one(error: FhirServerError) -> bool:
    """Whether an error is about what was asked for, and the next question may well be answered: no 401, no
    lack of time, no lack of an answer."""
    if error.code in ("foreign-link", "bad-reference", "not-fhir", "other-resource", "too-large"):
        return True
    if error.code == "token-refused" or error.status is None:
        return False
    return 400 <= error.status < 500 and error.status not in (401, 408, 429)


def not_fhir(asked: str, what: str) -> FhirServerError:
    """The error for a success that is not what was asked for."""
    return FhirServerError(f"{asked}: {what}", code="not-fhir", hint=_HINTS["not-fhir"])


def other_resource(asked: str) -> FhirServerError:
    """The error for a read that is answered with something else than the resource that was asked for."""
    return FhirServerError(
        f"{asked}: the answer is not the resource that was asked for",
        code="other-resource",
        hint="read it by hand at the server: it gives another type or another id",
    )


def failure(error: Exception, asked: str) -> FhirServerError:
    """The error for having no answer; the library's own text may quote an address with values, so it is
    dropped."""
    code = _code_of(error)
    words = {
        "timeout": "no answer in time",
        "tls": "no trusted connection",
        "unknown-host": "no such host",
        "proxy": "the proxy refuses",
    }.get(code, "no connection, or it broke off")
    return FhirServerError(f"{asked}: {words}{_why_not_trusted(error)}", code=code, hint=_HINTS[code])


def _why_not_trusted(error: BaseException) -> str:
    """OpenSSL's words about a certificate: they speak of the certificate and the host alone."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f" ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return ""


def _code_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "timeout"
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tls"
        if isinstance(cause, socket.gaierror):
            return "unknown-host"
        cause = cause.__cause__ or cause.__context__
    return "unreachable"


def media_type(response: httpx.Response) -> str:
    """The Content-Type without its parameters, lower case; empty where none is said."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
