"""The effective rules of one source: its facts, every layer's sections merged, and the terminology."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast
from zoneinfo import ZoneInfo

from fhir_bridge.mapping import rules
from fhir_bridge.mapping.expressions import SiteRules
from fhir_bridge.mapping.terminology import Missed, Terminology

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a source before any of its data is seen.

    `jurisdiction` and `country` are ISO 3166-1 alpha-2, `phone_region` is what `phonenumbers` calls a region;
    the last two are None until the layers were read. `base_url` is the FHIR server's, without a final slash.
    """

    name: str = "default"
    jurisdiction: str = "US"
    vendor: str | None = None
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    country: str | None = None
    phone_region: str | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Everything mapping asks about a source: `profile.triggers.order_intents`, `profile.terms.word(…)`.

    Compared by identity, so that what was worked out by its rules can be remembered under it.
    """

    source: SourceFacts
    terms: Terminology
    place: rules.Place
    calling: rules.Calling
    zones: rules.Zones
    systems: rules.Systems
    triggers: rules.Triggers
    orders: rules.Orders
    losses: rules.Losses
    gates: rules.Gates
    people: rules.People
    phones: rules.Phones
    names: rules.Names
    addresses: rules.Addresses
    patient: rules.PatientRequest
    insurance: rules.Insurance
    concepts: rules.Concepts
    sentence: rules.Sentence
    availability: rules.Availability
    specialty: rules.Specialty
    visits: rules.Visits
    referral: rules.Referral
    rescheduling: rules.Rescheduling
    context: rules.Context
    searches: rules.Searches
    subscriptions: rules.Subscriptions
    exports: rules.Exports
    overrides: Mapping[str, Any]
    site: SiteRules = field(default_factory=SiteRules)
    layers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def layer_of(self, key: str) -> str:
        """The layer that gave a dotted key: "base", "jurisdiction GB", "vendor epic", "site" or "--set".

        For a key that holds others: the layer that last changed one of them. Raises KeyError if unknown.
        """
        return self.layers[key] if key in self.layers else _layer_of(self, key)


def remembered(function: Callable[_Asked, _Answer]) -> Callable[_Asked, _Answer]:
    """Remembers what a function of a `profile` and of values gives; the oldest of many answers is forgotten.
    Who counts the codes that no map knows hears of them each time: what asks no map needs no more than
    `lru_cache`.
    """
    at = list(signature(function).parameters).index("profile")

    @lru_cache(maxsize=4_096)
    def listened(*asked: Any) -> tuple[_Answer, frozenset[Missed]]:
        profile: Profile = asked[at]
        return profile.terms.listened(partial(function, *asked))

    @wraps(function)
    def remembering(*asked: _Asked.args, **named: _Asked.kwargs) -> _Answer:
        answer, missed = listened(*asked)
        if missed:
            cast(Profile, asked[at]).terms.missed_again(missed)
        return answer

    return remembering


@lru_cache(maxsize=4_096)
def _layer_of(profile: Profile, key: str) -> str:
    """The layer of a key that no layer gives by itself: that of the one above, else of those below it."""
    layers = profile.layers
    if "." in key and not any(known.startswith(f"{key}.") for known in layers):
        return profile.layer_of(key.rpartition(".")[0])
    below = [layer for known, layer in layers.items() if known.startswith(f"{key}.")]
    if not below:
        raise KeyError(key)
    return below[-1]
