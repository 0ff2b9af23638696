"""Which questions stayed open whose answers may say that nobody is to be called (intake, "Reading from a FHIR
server")."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fhir_bridge.case.case import Case
from fhir_bridge.fetching.searching import Found

Search = tuple[str, str]
"""The key of a search and whom or what it is about, as `Type/id`."""


def unanswered(
    case: Case,
    orders: Collection[str],
    found: Mapping[Search, Found],
    lost: Mapping[str, str],
    without: Collection[str],
    number: Search | None = None,
) -> tuple[str, ...]:
    """What a case asked its source and was not told, in words without values; empty where all was answered.

    `orders` are those of its chain (`Type/id`), `lost` what could not be read of them and why. `without`:
    what the site does without, by the names of the layers' `searches.do_without`; `number`: the search by
    which the patient was found who is named by a number alone.
    """
    asked = {
        "patients": _patient(number and found.get(number)),
        "appointments": _appointments(case.patient_identity or "", orders, found),
        "consents": _consents(found.get(("consents", case.patient_identity or ""))),
        "orders": (lost[order] for order in orders if order in lost),
    }
    return tuple(
        dict.fromkeys(words for name, open_ in asked.items() if name not in without for words in open_)
    )


def _patient(by_number: Found | None) -> Iterator[str]:
    """Who is known by a number alone may be another of those whom the server did not tell of."""
    if by_number is not None and by_number.open:
        yield by_number.open


def _appointments(patient: str, orders: Collection[str], found: Mapping[Search, Found]) -> Iterator[str]:
    """All appointments of the patient answer for those of the order too."""
    of_patient = found.get(("appointments", patient))
    if of_patient is not None and of_patient.open:
        yield of_patient.open
    if of_patient is None or not of_patient.pages:
        for order in orders:
            of_order = found.get(("chain", order))
            if of_order is not None and of_order.open:
                yield of_order.open


def _consents(of_patient: Found | None) -> Iterator[str]:
    """A server that has no Consents keeps no denial."""
    if of_patient is not None and of_patient.open and not of_patient.has_none:
        yield of_patient.open
