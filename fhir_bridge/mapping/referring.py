"""What is known of who refers: their name, number, specialty, place, address and telephone (mapping, section
11)."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from fhir_bridge.case.links import Party
from fhir_bridge.fhir import datatypes
from fhir_bridge.fhir.datatypes import CodeableConcept, ContactPoint, ExtendedContactDetail
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.addresses import complete_address, ordered_addresses
from fhir_bridge.mapping.concepts import Words, concept_words
from fhir_bridge.mapping.contacts import NOT_FOR_CARE, contacts_for
from fhir_bridge.mapping.npi import find_npi
from fhir_bridge.mapping.phones import choose_phone, numbers
from fhir_bridge.mapping.practitioner import display_of, is_practitioner, named_type, party_name
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.said import said
from fhir_bridge.mapping.texts import plain
from fhir_bridge.task_api.models import Address

Known = dict[str, str | Address | None]
"""Who refers as the task has them, by the names of its fields, before the task is checked as a whole."""

FIELD = "task_data.referral"


@dataclass
class Unusable:
    """What is known of who refers but does not fit its field: an incomplete address, a number in nobody's
    form."""

    address: tuple[str, Element] | None = None
    phone: tuple[str, Element] | None = None


class Referring(msgspec.Struct, frozen=True):
    """Tells of one requester: their party, the rules, the instant, the recorder, and what turned out
    unusable."""

    party: Party
    profile: Profile
    now: datetime
    recorder: Recorder
    unusable: Unusable = msgspec.field(default_factory=Unusable)

    def provider(self) -> Known | None:
        """All that is known of them; None where nothing is."""
        known: Known = {
            "name": self._name(),
            "npi": self._npi(),
            "specialty": self._specialty(),
            "facility": self._facility(),
            "address": self._address(),
            "phone_number": self._phone(),
        }
        return known if any(known.values()) else None

    def _take(self, name: str, rule: str, element: Element, words: Words | None = None) -> None:
        row, layer = (words.map_row, words.layer) if words else (None, None)
        self.recorder.take(f"{FIELD}.{name}", rule, element, map_row=row, layer=layer)

    def _name(self) -> str | None:
        """The practitioner's; one known by display alone counts as a person, for most requesters are."""
        party = self.party
        if party.organization is not None and not is_practitioner(party):
            return None
        if named_type(party.link.reference) == "Organization":
            return None
        called = party_name(party, self.profile, self.now)
        if called is None:
            return None
        self._take("name", "referral-name", called.element)
        return called.text

    def _npi(self) -> str | None:
        """The person's before the organization's; one that fails its check is noted, never repaired."""
        holders: tuple[Resource[View] | None, ...] = (
            self.party.practitioner,
            self.party.role,
            self.party.organization,
        )
        for holder in filter(None, holders):
            found = find_npi(holder.view.identifiers, self.profile.referral.npi_systems)
            for index in found.failing:
                self.recorder.note("npi-invalid", holder, f"identifier[{index}].value")
            if found.number is not None:
                self._take("npi", "referral-npi", (holder, f"identifier[{found.index}].value"))
                return found.number
        return None

    def _specialty(self) -> str | None:
        """The requester's own role's specialty, else a qualification the map of specialties knows: MD is a
        degree."""
        for holder, concept, path in self._specialties():
            if words := concept_words(concept, path, self.profile, "specialty"):
                self._take("specialty", "referral-specialty", (holder, words.path), words)
                return words.text
        return None

    def _specialties(self) -> Iterator[tuple[Resource[View], CodeableConcept, str]]:
        role, person, terms = self.party.role, self.party.practitioner, self.profile.terms
        if role is not None:
            yield from ((role, each, f"specialty[{i}]") for i, each in enumerate(role.view.specialty))
        for index, qualification in enumerate(person.view.qualification if person else ()):
            concept = qualification.code
            if person and concept and any(terms.word("specialty", each) for each in concept.coding):
                yield person, concept, f"qualification[{index}].code"

    def _facility(self) -> str | None:
        """The role's or requester's organization, else the name of the role's place."""
        organization, party = self.party.organization, self.party
        places: list[tuple[Resource[View], str | None]] = [(each, each.view.name) for each in party.locations]
        if organization is not None:
            places.insert(0, (organization, organization.view.name))
        for holder, name in places:
            if text := plain(name):
                self._take("facility", "referral-facility", (holder, "name"))
                return text
        return self._facility_by_display()

    def _facility_by_display(self) -> str | None:
        """The display of an organization that is not at hand: the role's, or the requester itself."""
        role = self.party.role
        if role is not None and role.view.organization is not None:
            text = plain(role.view.organization.display)
            element: Element = (role, "organization.display")
        elif named_type(self.party.link.reference) == "Organization":
            text, element = plain(self.party.link.reference.display), display_of(self.party.link)
        else:
            return None
        if text:
            self._take("facility", "referral-facility", element)
        return text

    def _address(self) -> Address | None:
        """All five parts or none: of the role's place, its organization, the practitioner's work; never a
        home."""
        for holder, path, address in self._addresses():
            complete = complete_address(address, self.profile).address
            if complete is not None:
                self._take("address", "referral-address", (holder, path))
                return complete
            if self.unusable.address is None and (text := _as_text(address)):
                self.unusable.address = (text, (holder, path))
        return None

    def _addresses(self) -> Iterator[tuple[Resource[View], str, datatypes.Address]]:
        rules, party = self.profile.referral, self.party
        if party.role is not None:
            yield from self._of_contacts(party.role, party.role.view.contact)
        for place in party.locations:
            if place.view.address is not None and place.view.address.use != "home":
                yield place, "address", place.view.address
        if party.organization is not None:
            view = party.organization.view
            for index, address in self._ordered(view.address, rules.practice_address_uses):
                yield party.organization, f"address[{index}]", address
            yield from self._of_contacts(party.organization, view.contact)
        if party.practitioner is not None:
            for index, address in self._ordered(party.practitioner.view.address, rules.address_uses):
                yield party.practitioner, f"address[{index}]", address

    def _of_contacts(
        self, holder: Resource[View], contacts: tuple[ExtendedContactDetail, ...]
    ) -> Iterator[tuple[Resource[View], str, datatypes.Address]]:
        for index, contact in contacts_for(contacts, NOT_FOR_CARE, self.profile, self.now):
            if contact.address is not None and contact.address.use != "home":
                yield holder, f"contact[{index}].address", contact.address

    def _ordered(
        self, addresses: Sequence[datatypes.Address], uses: tuple[str, ...]
    ) -> list[tuple[int, datatypes.Address]]:
        return ordered_addresses(addresses, self.profile, self.now, uses)

    def _phone(self) -> str | None:
        """The role's, the practitioner's (work or no use), the place's, the organization's."""
        for holder, path, telecom in self._telecoms():
            phone = choose_phone(telecom, None, self.profile, self.now)
            if phone is not None:
                self._take("phone_number", "referral-phone", (holder, f"{path}[{phone.index}].value"))
                return phone.e164
            for index, point in numbers(telecom, self.profile, self.now):
                if self.unusable.phone is None and (text := said(point.value)):
                    self.unusable.phone = (text, (holder, f"{path}[{index}].value"))
        return None

    def _telecoms(self) -> Iterator[tuple[Resource[View], str, tuple[ContactPoint, ...]]]:
        party, rules = self.party, self.profile.referral
        practice = rules.practice_phone_uses
        if party.role is not None:
            yield from self._numbers(party.role, party.role.view.telecom, party.role.view.contact, practice)
        if party.practitioner is not None:
            yield from self._numbers(
                party.practitioner, party.practitioner.view.telecom, (), rules.phone_uses
            )
        for place in party.locations:
            yield from self._numbers(place, place.view.telecom, place.view.contact, practice)
        if party.organization is not None:
            view = party.organization.view
            yield from self._numbers(party.organization, view.telecom, view.contact, practice)

    def _numbers(
        self,
        holder: Resource[View],
        telecom: tuple[ContactPoint, ...],
        contacts: tuple[ExtendedContactDetail, ...],
        uses: Container[str],
    ) -> Iterator[tuple[Resource[View], str, tuple[ContactPoint, ...]]]:
        """The holder's numbers, then its contacts'; of another use than these none, their places kept."""
        listed = [("telecom", telecom)]
        for index, contact in contacts_for(contacts, NOT_FOR_CARE, self.profile, self.now):
            listed.append((f"contact[{index}].telecom", contact.telecom))
        for path, points in listed:
            kept = (point if (point.use or "") in uses else ContactPoint() for point in points)
            yield holder, path, tuple(kept)


def _as_text(address: datatypes.Address) -> str | None:
    """What is known of an address, in one line."""
    parts = [*address.line, address.city, address.state, address.postal_code]
    return ", ".join(text for part in parts if (text := said(part))) or plain(address.text)
