"""Coverage-guided fuzzing of what anybody may send: `make fuzz`. Ends with an error where something but
InputError comes out, or where the door takes what the reader then refuses as no FHIR at all.

Not collected by pytest: it takes as long as it is given.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fhir_bridge"]):
    from fhir_bridge.errors import InputError
    from fhir_bridge.intake.notifications import Route, check, parse
    from fhir_bridge.processing.reading import inputs_of, to_fetch
    from fhir_bridge.webhook.answers import RefusedError
    from fhir_bridge.webhook.bodies import Bodies

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROUTES = (Route(), Route("PUT", "Appointment", "a1"), Route("DELETE", "Patient", "p1"), Route(deleted="A/1"))
BODIES = Bodies(1 << 16, 1.0)
SEEDS = (
    b'\x00{"resourceType":"Appointment","id":"a1","status":"proposed"}',
    b'\x00{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus",'
    b'"type":"event-notification","notificationEvent":[{"eventNumber":"1","focus":{"reference":"A/1"}}]}}]}',
    b'\x00{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Parameters","parameter":[{"name":'
    b'"subscription","valueString":"s"},{"name":"type","valueCode":"heartbeat"}]}},{"request":{"method":"DELETE",'
    b'"url":"Patient/1"}}]}',
)  # fmt: skip


def one(data: bytes) -> None:
    """One body, by one of the routes, packed or not."""
    if not data:
        return
    route, body = ROUTES[data[0] % len(ROUTES)], data[1:]
    if data[0] & 0x80:
        try:
            body = BODIES.unpacked(body, b"gzip")
        except RefusedError:
            return
    try:
        check(body, route)
    except InputError:
        return
    try:
        notification = parse(body, route)
    except InputError as error:
        assert error.code.startswith("notification-"), error.code
        return
    to_fetch(notification, inputs_of(notification, "fuzz", NOON))


if __name__ == "__main__":
    for number, seed in enumerate(SEEDS):
        Path(sys.argv[-1], f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
