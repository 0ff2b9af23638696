"""What the layers decide: one struct for each section of mappings/base.yaml, one field for each key in it.

base.yaml gives every value, so no field has a default here; unknown keys are refused at load (section 17).
Mappings merge key by key from layer to layer, lists replace (`+key` extends the list `key`).
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every section: immutable, closed."""


class Place(Section, frozen=True):
    """Facts of the jurisdiction that other sections build on."""

    country: str | None
    phone_region: str | None


class Calling(Section, frozen=True):
    """When people may be called where settings do not say (delivery, "Before a byte is sent")."""

    hours: str
    saturday: str | None
    sunday: str | None
    holidays: str | None


class Zones(Section, frozen=True):
    """IANA zones by place (mapping, section 8): by subdivision code, upper case, of `place.country`."""

    by_state: dict[str, tuple[str, ...]]


class Systems(Section, frozen=True):
    """Systems that name patients, and systems' other names (mapping, sections 5 and 9)."""

    patient: tuple[str, ...]
    aliases: dict[str, str]


class Triggers(Section, frozen=True):
    """Which trigger calls (mapping, section 3)."""

    order_intents: tuple[str, ...]
    reschedule_within_days: int
    max_age_days: int


class Gates(Section, frozen=True):
    """Who must not be called (mapping, section 4)."""

    consent: str


class People(Section, frozen=True):
    """Whom to call (mapping, section 5)."""

    age_of_majority: int


class Phones(Section, frozen=True):
    """Which number is taken (mapping, section 5)."""

    phone_check: Literal["possible", "valid"]
    systems: tuple[str, ...]
    uses: tuple[str, ...]


class Names(Section, frozen=True):
    """How names are read (mapping, section 6). In `uses` the empty text is a name without a use."""

    uses: tuple[str, ...]
    last_uses: tuple[str, ...]
    representation: Literal["ABC", "SYL", "IDE"] | None
    doctor: str
    titles: frozenset[str]
    credentials: frozenset[str]


class Addresses(Section, frozen=True):
    """What a complete address is (mapping, section 6). In `uses` the empty text is an address without a use."""

    incomplete_address: Literal["reject", "omit"]
    uses: tuple[str, ...]
    country_languages: tuple[str, ...]


class Insurance(Section, frozen=True):
    """Which coverages are told (mapping, section 6)."""


class Concepts(Section, frozen=True):
    """The words of a CodeableConcept (mapping, section 9)."""


class Sentence(Section, frozen=True):
    """The task's one sentence (mapping, section 7)."""


class Availability(Section, frozen=True):
    """When the patient can come (mapping, section 8)."""


class Specialty(Section, frozen=True):
    """Which specialty and practitioner (mapping, section 9)."""


class Visits(Section, frozen=True):
    """Visits that were, and whether the patient is new (mapping, section 10)."""


class Referral(Section, frozen=True):
    """Who refers (mapping, section 11)."""


class Rescheduling(Section, frozen=True):
    """What was lost and why (mapping, section 12)."""


class Context(Section, frozen=True):
    """The sentences that are said besides (mapping, section 13)."""


class Rules(Section, frozen=True):
    """All sections, as the merged layers give them."""

    place: Place
    calling: Calling
    zones: Zones
    systems: Systems
    triggers: Triggers
    gates: Gates
    people: People
    phones: Phones
    names: Names
    addresses: Addresses
    insurance: Insurance
    concepts: Concepts
    sentence: Sentence
    availability: Availability
    specialty: Specialty
    visits: Visits
    referral: Referral
    rescheduling: Rescheduling
    context: Context
