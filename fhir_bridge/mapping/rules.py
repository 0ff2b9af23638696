"""What the layers decide: one struct for each section of mappings/base.yaml, one field for each key in it.

base.yaml gives every value, so no field has a default here; unknown keys are refused at load (section 17).
Mappings merge key by key from layer to layer, lists replace (`+key` extends the list `key`). Long because
base.yaml is one file: the two are read side by side, section by section.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from fhir_bridge.mapping.templates import check

CONTEXT_NAMES: dict[str, tuple[str, ...]] = {
    "ask_for": ("name", "relationship"),
    "ask_for_extension": ("extension",),
    "language": ("language",),
    "interpreter": ("language",),
    "reason": ("reason",),
    "priority": ("priority",),
    "place": ("place",),
    "virtual": (),
    "duration": ("minutes",),
    "address": ("address",),
    "phone": ("phone",),
}
"""What each template of the section `context` may use."""

ContextPart = Literal[
    "ask_for", "language", "interpreter", "reason", "priority", "description", "comment", "instruction",
    "place", "duration", "unusable",
]  # fmt: skip
"""What may be said in the context; `PARTS` of mapping/context.py says how."""


_SPAN = r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-4]):[0-5]\d"
Hours = Annotated[str, msgspec.Meta(pattern=rf"^(closed|{_SPAN}(, {_SPAN})*)$")]
Holiday = Annotated[str, msgspec.Meta(pattern=r"^(\d{4}-)?[01]\d-[0-3]\d$")]
Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=36_500)]
"""Days or years: not so many that the calendar ends before."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every section: immutable, closed."""


class Place(Section, frozen=True):
    """Facts of the jurisdiction that other sections build on."""

    country: str | None
    phone_region: str | None


class Calling(Section, frozen=True):
    """When people may be called where settings do not say (delivery, "Before a byte is sent")."""

    weekday: Hours
    saturday: Hours | None
    sunday: Hours | None
    holiday: Hours | None
    holidays: tuple[Holiday, ...]


class Zones(Section, frozen=True):
    """IANA zones by place (mapping, section 8): by code or name of a subdivision, in capitals, of the
    country."""

    by_state: dict[str, tuple[str, ...]]
    extensions: tuple[str, ...]


class Systems(Section, frozen=True):
    """Systems that name patients, and systems' other names (mapping, sections 5 and 9)."""

    patient: tuple[str, ...]
    aliases: dict[str, str]

    def names_of(self, system: str) -> tuple[str, ...]:
        """A system under its own name, then under each other that it has."""
        counts = self.aliases.get(system, system)
        others = sorted(name for name, other in self.aliases.items() if other == counts)
        return tuple(dict.fromkeys((system, counts, *others)))


class Mark(Section, frozen=True):
    """An extension by its URL, wherever it stands, with one of these values (lower case); none: any value."""

    url: str
    values: tuple[str, ...] = ()


class StatusRow(Section, frozen=True):
    """A written status (with a mark, if given) that is to be read as another, and spoken of as `spoken`."""

    status: str
    becomes: str
    mark: Mark | None = None
    spoken: str | None = None


class Triggers(Section, frozen=True):
    """Which trigger calls (mapping, section 3)."""

    appointment_statuses: frozenset[str]
    order_statuses: frozenset[str]
    appointment_status_map: tuple[StatusRow, ...]
    order_status_map: tuple[StatusRow, ...]
    withdrawn: frozenset[str]
    booked: frozenset[str]
    waiting: frozenset[str]
    lost: frozenset[str]
    order_intents: tuple[str, ...]
    awaiting_triage: tuple[Mark, ...]
    replaces: tuple[str, ...]
    replaces_displays: frozenset[str]
    replaced_by_displays: frozenset[str]
    reschedule_within_days: Count
    max_age_days: Count


class Orders(Section, frozen=True):
    """Which orders are scheduled with the patient (mapping, section 3, rows 7 and 8), by class.

    `rulings` are checked where the layers are read, so that an error names the key: each is a class or None.
    """

    scheduled: frozenset[str]
    not_scheduled: frozenset[str]
    words: dict[str, tuple[str, ...]]
    endings: dict[str, tuple[str, ...]]
    rulings: dict[str, Any]


class Losses(Section, frozen=True):
    """Why an appointment was lost (mapping, section 3, rows 15 and 16): where that stands, reason code to
    words."""

    reason_elements: tuple[Literal["cancelationReason", "cancellationReason", "reason"], ...]
    reason_extensions: tuple[str, ...]
    words: dict[str, tuple[str, ...]]


class Gates(Section, frozen=True):
    """Who must not be called (mapping, section 4).

    `skip` and `reject` hold a site's own gates as FHIRPath; checked and compiled where the layers are read.
    """

    consent: Literal["opt-out", "opt-in"]
    consent_marks: tuple[Mark, ...]
    do_not_call_marks: tuple[Mark, ...]
    test_codes: frozenset[str]
    test_marks: tuple[Mark, ...]
    placeholder_marks: tuple[Mark, ...]
    restricted_codes: frozenset[str]
    skip: dict[str, Any]
    reject: dict[str, Any]


class People(Section, frozen=True):
    """Whom to call (mapping, section 5)."""

    age_of_majority: Count
    guardian_words: tuple[str, ...]
    guardian_marks: tuple[Mark, ...]


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
    """What a complete address is (mapping, section 6). In `uses` the empty text is one without a use."""

    incomplete_address: Literal["reject", "omit"]
    uses: tuple[str, ...]
    country_languages: tuple[str, ...]
    country_names: dict[str, Country]


class PatientRequest(Section, frozen=True):
    """The patient as the endpoint is to create them (mapping, section 6). In `email_uses` the empty text is
    none."""

    task_api_system: str | None
    email_uses: tuple[str, ...]


class Insurance(Section, frozen=True):
    """Which coverages are told (mapping, section 6): codes of Coverage.class and identifier.type, and plain
    words."""

    group_codes: frozenset[str]
    plan_codes: frozenset[str]
    member_codes: frozenset[str]
    none_words: frozenset[str]


class Concepts(Section, frozen=True):
    """The words of a CodeableConcept (mapping, section 9)."""

    semantic_tags: tuple[str, ...]
    dropped_endings: tuple[str, ...]
    empty_words: frozenset[str]
    code_shapes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a shape that is no regular expression."""
        for shape in self.code_shapes:
            try:
                re.compile(shape)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None


class Sentence(Section, frozen=True):
    """The task's one sentence (mapping, section 7)."""

    task: str
    schedule: str
    reschedule: str
    follow_up: str
    service: str
    visit: str
    appointment: str
    follow_up_types: frozenset[str]
    follow_up_words: frozenset[str]
    visit_nouns: frozenset[str]
    sounds_like_a: tuple[str, ...]
    sounds_like_an: tuple[str, ...]
    dropped_beginnings: tuple[str, ...]
    longest_service: int

    def __post_init__(self) -> None:
        """Raises ValueError for a template that cannot be filled; the loader says file, line and key."""
        check(self.task, ("verb", "what", "practitioner"))
        for template in (self.follow_up, self.service, self.visit, self.appointment):
            check(template, ("article", "service"))


class Availability(Section, frozen=True):
    """When the patient can come (mapping, section 8)."""

    parts_of_day: dict[str, str]
    patient_extensions: tuple[str, ...]


class Specialty(Section, frozen=True):
    """Which specialty and practitioner (mapping, section 9)."""

    template: str
    alone: str
    most: int
    declined: frozenset[str]
    unnamed_types: frozenset[str]
    service_extensions: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a template that cannot be filled."""
        check(self.template, ("specialty", "practitioner"))
        check(self.alone, ("practitioner",))


class Visits(Section, frozen=True):
    """Visits that were, and whether the patient is new (mapping, section 10)."""

    most: int
    finished: frozenset[str]
    fulfilled: frozenset[str]
    existing_words: frozenset[str]
    new_words: frozenset[str]
    existing_codes: frozenset[str]
    new_codes: frozenset[str]
    ordered: str
    ordered_statuses: frozenset[str]

    def __post_init__(self) -> None:
        """Raises ValueError for a template that cannot be filled."""
        check(self.ordered, ("service",))


class Referral(Section, frozen=True):
    """Who refers (mapping, section 11)."""

    classes: frozenset[str]
    npi_systems: frozenset[str]
    doctor_qualifications: frozenset[str]
    address_uses: tuple[str, ...]
    practice_address_uses: tuple[str, ...]
    phone_uses: frozenset[str]
    practice_phone_uses: frozenset[str]


class Rescheduling(Section, frozen=True):
    """What was lost and why (mapping, section 12)."""

    existing: str
    statuses: dict[str, str]
    not_attended: dict[str, str]

    def __post_init__(self) -> None:
        """Raises ValueError for a template that cannot be filled."""
        check(self.existing, ("when", "what", "practitioner", "place", "status"))


class Context(Section, frozen=True):
    """The sentences that are said besides (mapping, section 13)."""

    said: tuple[ContextPart, ...]
    limit: Annotated[int, msgspec.Meta(ge=0)]
    ask_for: str
    ask_for_extension: str
    language: str
    interpreter: str
    reason: str
    priority: str
    place: str
    virtual: str
    duration: str
    address: str
    phone: str
    own_languages: frozenset[str]
    priorities: dict[str, str]
    interpreter_extensions: tuple[str, ...]
    virtual_codes: frozenset[str]
    virtual_words: tuple[str, ...]
    longest_visit_minutes: int

    def __post_init__(self) -> None:
        """Raises ValueError for a template that cannot be filled."""
        for field, names in CONTEXT_NAMES.items():
            check(getattr(self, field), names)


SEARCH_NAMES = frozenset(
    {"patient", "identifier", "order", "order_id", "practitioner", "finished", "newest"}
    | {"since", "until", "since_day", "until_day"}
)
"""What the searches of the section `searches` may use in braces."""

Ways = tuple[str | tuple[str, ...], ...]
"""Ways to ask, the one to try first in front; a way of several queries asks all of them."""


class Searches(Section, frozen=True):
    """What is asked of the FHIR server to complete a case (intake, "Reading from a FHIR server")."""

    patients: Ways
    encounters: Ways
    appointments: Ways
    chain: Ways
    related_persons: Ways
    coverages: Ways
    consents: Ways
    roles: Ways
    changed: Ways
    do_without: frozenset[Literal["appointments", "consents", "orders"]]
    always: tuple[str, ...]
    newest: Annotated[int, msgspec.Meta(ge=1)]
    days_ahead: Count

    def __post_init__(self) -> None:
        """Raises ValueError for a query that is none, or uses what there is not."""
        named = (self.encounters, self.appointments, self.chain, self.related_persons, self.coverages)
        for ways in (self.patients, *named, self.consents, self.roles, self.changed, self.always):
            for way in ways:
                for query in (way,) if isinstance(way, str) else way:
                    _check_query(query, SEARCH_NAMES)


class Subscriptions(Section, frozen=True):
    """How a FHIR server takes Subscriptions (intake, section 1)."""

    asked_as: Literal["requested", "active"]


EXPORT_NAMES = frozenset({"patient", "practitioner", "since", "until", "since_day", "until_day", "changed"})
"""What the queries of the section `exports` may use in braces."""


class Exports(Section, frozen=True):
    """What is known of a server's Bulk Data export, and what is searched for besides (intake, section 2)."""

    lacks: tuple[str, ...]
    takes_since: bool
    by_patient: dict[str, str]
    by_date: dict[str, tuple[str, ...]]
    patients: str
    roles: str
    changed: str
    days_back: Count
    days_ahead: Count

    def __post_init__(self) -> None:
        """Raises ValueError for a query that is none, or uses what there is not; "" is no query at all."""
        dated = [query for queries in self.by_date.values() for query in queries]
        for query in (*self.by_patient.values(), *dated, self.patients, self.roles, self.changed):
            if query:
                _check_query(query, EXPORT_NAMES)


def _check_query(query: str, names: frozenset[str]) -> None:
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        if not (name and equals):
            raise ValueError(f"a query is name=value, joined by &, and `{part}` is none")
    if unknown := set(re.findall(r"\{(.*?)\}", query)) - names:
        raise ValueError(f"there is no {{{min(unknown)}}}; there are {', '.join(sorted(names))}")


class Rules(Section, frozen=True):
    """All sections, as the merged layers give them."""

    place: Place
    calling: Calling
    zones: Zones
    systems: Systems
    triggers: Triggers
    orders: Orders
    losses: Losses
    gates: Gates
    people: People
    phones: Phones
    names: Names
    addresses: Addresses
    patient: PatientRequest
    insurance: Insurance
    concepts: Concepts
    sentence: Sentence
    availability: Availability
    specialty: Specialty
    visits: Visits
    referral: Referral
    rescheduling: Rescheduling
    context: Context
    searches: Searches
    subscriptions: Subscriptions
    exports: Exports
    overrides: dict[str, Any]
