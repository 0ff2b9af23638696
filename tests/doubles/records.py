"""The resources a FHIR server double keeps, with every version of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Change = Callable[[str, Json | None], None]
"""What is told of a change: `Type/id`, and the resource as it is now (None: deleted)."""


@dataclass
class Records:
    """Resources by `Type/id`; a deleted one has None as its newest version. `listeners` are told of changes,
    for instance who sends notifications."""

    versions: dict[str, list[Json | None]] = field(default_factory=dict)
    listeners: list[Change] = field(default_factory=list)

    def put(self, *resources: Json) -> Json:
        """Keep each as its next version, with meta as a server writes it; gives the last as it is kept."""
        kept: Json = {}
        for resource in resources:
            resource = dict(resource)
            resource.setdefault("id", f"made-{len(self.versions) + 1}")
            label = f"{resource['resourceType']}/{resource['id']}"
            known = self.versions.setdefault(label, [])
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            meta = {**resource.get("meta", {}), "versionId": str(len(known) + 1), "lastUpdated": now}
            kept = {**resource, "meta": meta}
            known.append(kept)
            self._tell(label, kept)
        return kept

    def change(self, label: str, **elements: Any) -> Json:
        """The next version of a resource, with these elements changed; None takes one away."""
        current = self.get(label)
        assert current is not None, label
        changed = {**current, **elements}
        return self.put({name: value for name, value in changed.items() if value is not None})

    def remove(self, label: str) -> None:
        """Delete it: gone from now on."""
        self.versions[label].append(None)
        self._tell(label, None)

    def get(self, label: str) -> Json | None:
        """The newest version; None for a deleted one. Raises KeyError for one that never was."""
        return self.versions[label][-1]

    def of_type(self, resource_type: str) -> Iterator[Json]:
        """What there is of a type, in the order it came."""
        for label, known in self.versions.items():
            if label.startswith(f"{resource_type}/") and known[-1] is not None:
                yield known[-1]

    def _tell(self, label: str, resource: Json | None) -> None:
        for listener in self.listeners:
            listener(label, resource)
