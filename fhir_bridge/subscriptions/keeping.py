"""Our Subscriptions on a source's server: which there are, making one, asking for it again, taking it away.

None is made twice: what is there is looked for first, and what is about the same and posts to the same
address is that one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import msgspec

from fhir_bridge.errors import FhirServerError, SettingsError, UsageError
from fhir_bridge.fhir import envelopes
from fhir_bridge.fhir_client.stored import Stored
from fhir_bridge.ledger.sources.watched import Watched
from fhir_bridge.subscriptions.building import Form, Json, Wanted, build
from fhir_bridge.subscriptions.kept import Kept, asked_again, kept_of
from fhir_bridge.subscriptions.offered import Offered, Topic, offered_of, topic_of
from fhir_bridge.subscriptions.watch_rules import WatchRules

BACKPORT_TOPICS = ("code", "http://hl7.org/fhir/fhir-types|SubscriptionTopic")
PAGE = ("_count", "100")
REFUSED = frozenset({"http-400", "http-405", "http-422", "http-501", "not-found", "forbidden"})
"""A search that the server does not do, or not for us."""


class Server(Protocol):
    """What keeping asks of a FHIR server."""

    async def capabilities(self) -> bytes:
        """Its CapabilityStatement."""
        ...

    async def read(self, resource_type: str, id: str) -> bytes:
        """One resource."""
        ...

    def search(self, resource_type: str, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """Each page, a Bundle."""
        ...

    async def create(self, resource_type: str, body: bytes) -> Stored:
        """Have a resource kept."""
        ...

    async def update(
        self, resource_type: str, id: str, body: bytes, *, if_version: str | None = None
    ) -> Stored:
        """Put a resource in the place of the one there."""
        ...

    async def delete(self, resource_type: str, id: str) -> None:
        """Take a resource away."""
        ...


class Ledger(Protocol):
    """What keeping asks of a ledger."""

    async def watched(self, source: str | None = None) -> list[Watched]:
        """The subscriptions of a source."""
        ...

    async def change_watched(
        self, source: str, subscription: str, of: Callable[[Watched], Watched]
    ) -> Watched:
        """Change a subscription by a pure function of what it is."""
        ...


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps one source's subscriptions. Its methods raise FhirServerError and LedgerError."""

    ledger: Ledger
    server: Server
    rules: WatchRules
    clock: Callable[[], datetime]

    async def wanted(self) -> list[Wanted]:
        """What there should be, in the form the settings or the server say; nothing is changed.

        Raises SettingsError without an endpoint or for what the form cannot say, UsageError where the server
        has no Subscriptions, or no topic for what is asked for.
        """
        rules = self.rules
        if rules.endpoint is None:
            raise SettingsError(
                f"sources.{rules.source}.subscription.endpoint is not set",
                hint="It is where the server posts to: https://our-host/fhir/" + rules.source,
            )
        offered = offered_of(await self.server.capabilities())
        if not offered.subscribes:
            raise UsageError(
                "this server has no Subscriptions: its CapabilityStatement does not list the type",
                code="no-subscriptions",
                hint="Ask its administrator, or bring its data as files or by `export`.",
            )
        form = rules.form or offered.form
        told = Wanted(
            form, rules.endpoint, rules.criteria, None, rules.content, rules.headers,
            round(rules.heartbeat.total_seconds()) or None, round(rules.timeout.total_seconds()) or None,
            rules.ends_at(self.clock()), rules.secret, rules.asked_as,
        )  # fmt: skip
        if form == "r4":
            return [self._for_r4(told, index) for index in range(len(rules.criteria))]
        topics = rules.topics or await self._topics_for(form, offered)
        return [replace(told, topic=topic) for topic in topics]

    def _for_r4(self, told: Wanted, index: int) -> Wanted:
        if told.content == "id-only":
            raise SettingsError(
                "an R4 Subscription without topics sends the whole resource or nothing, no ids",
                hint='Set content = "full-resource" or "empty".',
            )
        return replace(told, criteria=(told.criteria[index],))

    async def _topics_for(self, form: Form, offered: Offered) -> tuple[str, ...]:
        """The topics that tell of the types asked for; where none says its types, the only one there is."""
        topics = await self.topics(form, offered)
        types = {each.resource_type for each in self.rules.criteria}
        fitting = [topic.url for topic in topics if topic.resource_types & types]
        if not fitting and len(topics) == 1 and not topics[0].resource_types:
            fitting = [topics[0].url]
        if fitting:
            return tuple(fitting)
        there = ", ".join(topic.url for topic in topics) or "none"
        raise UsageError(
            f"the server offers no topic that tells of {' or '.join(sorted(types))} (it offers: {there})",
            code="no-topic",
            hint="Name one with --topic, or take --form r4 if the server also takes criteria.",
        )

    async def topics(self, form: Form, offered: Offered) -> list[Topic]:
        """What topics the server offers: as resources, in Basics (R4), and those its statement names."""
        found: dict[str, Topic] = {url.partition("|")[0]: Topic(url) for url in offered.topics}
        kind, asked = ("Basic", [BACKPORT_TOPICS]) if form == "r4-backport" else ("SubscriptionTopic", [])
        try:
            async for page in self.server.search(kind, [*asked, PAGE]):
                topics = (topic_of(resource) for resource in _resources(page))
                found |= {topic.url: topic for topic in topics if topic is not None and topic.is_usable}
        except FhirServerError as error:
            if error.code not in REFUSED and not found:
                raise
        return list(found.values())

    async def ours(self) -> list[Kept]:
        """The Subscriptions on the server that post to our endpoint; where it cannot list them, those that
        the ledger knows, one by one."""
        try:
            found = [
                kept
                async for page in self.server.search("Subscription", [PAGE])
                for resource in _resources(page)
                if (kept := kept_of(resource)) is not None
            ]
        except FhirServerError as error:
            if error.code not in REFUSED:
                raise  # there may be one that it cannot show now: a second would bring everything twice
            found = await self._known()
        known = {each.subscription for each in await self.ledger.watched(self.rules.source) if each.ours}
        return [kept for kept in found if kept.endpoint == self.rules.endpoint or kept.label in known]

    async def _known(self) -> list[Kept]:
        found = []
        for each in await self.ledger.watched(self.rules.source):
            kind, _, id = each.subscription.partition("/")
            if kind == "Subscription" and each.ours and each.state != "deleted":
                try:
                    found.append(kept_of(msgspec.json.decode(await self.server.read(kind, id))))
                except FhirServerError as error:
                    if error.code not in ("not-found", "gone"):
                        raise
        return [kept for kept in found if kept is not None]

    async def create(self, wanted: Wanted, there: Sequence[Kept]) -> tuple[Kept, bool]:
        """Have what is wanted, made if none of what is `there` is it; whether it was made now."""
        same = next((kept for kept in there if kept.is_as(wanted)), None)
        if same is not None:
            await self._note(same, wanted)
            return same, False
        body = build(wanted)
        stored = await self.server.create("Subscription", msgspec.json.encode(body))
        made = kept_of({**body, **_json(stored.body), "id": stored.id})
        assert made is not None
        await self._note(made, wanted)
        return made, True

    async def ask_again(self, kept: Kept, wanted: Wanted | None = None) -> Kept:
        """Have it asked for anew, with our secret and a new end: renewed where it is active, revived where
        it was given up."""
        wanted = wanted or self._same(kept)
        body = asked_again(kept, wanted)
        stored = await self.server.update(
            "Subscription", kept.id, msgspec.json.encode(body), if_version=kept.version_id
        )
        again = kept_of({**body, **_json(stored.body), "id": kept.id})
        assert again is not None
        await self._note(again, wanted)
        return again

    def _same(self, kept: Kept) -> Wanted:
        rules = self.rules
        return Wanted(
            kept.form, kept.endpoint or rules.endpoint or "", (), kept.topic, headers=rules.headers,
            ends_at=rules.ends_at(self.clock()), secret=rules.secret, status=rules.asked_as,
        )  # fmt: skip

    async def look_at(self, kept: Kept) -> Kept:
        """The same as it stands now."""
        now = kept_of(_json(await self.server.read("Subscription", kept.id)))
        if now is None:
            raise FhirServerError("the answer is no Subscription", code="not-fhir")

        def seen(known: Watched) -> Watched:
            return replace(known, state=now.status, ends_at=now.ends_at)

        await self.ledger.change_watched(self.rules.source, now.label, seen)
        return now

    async def remove(self, kept: Kept) -> None:
        """Take it away; one that is gone already is no error."""
        await self.server.delete("Subscription", kept.id)

        def removed(known: Watched) -> Watched:
            return replace(known, state="deleted", check_at=None)

        await self.ledger.change_watched(self.rules.source, kept.label, removed)

    async def _note(self, kept: Kept, wanted: Wanted) -> None:
        """Write down what is ours, so that it is watched, renewed and asked for again."""
        now = self.clock()

        def noted(known: Watched) -> Watched:
            return replace(
                known,
                ours=True,
                state=kept.status,
                form=wanted.form,
                topic=kept.topic,
                criteria=kept.criteria or known.criteria,
                endpoint=kept.endpoint,
                heartbeat=kept.heartbeat,
                ends_at=kept.ends_at,
                since=now if kept.status == "requested" else known.since or now,
                check_at=now,
            )

        await self.ledger.change_watched(self.rules.source, kept.label, noted)


def _resources(page: bytes) -> list[Json]:
    return [_json(part.raw) for part in envelopes.unpack(page).parts]


def _json(body: bytes) -> dict[str, Any]:
    """A resource; nothing where a server gives none back."""
    found: dict[str, Any] = msgspec.json.decode(body) if body else {}
    return found
