"""Whom to call: the patient, or for a minor a guardian (mapping, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

from fhir_bridge.fhir.datatypes import Address
from fhir_bridge.mapping.phones import Phone


@dataclass(frozen=True, slots=True)
class Callee:
    """The person who is called: their number, and, for a guardian, the name and relationship to ask for.

    `address` says where they are (their calling hours); None where the record does not tell.
    """

    phone: Phone
    name: str | None
    relationship: str | None
    is_patient: bool
    address: Address | None
