"""Coverage-guided fuzzing of what anybody may send: `make fuzz`. Ends with an error where something but
InputError comes out, where the door takes what the reader then refuses as no FHIR at all, or where a decision
cannot be made of what was read.

Not collected by pytest: it takes as long as it is given.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fhir_bridge"]):
    from fhir_bridge.app.rules import run_of
    from fhir_bridge.errors import InputError
    from fhir_bridge.intake.notifications import Route, check, parse
    from fhir_bridge.processing.reading import inputs_of, to_fetch
    from fhir_bridge.settings import Settings
    from fhir_bridge.webhook.answers import RefusedError
    from fhir_bridge.webhook.bodies import Bodies
    from tests.fuzz.seeds import seeds

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROUTES = (Route(), Route("PUT", "Appointment", "a1"), Route("DELETE", "Patient", "p1"), Route(deleted="A/1"))
BODIES = Bodies(1 << 16, 1.0)
RUN = run_of(Settings(), Settings().source(None), NOON)


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
        # A byte that is no UTF-8 in an element that is read: taken, for a person sees it then.
        assert error.code.startswith("notification-") or error.code == "encoding", error.code
        return
    inputs = inputs_of(notification, "fuzz", NOON)
    to_fetch(notification, inputs)
    RUN.taken(inputs)


if __name__ == "__main__":
    for number, seed in enumerate(seeds()):
        Path(sys.argv[-1], f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
