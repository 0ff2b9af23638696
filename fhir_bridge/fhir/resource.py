"""A resource as it was read: its view, its bytes, and where it came from."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from fhir_bridge.fhir.views import View

V = TypeVar("V", bound=View, covariant=True)


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a resource stood: a file (or stdin, or a message), its line in NDJSON, its entry in a Bundle."""

    file: str
    line: int | None = None
    entry: int | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return where if self.entry is None else f"{where} entry {self.entry}"


class Resource(msgspec.Struct, Generic[V], frozen=True, eq=False, gc=False):
    """One resource that was read. Compared by identity: two readings are two resources.

    `container` is the resource this one is contained in. `notes` are the codes of what had to be mended to
    read it (mapping, section 16), for instance `code-case`. `lasting` are the bytes it is known by in
    every message where it has no id and its own name others by URNs; None: its own.
    """

    view: V
    raw: bytes
    origin: Origin
    full_url: str | None = None
    container: Resource[View] | None = None
    notes: tuple[str, ...] = ()
    lasting: bytes | None = None

    @property
    def label(self) -> str:
        """`Type/id`; contained: `Type/id#fragment`; without an id the fullUrl, else Type/ and the origin."""
        view = self.view
        if self.container is not None:
            return f"{self.container.label}#{view.id or ''}"
        if view.id:
            return f"{view.resource_type}/{view.id}"
        return self.full_url or f"{view.resource_type}/{self.origin}"

    @property
    def version(self) -> str | None:
        """meta.versionId, if any."""
        meta = self.view.meta
        return meta.version_id if meta else None

    @property
    def versioned_label(self) -> str:
        """The label, with `/_history/version` where the version is known."""
        version = self.version
        return self.label if version is None else f"{self.label}/_history/{version}"
