"""Which trigger calls: the table of mapping, section 3, a function for each row, asked from top to bottom.

Row 1 (nothing in the input is a trigger) has no case and is counted where the input is read.

Long because the table is: a row is looked up here as there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from fhir_bridge.case.case import Trigger
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, is_appointment, is_order
from fhir_bridge.mapping.losses import loss_class, replacement
from fhir_bridge.mapping.marks import marked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.replacing import replaced, superseding
from fhir_bridge.mapping.said import code, said
from fhir_bridge.mapping.schedulable import laboratory_code, order_class, unruled_codes
from fhir_bridge.mapping.statuses import Status, status_of
from fhir_bridge.mapping.verdict import Look, Verdict

Row = Callable[[Look], Verdict | None]

BOOKED_IN_ERROR = "booked-in-error"


def status_verdict(
    trigger: Trigger, profile: Profile, recorder: Recorder
) -> tuple[Status | None, Verdict | None]:
    """Row 2, which every other row needs: the status in FHIR's codes, or the verdict that there is none."""
    status = status_of(trigger, profile)
    if status is None:
        missing = code(trigger.view.status) is None
        reason = "status-missing" if missing else "status-unknown"
        return None, Verdict(reason, ((trigger, "status"),), wanted=True)
    if status.note:
        recorder.note(status.note, trigger, "status")
    return status, None


def ends_by_status(trigger: Trigger, profile: Profile) -> bool:
    """Whether row 2, 3, 5 or 11 ends the matter at the latest, so that nothing counts but the person and the
    chain's orders: neither visits nor what was found in them."""
    status = status_of(trigger, profile)
    if status is None or status.code == "entered-in-error":
        return True
    if is_order(trigger.view):
        return status.code != "active"
    return status.code in profile.triggers.booked


def table_verdict(look: Look) -> tuple[int, Verdict] | None:
    """The first row from 3 to 19 that decides, with its number; None: row 20, somebody is to be called."""
    for number, row in _ORDER_ROWS if look.case.is_order else _APPOINTMENT_ROWS:
        if verdict := row(look):
            return number, verdict
    return None


def is_rescheduling(look: Look) -> bool:
    """Row 20: whether the call reschedules: what was lost, or what replaces another appointment; else it
    schedules."""
    view = look.case.trigger.view
    if not is_appointment(view):
        return False
    return look.status in look.profile.triggers.lost or any(replaced(view, look.profile))


def _entered_in_error(look: Look) -> Verdict | None:
    return _by_status(look, "entered-in-error") if look.status == "entered-in-error" else None


def _do_not_perform(look: Look) -> Verdict | None:
    order = _order(look)
    return Verdict("do-not-perform", ((order, "doNotPerform"),)) if order.view.do_not_perform else None


def _not_active(look: Look) -> Verdict | None:
    return _by_status(look, "not-active") if look.status != "active" else None


def _not_an_order(look: Look) -> Verdict | None:
    order = _order(look)
    intent = code(order.view.intent)
    if intent not in look.profile.triggers.order_intents:
        layer = look.profile.layer_of("triggers.order_intents")
        return Verdict("not-an-order", ((order, "intent"),), layer=layer)
    if order.view.intent != intent:
        look.recorder.note("code-case", order, "intent")
    return None


def _not_schedulable(look: Look) -> Verdict | None:
    order = _order(look)
    known = order_class(order, look.profile)
    if known.unscheduled(look.profile):
        detail = ", ".join(sorted(known.classes & look.profile.orders.not_scheduled))
        return Verdict(
            "not-schedulable", ((order, known.path),), detail, map_row=known.map_row, layer=known.layer
        )
    if evidence := look.case.laboratory_evidence:
        return Verdict("not-schedulable", evidence, "laboratory")
    if word := laboratory_code(order, look.profile):
        return Verdict(
            "not-schedulable", ((order, "code"),), "laboratory", map_row=word.row, layer=word.layer
        )
    return None


def _not_known_schedulable(look: Look) -> Verdict | None:
    order = _order(look)
    if order_class(order, look.profile).scheduled(look.profile):
        return None
    return Verdict("not-schedulable-unknown", ((order, "category"), (order, "code")), unruled_codes(order))


def _awaiting_triage(look: Look) -> Verdict | None:
    order = _order(look)
    mark = marked(order.view.extension, look.profile.triggers.awaiting_triage)
    if mark is None:
        return None
    layer = look.profile.layer_of("triggers.awaiting_triage")
    return Verdict("awaiting-triage", ((order, f"extension('{mark.url}')"),), layer=layer)


def _order_withdrawn(look: Look) -> Verdict | None:
    """Every order at hand that the Appointment is based on is over or withdrawn: while one is not, it is
    wanted."""
    orders = [link.resource for link in look.case.orders if link.resource]
    if not orders:
        return None
    statuses = [status_of(order, look.profile) for order in orders]
    withdrawn = look.profile.triggers.withdrawn
    if not all(status and status.code in withdrawn for status in statuses):
        return None
    return Verdict("order-withdrawn", tuple((order, "status") for order in orders))


def _already_booked(look: Look) -> Verdict | None:
    return _by_status(look, "already-booked") if look.status in look.profile.triggers.booked else None


def _chain_booked(look: Look) -> Verdict | None:
    """Another Appointment of the chain is booked or kept: not over yet, or created after the trigger."""
    trigger = look.case.trigger
    for other in look.case.chain_appointments:
        if other is trigger or other.label == trigger.label:
            continue
        status = status_of(other, look.profile)
        if status and status.code in look.profile.triggers.booked and _counts(other, look):
            return Verdict("already-booked", ((other, "status"),), status.code)
    return None


def _no_patient(look: Look) -> Verdict | None:
    if look.case.patient_reference is not None:
        return None
    return Verdict("no-patient", ((look.case.trigger, "subject" if look.case.is_order else "participant"),))


def _window_passed(look: Look) -> Verdict | None:
    if look.status not in look.profile.triggers.waiting:
        return None
    windows = look.windows
    if windows and all(window.over(look.now) for window in windows):
        return Verdict("window-passed", tuple(window.element for window in windows))
    return None


def _reason_of_loss(look: Look) -> Verdict | None:
    found = _class_of_loss(look)
    return found if found and found.reason != BOOKED_IN_ERROR else None


def _booked_in_error(look: Look) -> Verdict | None:
    return _class_of_loss(look)


def _already_rebooked(look: Look) -> Verdict | None:
    if look.status not in look.profile.triggers.lost:
        return None
    lost = _appointment(look)
    since = look.loss[0] if look.loss else None
    if other := replacement(look.case, lost, since, look.profile, look.now):
        return Verdict("already-rebooked", ((other, "status"),))
    element = superseding(look.case, lost, look.profile)
    return Verdict("already-rebooked", (element,)) if element else None


def _lost_too_long_ago(look: Look) -> Verdict | None:
    if look.status not in look.profile.triggers.lost:
        return None
    lost = _appointment(look)
    known: list[tuple[datetime, str]] = []
    if start := parse(lost.view.start):
        known.append((start.end_instant(look.profile.source.zone), "start"))
    if look.loss:
        known.append(look.loss)
    if not known:
        return None
    newest, path = max(known)
    if look.now - newest <= timedelta(days=look.profile.triggers.reschedule_within_days):
        return None
    return Verdict(
        "reschedule-window-passed",
        ((lost, path),),
        layer=look.profile.layer_of("triggers.reschedule_within_days"),
    )


def _too_old(look: Look) -> Verdict | None:
    newest = _newest(look)
    if newest is None or look.now - newest[0] <= timedelta(days=look.profile.triggers.max_age_days):
        return None
    return Verdict("trigger-too-old", (newest[1],), layer=look.profile.layer_of("triggers.max_age_days"))


ORDER, APPOINTMENT, ANY = "order", "Appointment", "any trigger"

TABLE: tuple[tuple[int, str, Row], ...] = (
    (3, ANY, _entered_in_error),
    (4, ORDER, _do_not_perform),
    (5, ORDER, _not_active),
    (6, ORDER, _not_an_order),
    (7, ORDER, _not_schedulable),
    (8, ORDER, _not_known_schedulable),
    (9, ORDER, _awaiting_triage),
    (10, APPOINTMENT, _order_withdrawn),
    (11, APPOINTMENT, _already_booked),
    (12, ANY, _chain_booked),
    (13, ANY, _no_patient),
    (14, APPOINTMENT, _window_passed),
    (15, APPOINTMENT, _reason_of_loss),
    (16, APPOINTMENT, _booked_in_error),
    (17, APPOINTMENT, _already_rebooked),
    (18, APPOINTMENT, _lost_too_long_ago),
    (19, ANY, _too_old),
)
"""The table of mapping, section 3, after row 2: the row's number, what it is about, and the function that
asks it."""

_ORDER_ROWS = tuple((number, row) for number, about, row in TABLE if about != APPOINTMENT)
_APPOINTMENT_ROWS = tuple((number, row) for number, about, row in TABLE if about != ORDER)


def _by_status(look: Look, reason: str) -> Verdict:
    """A verdict on the status; with the layer that reads the written one as another, if one does."""
    trigger, layer = look.case.trigger, None
    if code(trigger.view.status) != look.status:
        key = f"triggers.{'order' if look.case.is_order else 'appointment'}_status_map"
        layer = look.profile.layer_of(key)
    return Verdict(reason, ((trigger, "status"),), look.status, layer=layer)


def _class_of_loss(look: Look) -> Verdict | None:
    if look.status not in look.profile.triggers.lost:
        return None
    lost = _appointment(look)
    found = loss_class(lost, look.profile)
    if found is None:
        return None
    return Verdict(found.reason, ((lost, found.path),), map_row=found.map_row, layer=found.layer)


def _counts(other: Resource[Appointment], look: Look) -> bool:
    """Whether a booked Appointment settles the trigger: it is not over at `now`, or was created after it.
    What an order led to came after the order by nature; a day without a time may be as late as its end."""
    zone = look.profile.source.zone
    closes = parse(other.view.end) or parse(other.view.start)
    if closes is None or closes.end_instant(zone) >= look.now:
        return True
    view = look.case.trigger.view
    created = parse(other.view.created)
    since = parse((view.authored_on or view.date) if is_order(view) else view.created)
    if created is None or since is None:
        return look.case.is_order
    return created.end_instant(zone) > since.instant(zone)


def _newest(look: Look) -> tuple[datetime, Element] | None:
    """The newest of authoredOn, created and the end of the windows; lastUpdated only where none of them
    exists, for a server's load stamps everything today."""
    trigger, zone = look.case.trigger, look.profile.source.zone
    view = trigger.view
    dated = (
        (("authoredOn", view.authored_on), ("date", view.date))
        if is_order(view)
        else (("created", view.created),)
    )
    known: list[tuple[datetime, Element]] = []
    for path, text in dated:
        if text is None:
            continue
        if moment := parse(text):
            known.append((moment.end_instant(zone), (trigger, path)))
        elif said(text):
            look.recorder.note("date-unreadable", trigger, path)
    known += [(window.last(zone), window.element) for window in look.windows]
    if not known and view.meta and (moment := parse(view.meta.last_updated)):
        known.append((moment.end_instant(zone), (trigger, "meta.lastUpdated")))
    return max(known, key=lambda pair: pair[0]) if known else None


def _order(look: Look) -> Resource[ServiceRequest]:
    trigger = look.case.trigger
    assert is_order(trigger.view)
    return trigger


def _appointment(look: Look) -> Resource[Appointment]:
    trigger = look.case.trigger
    assert is_appointment(trigger.view)
    return trigger
