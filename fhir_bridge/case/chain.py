"""Chains: the order and Appointments that are one piece of work, and the root that names it (mapping, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment


@dataclass(frozen=True, slots=True)
class Chain:
    """One piece of work.

    `root` is its part of the intent's key, `members` the labels of all orders and Appointments in it, also of those
    that are only referred to; `appointments` are the ones at hand, the trigger included, oldest first.
    """

    root: str
    members: tuple[str, ...]
    appointments: tuple[Resource[Appointment], ...]
    complete: bool = False
