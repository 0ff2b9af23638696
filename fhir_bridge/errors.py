"""Every exception of the bridge, and what each kind means to a shell, an HTTP client and a FHIR client.

BridgeError
├── UsageError            the command line asks for something that cannot be
├── SettingsError         bridge.toml, the environment or --set: names file, key and, where known, line
├── MappingsError         a layer, site rule or ConceptMap: names file, line and key
├── InputError            what came in cannot be read: names file and, where known, line
├── EndpointError         the task API is out of reach or refuses us
├── FhirServerError       a FHIR server is out of reach or refuses us
└── LedgerError           the ledger is missing, of another version, of another destination, or cannot write

An error never carries patient data: its text is made of file names, lines, keys, element names and codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a category is elsewhere: exit code (intake, section 3), HTTP status, OperationOutcome code."""

    exit_code: int
    http_status: int
    issue_code: str


class Category(Enum):
    """The closed list of kinds of failure."""

    USAGE = Meaning(2, 400, "invalid")
    CONFIGURATION = Meaning(3, 500, "exception")
    INPUT = Meaning(4, 400, "structure")
    CREDENTIALS = Meaning(5, 401, "security")
    UNAVAILABLE = Meaning(5, 503, "transient")
    LEDGER = Meaning(6, 503, "exception")


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere: what of it is no UTF-8 as its bytes, `\\udcfc`."""
    return name.encode(errors="backslashreplace").decode()


class BridgeError(Exception):
    """The base of all: a stable `code` for tools, a text for people, a `hint` that says what to do next."""

    category: ClassVar[Category] = Category.USAGE
    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(printable(message))
        self.code = code or self.default_code
        self.hint = hint

    @property
    def exit_code(self) -> int:
        """The exit code of the process when this error ends it (intake, section 3)."""
        return self.category.value.exit_code


class UsageError(BridgeError):
    """The command line asks for something that cannot be."""

    default_code = "usage"


class SettingsError(BridgeError):
    """A setting is missing, unknown or malformed."""

    category = Category.CONFIGURATION
    default_code = "settings"


class MappingsError(BridgeError):
    """A mapping layer, a site rule or a ConceptMap is malformed."""

    category = Category.CONFIGURATION
    default_code = "mappings"


@dataclass(frozen=True, slots=True)
class Lost:
    """A place that cannot be read and may have spoken against a call: `names` are the patients and triggers
    that its text shows (`Type/id`); `is_unclear`: it does not show whom it is about. `own` is the record's
    own name, with its version as its `meta` has it, as far as the text shows them. `digest` tells its text
    from others; `beside` are all whom the Bundle around it names, of the first there that is unclear."""

    file: str
    line: int | None
    entry: int | None
    names: frozenset[str]
    is_unclear: bool
    own: str | None = None
    version_id: str | None = None
    last_updated: str | None = None
    digest: bytes = b""
    beside: frozenset[str] = frozenset()


class InputError(BridgeError):
    """What came in cannot be read at all. `lost`: what of it may have spoken against a call."""

    category = Category.INPUT
    default_code = "unreadable"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, lost: tuple[Lost, ...] = ()
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.lost = lost


class EndpointError(BridgeError):
    """The task API is out of reach, or refuses our key."""

    category = Category.UNAVAILABLE
    default_code = "endpoint"


class FhirServerError(BridgeError):
    """A FHIR server is out of reach, or refuses us. `status` is its HTTP status, None where it gave none."""

    category = Category.UNAVAILABLE
    default_code = "fhir-server"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status


class LedgerError(BridgeError):
    """The ledger is missing, of another version or destination, or cannot write."""

    category = Category.LEDGER
    default_code = "ledger"
