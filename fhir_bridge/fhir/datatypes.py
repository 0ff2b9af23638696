"""FHIR's datatypes as far as the bridge reads them: forgiving msgspec views of STU3, R4, R4B and R5 at once.

An element that changed its type between versions is one struct that holds all its shapes
(https://hl7.org/fhir/datatypes.html, R4 and R5). Names are FHIR's in snake_case. Nothing is mutated: all are
frozen.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Datatype(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The base of every view: camelCase on the wire, unknown elements ignored.

    A few small ones that say whom to call, or whether, refuse them (`forbid_unknown_fields`), so that their
    resource is mended, where an unknown name is a misspelt one or ignored (mapping, section 16).
    """


def refused(name: str) -> Any:
    """A field for what must not be passed over as unknown: a spelling of an element that decides whether to
    call, or what hides one. It takes no value, so that its view refuses a resource that has one, which is
    mended then (mapping, section 16). Such a field is called `misspelt_…`."""
    return msgspec.field(default=None, name=name)


class Coding(Datatype, frozen=True):
    """A code in a system (https://hl7.org/fhir/R4/datatypes.html#Coding)."""

    system: str | None = None
    code: str | None = None
    display: str | None = None
    user_selected: bool = False


class Period(Datatype, frozen=True, forbid_unknown_fields=True):
    """A start and an end as FHIR dateTime texts, both inclusive and optional."""

    start: str | None = None
    end: str | None = None


class Extension(Datatype, frozen=True):
    """An extension with the value types the bridge and its layers look at."""

    url: str = ""
    extension: tuple[Extension, ...] = ()
    value_string: str | None = None
    value_code: str | None = None
    value_uri: str | None = None
    value_boolean: bool | None = None
    value_date_time: str | None = None
    value_period: Period | None = None
    value_coding: Coding | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_reference: Reference | None = None


class CodeableConcept(Datatype, frozen=True):
    """A concept by text and codes (https://hl7.org/fhir/R4/datatypes.html#CodeableConcept)."""

    text: str | None = None
    coding: tuple[Coding, ...] = ()
    extension: tuple[Extension, ...] = ()


class Identifier(Datatype, frozen=True):
    """A business identifier."""

    use: str | None = None
    type: CodeableConcept | None = None
    system: str | None = None
    value: str | None = None
    period: Period | None = None


class Reference(Datatype, frozen=True, forbid_unknown_fields=True):
    """A reference by URL, by identifier, or by display alone (https://hl7.org/fhir/R4/references.html)."""

    reference: str | None = None
    type: str | None = None
    identifier: Identifier | None = None
    display: str | None = None
    extension: tuple[Extension, ...] = ()
    id: str | None = None


class CodeableReference(Datatype, frozen=True):
    """R5's CodeableReference; also R4's and STU3's CodeableConcept, or Reference, in the same place.

    `reference` is a text where the element was a plain Reference. Use `words` and `target`, never the raw
    shape.
    """

    concept: CodeableConcept | None = None
    reference: Reference | str | None = None
    text: str | None = None
    coding: tuple[Coding, ...] = ()
    display: str | None = None
    identifier: Identifier | None = None
    type: str | None = None
    extension: tuple[Extension, ...] = ()

    @property
    def words(self) -> CodeableConcept | None:
        """The concept, from whichever version's place; None where there is none."""
        if self.concept is not None:
            return self.concept
        if self.text is not None or self.coding:
            return CodeableConcept(text=self.text, coding=self.coding)
        return None

    @property
    def target(self) -> Reference | None:
        """The reference, from whichever version's place; None where there is none."""
        if isinstance(self.reference, Reference):
            return self.reference
        if self.reference is not None or self.identifier is not None or self.display is not None:
            return Reference(self.reference, self.type, self.identifier, self.display)
        return None


class HumanName(Datatype, frozen=True):
    """A name in parts or as text."""

    use: str | None = None
    text: str | None = None
    family: str | None = None
    given: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    period: Period | None = None
    extension: tuple[Extension, ...] = ()


class ContactPoint(Datatype, frozen=True, forbid_unknown_fields=True):
    """A phone number, mail address or the like, as it was written."""

    system: str | None = None
    value: str | None = None
    use: str | None = None
    rank: int | None = None
    period: Period | None = None
    extension: tuple[Extension, ...] = ()
    id: str | None = None


class Address(Datatype, frozen=True):
    """A postal address."""

    use: str | None = None
    type: str | None = None
    text: str | None = None
    line: tuple[str, ...] = ()
    city: str | None = None
    district: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None
    period: Period | None = None
    extension: tuple[Extension, ...] = ()


class ExtendedContactDetail(Datatype, frozen=True):
    """R5's ExtendedContactDetail; also R4's Organization.contact (one name object instead of a list)."""

    purpose: CodeableConcept | None = None
    name: tuple[HumanName, ...] | HumanName = ()
    telecom: tuple[ContactPoint, ...] = ()
    address: Address | None = None
    period: Period | None = None


class Annotation(Datatype, frozen=True):
    """A note."""

    text: str | None = None
    time: str | None = None


class TimingRepeat(Datatype, frozen=True):
    """When a Timing recurs (https://hl7.org/fhir/R4/datatypes.html#Timing)."""

    bounds_period: Period | None = None
    day_of_week: tuple[str, ...] = ()
    time_of_day: tuple[str, ...] = ()
    when: tuple[str, ...] | str = ()
    duration: float | None = None
    duration_unit: str | None = None


class Timing(Datatype, frozen=True):
    """A schedule: instants, or a rule of repetition."""

    event: tuple[str, ...] = ()
    repeat: TimingRepeat | None = None
    code: CodeableConcept | None = None


class Meta(Datatype, frozen=True):
    """What the server says of a version."""

    version_id: str | None = None
    last_updated: str | None = None
    security: tuple[Coding, ...] = ()
    tag: tuple[Coding, ...] = ()
    misspelt_1: None = refused("Security")
    misspelt_2: None = refused("SECURITY")
    misspelt_3: None = refused("Tag")
    misspelt_4: None = refused("TAG")
