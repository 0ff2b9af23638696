"""A source's FHIR server, from the way there to the searches that a case needs; each step by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from fhir_bridge.checkup import way
from fhir_bridge.checkup.step import Mark, Step, is_our_right, tried, untried
from fhir_bridge.errors import FhirServerError
from fhir_bridge.fetching.searching import TYPES, Searcher
from fhir_bridge.fhir import envelopes
from fhir_bridge.fhir_client.capabilities import Capabilities
from fhir_bridge.fhir_client.pages import page_of
from fhir_bridge.fhir_client.route import Route
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.fhir_client.smart import covers
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.subscriptions.findings import NEVER_ACTIVE
from fhir_bridge.subscriptions.kept import kept_of
from fhir_bridge.subscriptions.offered import offered_of

NOBODY = "fhir-bridge-check"
"""An id that no server has: to be told so is to be let in."""

READ = ("Patient", "Appointment", "ServiceRequest", "Practitioner", "PractitionerRole", "Organization",
        "Location", "Encounter", "Coverage", "RelatedPerson", "Consent")  # fmt: skip
"""The types of a case."""

ESSENTIAL = ("Patient", "Appointment")
"""Without these nobody can be called; without the others less is known."""

MEANING = {
    "patients": "who is named by a number alone",
    "encounters": "previous visits",
    "appointments": "whether something else is booked already, and nobody is called unknowing",
    "chain": "the appointments of an order",
    "related_persons": "whom to call for a minor",
    "coverages": "insurance",
    "consents": "who denies calls, and nobody is called unknowing unless the server has no Consent",
    "roles": "where a practitioner works",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What is tried: the source's server, the way there, its rules, and where it is to tell us of changes.

    `read`: a `Type/id` to read in earnest; without one a resource that is not there is asked for.
    `vendor_in`: the layer that is meant by what a server calls itself; None where the source has one already.
    """

    server: FhirServer
    route: Route
    profile: Profile
    endpoint: str | None
    now: datetime
    read: str | None = None
    vendor_in: Callable[[str], str | None] | None = None


async def source_steps(on: Checked) -> AsyncIterator[Step]:
    """The steps in order, each as it is done; one that fails keeps those that need it from being tried."""
    yield way.the_way_out(on.server.base_url, on.route)
    name = await tried("dns", lambda: way.the_name(on.server.base_url, on.route))
    yield name
    if name.mark is Mark.FAIL:
        for step in _untried_after("dns"):
            yield step
        return
    try:
        met = await way.met(on.server, on.now)
    except FhirServerError as error:
        yield Step("tls", Mark.FAIL, str(error), error.hint, error.code)
        for step in _untried_after("tls"):
            yield step
        return
    yield met.certificate
    yield met.clock
    yield await tried("metadata", lambda: _metadata(on))
    for name_, look in (("token", _token), ("read", _read)):
        done = await tried(name_, partial(look, on))
        yield done
        if done.mark is Mark.FAIL and done.code != "scope-narrow":
            for step in _untried_after(name_):
                yield step
            return
    async for step in _searched(on):
        yield step
    yield await tried("subscriptions", lambda: _subscriptions(on))


def _untried_after(name: str) -> Iterator[Step]:
    """Every later step, which waits for this one."""
    order = ("dns", "tls", "clock", "metadata", "token", "read", *map(_search_step, TYPES), "subscriptions")
    return (untried(later, name) for later in order[order.index(name) + 1 :])


def _search_step(name: str) -> str:
    return f"search {name}"


async def _metadata(on: Checked) -> Step:
    said = await on.server.supports()
    whose = f"{said.software or 'a server that does not name itself'}, FHIR {said.fhir_version or 'unsaid'}"
    offered = offered_of(await on.server.capabilities())
    tells = f"tells of changes ({offered.form})" if offered.subscribes else "has no Subscriptions"
    batches = "takes batches" if "batch" in said.interactions else "takes no batches"
    found = f"{whose}; {tells}; {batches}"
    lacking = [kind for kind in READ if said.lacks(kind, "read")]
    if any(kind in ESSENTIAL for kind in lacking):
        to_do = "without these nobody can be called: is base_url the right one?"
        return Step("metadata", Mark.FAIL, f"{found}; no {', '.join(lacking)}", to_do, "types-lacking")
    if lacking:
        to_do = "what they would say is not said; nothing else is lost"
        return Step("metadata", Mark.WARN, f"{found}; no {', '.join(lacking)}", to_do, "types-lacking")
    if on.vendor_in is not None and (vendor := on.vendor_in(said.software or "")):
        to_do = f'set vendor = "{vendor}" for this source, so that it is asked and read as its vendor has it'
        return Step("metadata", Mark.WARN, found, to_do, "vendor-unset")
    return Step("metadata", Mark.OK, found)


async def _token(on: Checked) -> Step:
    told = await on.server.credentials()
    lacking = [kind for kind in READ if told.scope is not None and not covers(told.scope, kind)]
    if not lacking:
        return Step("token", Mark.OK, told.words)
    mark = Mark.FAIL if any(kind in ESSENTIAL for kind in lacking) else Mark.WARN
    to_do = f"ask for the scope to read {', '.join(lacking)}, or set `scope` where the server grants more"
    return Step("token", mark, told.words, to_do, "scope-narrow")


async def _read(on: Checked) -> Step:
    kind, _, id_ = (on.read or f"Patient/{NOBODY}").partition("/")
    try:
        await on.server.read(kind, id_)
    except FhirServerError as error:
        if on.read is not None or not is_our_right(error):
            raise
        return Step("read", Mark.OK, f"we may ask: it knows no Patient/{NOBODY} (HTTP {error.status})")
    return Step("read", Mark.OK, f"{kind} was read")


UNHEEDED = (
    "others are left out of a case, but each case asks for everybody: "
    "name what the server heeds in the site's layer, under `searches`"
)


async def _searched(on: Checked) -> AsyncIterator[Step]:
    """Each search of a case, in the ways of the source's layers, about nobody."""
    searcher = Searcher(on.server, on.profile)
    values = {
        "patient": NOBODY,
        "practitioner": NOBODY,
        "order_id": NOBODY,
        "order": f"ServiceRequest/{NOBODY}",
        "identifier": f"urn:{NOBODY}|{NOBODY}",
    }
    for name, kind in TYPES.items():
        step = _search_step(name)

        async def look(name: str = name, kind: str = kind, step: str = step) -> Step:
            ways = getattr(on.profile.searches, name)
            if not ways:
                return Step(step, Mark.OK, f"not asked: {on.profile.layer_of(f'searches.{name}')} says so")
            found = await searcher.search(name, on.now, **values)
            if matches := sum(page.matches for each in found.pages if (page := page_of(each))):
                says = f"it does not heed what is asked: {kind} of others for an id it does not know"
                return Step(step, Mark.WARN, f"{says} ({matches})", UNHEEDED, "search-unheeded")
            if found.pages:
                how = f"{kind} in way {len(found.refused) + 1} of {len(ways)}"
                return Step(step, Mark.OK, f"{how}{_after(found.refused)}")
            to_do = f"unknown without it: {MEANING[name]}; docs/vendors.md says what each vendor takes"
            return Step(step, Mark.WARN, found.refused[-1], to_do, "search-refused")

        yield await tried(step, look)


def _after(refused: tuple[str, ...]) -> str:
    return f"; before it: {refused[-1]}" if refused else ""


async def _subscriptions(on: Checked) -> Step:
    """Which Subscriptions the server has that post to us."""
    said: Capabilities = await on.server.supports()
    if said.lacks("Subscription"):
        to_do = "it does not tell of changes: bring its data as files or by `export`"
        return Step("subscriptions", Mark.WARN, "the server has none", to_do, "no-subscriptions")
    try:
        kept = [
            each
            async for page in on.server.search("Subscription", [("_count", "100")], limit=500)
            for part in envelopes.unpack(page).parts
            if (each := kept_of(msgspec.json.decode(part.raw))) is not None
        ]
    except FhirServerError as error:
        if not is_our_right(error) and error.status != 403:
            raise
        to_do = "`fhir-bridge sources` shows what the ledger knows of them"
        return Step("subscriptions", Mark.WARN, str(error), to_do, "subscriptions-unlisted")
    if on.endpoint is None:
        return Step(
            "subscriptions", Mark.OK, f"{len(kept)} there; this source is not set to be told of changes"
        )
    ours = [each for each in kept if each.endpoint == on.endpoint]
    told = ", ".join(f"{each.label} {each.status}" for each in ours)
    if not ours:
        found = f"none of {len(kept)} posts to {on.endpoint}"
        to_do = "make one: `fhir-bridge subscribe create`"
        return Step("subscriptions", Mark.WARN, found, to_do, "not-subscribed")
    if any(each.status not in ("active", "requested") for each in ours):
        to_do = "`fhir-bridge subscribe activate` revives it"
        return Step("subscriptions", Mark.WARN, told, to_do, "subscription-ended")
    if any(each.status == "requested" for each in ours):
        return Step("subscriptions", Mark.WARN, told, NEVER_ACTIVE, "subscription-requested")
    return Step("subscriptions", Mark.OK, told)
