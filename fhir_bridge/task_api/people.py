"""Shapes that tasks and patients share: addresses, providers, visits, insurance (task-api, Shared shapes)."""

from __future__ import annotations

from enum import StrEnum

from fhir_bridge.task_api.wire import CountryCode, IsoDate, PhoneNumber, Sent, Text


class Address(Sent):
    """A postal address; all five parts or no address at all."""

    street_name: Text
    city: Text
    state: Text
    postal_code: Text
    country_code: CountryCode


class Provider(Sent):
    """A practitioner or an organization: who refers, who treats."""

    name: Text | None = None
    npi: Text | None = None
    specialty: Text | None = None
    facility: Text | None = None
    address: Address | None = None
    phone_number: PhoneNumber | None = None


class Visit(Sent):
    """A visit that took place; `date` is local to the place of care."""

    purpose: Text | None = None
    date: IsoDate | None = None
    outcome: Text | None = None


class RelationshipToSubscriber(StrEnum):
    """How the patient stands to the person who holds the insurance."""

    UNSPECIFIED = "RELATIONSHIP_TO_SUBSCRIBER_UNSPECIFIED"
    SELF = "SELF"
    SPOUSE = "SPOUSE"
    DEPENDENT = "DEPENDENT"


class Subscriber(Sent):
    """The person who holds the insurance."""

    first_name: Text | None = None
    last_name: Text | None = None


class MemberInsurance(Sent):
    """One insurance of a patient."""

    company_name: Text | None = None
    member_id: Text | None = None
    group_number: Text | None = None
    plan_name: Text | None = None
    phone_number: PhoneNumber | None = None
    relationship_to_subscriber: RelationshipToSubscriber | None = None
    primary_subscriber: Subscriber | None = None
