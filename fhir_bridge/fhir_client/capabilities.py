"""What a server says it can do (https://hl7.org/fhir/R4/capabilitystatement.html)."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import not_fhir


class _Code(msgspec.Struct):
    code: str | None = None


class _Named(msgspec.Struct):
    name: str | None = None


class _Resource(msgspec.Struct, rename="camel"):
    type: str | None = None
    interaction: list[_Code] = []
    search_param: list[_Named] = []
    operation: list[_Named] = []


class _Rest(msgspec.Struct):
    mode: str | None = None
    interaction: list[_Code] = []
    resource: list[_Resource] = []
    operation: list[_Named] = []


class _Software(msgspec.Struct):
    name: str | None = None
    version: str | None = None


class _Statement(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    fhir_version: str | None = None
    software: _Software | None = None
    rest: list[_Rest] = []


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`interactions` are the whole system's (`batch`, …); `types` maps a type to its interactions, and
    `parameters` to its search parameters. `operations` are those of the system and of any type. A statement
    that lists no types says nothing about any of them."""

    fhir_version: str | None
    software: str | None
    interactions: frozenset[str] = frozenset()
    types: dict[str, frozenset[str]] = field(default_factory=dict)
    parameters: dict[str, frozenset[str]] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()

    def lacks(self, resource_type: str, interaction: str | None = None) -> bool:
        """Whether the statement says that the server has not the type, or cannot do that with it; one that
        lists no types, or no interactions of this one, does not say so."""
        if not self.types:
            return False
        if resource_type not in self.types:
            return True
        listed = self.types[resource_type]
        return bool(interaction and listed and interaction not in listed)

    def lacks_operation(self, name: str) -> bool:
        """Whether the statement says that the server has no such operation: servers call `export` also
        `$export` and `patient-export`."""
        return bool(self.types) and not any(name in one for one in self.operations)


NOTHING_SAID = Capabilities(None, None)

_decode = msgspec.json.Decoder(_Statement).decode


def capabilities_of(body: bytes) -> Capabilities:
    """Raises FhirServerError `not-fhir` for what is no CapabilityStatement."""
    try:
        statement = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        statement = _Statement()
    if statement.resource_type not in ("CapabilityStatement", "Conformance"):
        raise _no_statement()
    rest = next((one for one in statement.rest if one.mode in (None, "server")), _Rest())
    named = [(one.type, one) for one in rest.resource if one.type]
    software = statement.software
    return Capabilities(
        statement.fhir_version,
        " ".join(filter(None, (software.name, software.version))) if software else None,
        _codes(rest.interaction),
        {name: _codes(one.interaction) for name, one in named},
        {name: _names(one.search_param) for name, one in named},
        _names(rest.operation).union(*(_names(one.operation) for _, one in named)),
    )


def _names(listed: list[_Named]) -> frozenset[str]:
    return frozenset(one.name for one in listed if one.name)


def _codes(listed: list[_Code]) -> frozenset[str]:
    return frozenset(one.code for one in listed if one.code)


def _no_statement() -> FhirServerError:
    return not_fhir("metadata", "the answer is no CapabilityStatement")
