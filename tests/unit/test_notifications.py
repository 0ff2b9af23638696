from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.errors import InputError
from fhir_bridge.intake.notifications import Content, Deletion, Notification, Route, Shape, check, parse
from fhir_bridge.intake.subscription_status import Event, NotificationType
from tests.doubles.notifications import BASE, as_parameters, bundle, event, forms, status

APPOINTMENT = {"resourceType": "Appointment", "id": "a1", "status": "cancelled"}
PATIENT = {"resourceType": "Patient", "id": "p1"}
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(content: Any, **route: Any) -> Notification:
    """The notification of some JSON."""
    return parse(json.dumps(content).encode(), Route(**route))


@pytest.mark.parametrize("kind", NotificationType)
@pytest.mark.parametrize("form", range(4))
def test_every_type_is_told_in_every_form(kind: NotificationType, form: int) -> None:
    """handshake, heartbeat, event-notification, query-status, query-event: with all that the status says."""
    shape, sent = forms(status(kind, event()))[form]
    read = told(sent)
    assert (read.shape, read.type) == (shape, kind)
    assert (read.subscription, read.topic) == (
        f"{BASE}/Subscription/s1",
        "https://ehr.example/topics/lost-appointment",
    )
    assert (read.status, read.events_since_start) == ("active", 7)
    assert read.events == (Event(1, NOON, f"{BASE}/Appointment/a1"),)
    assert read.is_about_events is (kind in ("event-notification", "query-event"))


@pytest.mark.parametrize("form", range(4))
def test_an_empty_notification_names_nothing(form: int) -> None:
    """Content empty: an event without focus."""
    read = told(forms(status("event-notification", event(focus=None)))[form][1])
    assert (read.content, read.named, read.parts) == (Content.EMPTY, (), ())


@pytest.mark.parametrize("form", range(4))
def test_an_id_only_notification_names_what_changed(form: int) -> None:
    """Content id-only: the focus, and the entry without a resource, are one name."""
    entry = {"fullUrl": f"{BASE}/Appointment/a1", "request": {"method": "PUT", "url": "Appointment/a1"}}
    read = told(forms(status("event-notification", event()), entry)[form][1])
    assert (read.content, read.named) == (Content.ID_ONLY, (f"{BASE}/Appointment/a1",))


@pytest.mark.parametrize("form", range(4))
def test_a_full_notification_brings_its_resources_as_they_are(form: int) -> None:
    """Content full-resource: bytes with their fullUrl; the status is not among them."""
    entries = ({"fullUrl": f"{BASE}/Appointment/a1", "resource": APPOINTMENT}, PATIENT)
    read = told(forms(status("event-notification", event("1", None, "Patient/p1")), *entries)[form][1])
    assert read.content is Content.FULL
    assert [(part.resource_type, part.full_url) for part in read.parts] == [
        ("Appointment", f"{BASE}/Appointment/a1"),
        ("Patient", None),
    ]
    assert json.loads(read.parts[0].raw) == APPOINTMENT
    assert read.events[0].additional == ("Patient/p1",)


@pytest.mark.parametrize("form", range(4))
def test_several_events_come_in_one_message(form: int) -> None:
    """A batch: each event with its number and focus, in order."""
    events = [event(str(n), f"Appointment/a{n}") for n in (3, 4, 5)]
    read = told(forms(status("event-notification", *events))[form][1])
    assert [(e.number, e.focus) for e in read.events] == [
        (3, "Appointment/a3"),
        (4, "Appointment/a4"),
        (5, "Appointment/a5"),
    ]
    assert read.named == ("Appointment/a3", "Appointment/a4", "Appointment/a5")


@pytest.mark.parametrize("number", ["12", 12, " 12 "])
def test_a_counter_is_a_number_or_a_text(number: Any) -> None:
    """integer64 is a text in JSON; earlier versions and some servers write numbers."""
    made = status("event-notification", event(number), eventsSinceSubscriptionStart=number)
    read = told(bundle("history", made))
    assert (read.events_since_start, read.events[0].number) == (12, 12)
    in_parameters = as_parameters(made)
    in_parameters["parameter"][4] = {"name": "events-since-subscription-start", "valueUnsignedInt": number}
    assert told(bundle("history", in_parameters)).events_since_start == 12


@pytest.mark.parametrize("form", range(4))
def test_what_an_event_deletes_is_gone_since_that_event(form: int) -> None:
    """An entry with DELETE: not to be read any more, and dated by its event where it has no date."""
    entry = {"fullUrl": f"{BASE}/Appointment/a1", "request": {"method": "DELETE", "url": "Appointment/a1"}}
    read = told(forms(status("event-notification", event()), entry)[form][1])
    assert read.deletions == (Deletion("Appointment/a1", "2026-11-23T12:00:00+00:00"),)
    assert read.named == ()


def test_an_entry_with_no_more_than_its_name_names_what_changed() -> None:
    """No request and no response beside it, against the letter (bdl-5): it is no resource that is broken."""
    made = told(bundle("history", {"resource": status()}, {"fullUrl": f"{BASE}/Appointment/a1"}))
    assert (made.parts, made.named) == ((), (f"{BASE}/Appointment/a1",))


def test_a_bare_resource_is_an_event_with_its_content() -> None:
    """R4 rest-hook with payload, by POST or by PUT to Type/id."""
    for route in ({}, {"method": "PUT", "resource_type": "Appointment", "resource_id": "a1"}):
        read = told(APPOINTMENT, **route)
        assert (read.shape, read.type, read.content) == (
            Shape.RESOURCE,
            NotificationType.EVENT,
            Content.FULL,
        )
        assert [part.resource_type for part in read.parts] == ["Appointment"]


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_names_what_its_path_names(body: bytes) -> None:
    """R4 rest-hook without payload."""
    assert parse(body) == Notification(Shape.EMPTY)
    route = Route("PUT", "Appointment", "a1")
    assert parse(body, route) == Notification(Shape.EMPTY, named=("Appointment/a1",))


@pytest.mark.parametrize(
    ("body", "route"),
    [
        (b"{}", Route(deleted="Appointment/a1")),
        (b"", Route("DELETE", "Appointment", "a1")),
        (b"{}", Route("POST", "Patient", "other", deleted="Appointment/a1")),
    ],
)
def test_a_deletion_is_said_by_method_or_header(body: bytes, route: Route) -> None:
    """Medplum's `{}` with X-Medplum-Deleted-Resource; HAPI's DELETE."""
    check(body, route)
    assert parse(body, route) == Notification(Shape.DELETION, deletions=(Deletion("Appointment/a1"),))


def test_a_bundle_without_a_status_is_what_it_holds() -> None:
    """Nobody guesses a subscription; the resources are there all the same."""
    read = told(bundle("collection", APPOINTMENT, PATIENT))
    assert (read.shape, read.type, read.subscription) == (Shape.BUNDLE, NotificationType.EVENT, None)
    assert [part.resource_type for part in read.parts] == ["Appointment", "Patient"]


def test_a_status_by_itself_is_a_notification() -> None:
    """A heartbeat without its Bundle; other Parameters are no status."""
    assert told(status("heartbeat")).type is NotificationType.HEARTBEAT
    assert told(as_parameters(status("heartbeat"))).shape is Shape.R4_BACKPORT
    held = {"resourceType": "Parameters", "parameter": [{"name": "appointment", "resource": APPOINTMENT}]}
    assert [part.resource_type for part in told(held).parts] == ["Appointment"]


def test_errors_are_told_by_their_codes() -> None:
    """The words beside them may quote anything."""
    error = [{"coding": [{"code": "no-response"}], "text": "Juniper Sample"}]
    read = told(bundle("history", status("heartbeat", status="error", error=error)))
    assert (read.status, read.errors) == ("error", ("no-response",))


@pytest.mark.parametrize(
    ("changed", "element"),
    [
        ({"type": "surprise-Juniper"}, "Bundle.entry[0].resource.type"),
        ({"type": None}, "Bundle.entry[0].resource.type"),
        ({"eventsSinceSubscriptionStart": "Juniper"}, "resource.eventsSinceSubscriptionStart"),
        ({"eventsSinceSubscriptionStart": True}, "resource.eventsSinceSubscriptionStart"),
        ({"eventsSinceSubscriptionStart": "9" * 30}, "resource.eventsSinceSubscriptionStart"),
        ({"eventsSinceSubscriptionStart": -1}, "resource.eventsSinceSubscriptionStart"),
        ({"topic": 5}, "resource.topic"),
        ({"subscription": {"reference": ["Juniper"]}}, "resource.subscription"),
        ({"notificationEvent": ["Juniper"]}, "resource.notificationEvent[0]"),
        ({"notificationEvent": [{"eventNumber": "Juniper"}]}, "notificationEvent[0].eventNumber"),
        ({"notificationEvent": [{"focus": {"reference": 3}}]}, "notificationEvent[0].focus"),
    ],
)
def test_what_cannot_be_read_names_its_element(changed: dict[str, Any], element: str) -> None:
    """And never shows its value. At the door it is taken: a person must see it, for the sender will not."""
    body = json.dumps(bundle("history", {**status(), **changed})).encode()
    with pytest.raises(InputError) as error:
        parse(body)
    assert element in str(error.value)
    assert "Juniper" not in str(error.value)
    check(body, Route())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"resourceType":"Bundle"', "not-json"),
        (b"Juniper", "not-json"),
        (b"[1,2]", "not-fhir"),
        (b"{}", "not-fhir"),
        (b'"Juniper"', "not-fhir"),
        (b'{"resourceType":5}', "not-fhir"),
        (b"<Bundle/>", "xml"),
        (b'{"a":' * 100_000, "too-deep"),
        (b"\xff\xfe{", "encoding"),
        (b'{"resourceType":"Patient"} {"resourceType":"Patient"}', "not-json"),
    ],
)
def test_what_is_no_fhir_is_told_at_the_door(body: bytes, code: str) -> None:
    """Both at the door and when it is read."""
    for read in (check, parse):
        with pytest.raises(InputError) as error:
            read(body, Route())
        assert error.value.code == code
        assert "Juniper" not in str(error.value)


@pytest.mark.parametrize(
    "body",
    [{"resourceType": "Appointment"}, {**APPOINTMENT, "id": "a2"}, {**PATIENT, "id": "a1"}],
    ids=["no id", "another id", "another type"],
)
def test_a_resource_at_the_path_of_another_one_is_refused(body: dict[str, Any]) -> None:
    """Without its id each version of it would be another appointment, and another call."""
    place = {"method": "PUT", "resource_type": "Appointment", "resource_id": "a1"}
    with pytest.raises(InputError) as caught:
        told(body, **place)
    assert caught.value.code == "notification-element"
    assert len(told(APPOINTMENT, **place).parts) == 1


@pytest.mark.parametrize("route", [Route(deleted="Juniper Sample"), Route("DELETE")])
def test_a_deletion_of_nothing_is_unreadable(route: Route) -> None:
    """Neither header nor path names Type/id."""
    with pytest.raises(InputError, match="not Type/id"):
        parse(b"{}", route)


def test_a_resource_in_another_encoding_takes_no_other_along() -> None:
    """A name in Latin-1: whoever reads that resource says so; the others of the message are as they are."""
    sent = json.dumps(bundle("collection", APPOINTMENT, PATIENT)).encode()
    body = sent.replace(b'"p1"', b'"p\xe9"')
    check(body, Route())
    assert len(parse(body).parts) == 2


def test_other_encodings_and_marks_are_read() -> None:
    """A byte order mark, UTF-16: as in files."""
    text = json.dumps(status("heartbeat"))
    for encoding in ("utf-8-sig", "utf-16"):
        check(text.encode(encoding), Route())
        assert parse(text.encode(encoding)).type is NotificationType.HEARTBEAT


def test_every_example_of_the_corpus_is_told(corpora: Path) -> None:
    """Three servers' own, conformant and not: each file name says what it must be."""
    folder = corpora / "subscriptions-backport"
    seen = set()
    for file in sorted(folder.rglob("*.json")):
        read = parse(file.read_bytes())
        name = file.name.lower().replace("_", "-")
        for word in ("handshake", "heartbeat"):
            assert (word in name) is (read.type == word), file
        if "bundle" in name and "subscription-status" not in name:
            assert read.subscription, file
            content = next((c for c in ("empty", "full-resource", "id") if c in name), "empty")
            assert read.content.startswith(content), file
        seen.add((read.shape, read.type, read.content))
    assert {shape for shape, _, _ in seen} == {Shape.RESOURCE, Shape.R4_BACKPORT, Shape.R4B, Shape.R5}
    assert len(seen) >= 7


JSONISH: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ELEMENTS = [*status(), "entry", "parameter", "focus", "type", "resource", "reference"]


@FUZZ
@given(
    changes=st.dictionaries(st.sampled_from(ELEMENTS), JSONISH, max_size=3),
    of_event=st.dictionaries(st.sampled_from(ELEMENTS), JSONISH, max_size=2),
    form=st.integers(0, 3),
)
def test_a_sloppy_notification_is_read_or_refused(
    changes: dict[str, Any], of_event: dict[str, Any], form: int
) -> None:
    """Nothing but InputError comes out, whatever stands where an element should."""
    made = {**status("event-notification", {**event(), **of_event}), **changes}
    sent = forms(status("event-notification", event()))[form][1]
    if form:
        sent["entry"][0]["resource"] = made
    else:
        sent["entry"][0]["resource"]["parameter"] = [
            {"name": name, "valueString": value, "part": value} for name, value in made.items()
        ]
    try:
        read = parse(json.dumps(sent).encode())
    except InputError:
        return
    assert isinstance(read, Notification)


@FUZZ
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: b'{"resourceType":' + text.encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """The door and the reader agree: what the door refuses could not have been read."""
    try:
        parse(body)
    except InputError:
        return
    check(body, Route())


def test_what_comes_out_is_frozen() -> None:
    """A notification is a value."""
    read = told(APPOINTMENT)
    with pytest.raises(AttributeError):
        read.topic = "other"  # type: ignore[misc]
    assert isinstance(read.parts[0], msgspec.Struct)
