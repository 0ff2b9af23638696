"""A site's FHIRPath as the mapping knows it: callables in the profile, for gates and for fields (mapping,
section 17). Whoever loads the layers brings the evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

VARIABLES: Mapping[str, str] = {
    "patient": "the patient's record, merges followed",
    "guardian": "who is called for a minor: the RelatedPerson, or the element of Patient.contact",
    "requester": "who asked for the order: the resource named, then its role, practitioner, organization",
    "performer": "who performs the order, else the practitioners who take part in the Appointment; likewise",
    "order": "the order itself, or the one the Appointment is based on",
    "encounters": "the patient's Encounters at hand",
}
"""The names an expression may use besides the trigger it stands on, and what each holds; empty where there is
none."""


class ExpressionError(Exception):
    """An expression could not be evaluated over this data. Its text holds no data."""


class Expression(Protocol):
    """A compiled expression: a pure function of JSON data and an instant."""

    @property
    def text(self) -> str:
        """As the site wrote it."""

    @property
    def names(self) -> frozenset[str]:
        """Those of VARIABLES that it uses."""

    def __call__(self, trigger: Any, variables: Mapping[str, list[Any]], now: datetime) -> list[Any]:
        """The collection it gives, plain JSON values. `now` (aware, in the source's zone) is its now() and
        its today(). May change what it is given. Raises ExpressionError, and nothing else."""


@dataclass(frozen=True, slots=True)
class Override:
    """A field of the request, the expression that gives its value, and the layer that says so."""

    field: str
    expression: Expression
    layer: str


@dataclass(frozen=True, slots=True)
class SiteGate:
    """A gate of the site's own: who it holds for is not called. `wanted`: a person must look (a Reject)."""

    name: str
    expression: Expression
    wanted: bool
    layer: str

    @property
    def key(self) -> str:
        """Its key in the layers."""
        return f"gates.{'reject' if self.wanted else 'skip'}.{self.name}"


@dataclass(frozen=True, slots=True)
class SiteRules:
    """The expressions of a profile; without any, nothing is evaluated and no evaluator is loaded."""

    gates: tuple[SiteGate, ...] = ()
    overrides: tuple[Override, ...] = ()
