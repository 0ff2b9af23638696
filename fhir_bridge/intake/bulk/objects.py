"""Exports in an object store: S3, Azure, GCS or plain HTTP, by obstore (the extra `objects`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fhir_bridge.errors import InputError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "https://", "http://")
LOCAL = ("http://127.0.0.1", "http://localhost", "http://[::1]")
CHUNK = 8 * 1024 * 1024


def is_url(path: str) -> bool:
    """Whether a PATH is an address in an object store."""
    return path.startswith(SCHEMES)


def listed(url: str, endings: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The object itself, or for an address that ends in `/` every one below it, by name, with its size.

    Raises InputError for none, UsageError without obstore and for `http://` to another machine.
    """
    store, name = _store(url)
    try:
        if name:
            yield url, int(store.head(name)["size"])
            return
        found = [(str(one["path"]), int(one["size"])) for batch in store.list() for one in batch]
    except _failures() as error:
        raise _unreadable(url, error) from None
    names = sorted(one for one in found if one[0].lower().endswith(tuple(endings)))
    if not names:
        raise InputError(f"{url}: no .json, .ndjson or .gz object there", code="empty-folder")
    yield from ((url + name, size) for name, size in names)


def head(url: str, length: int) -> bytes:
    """The first bytes of an object. Raises InputError where it cannot be read."""
    store, name = _store(url)
    try:
        size = int(store.head(name)["size"])
        return bytes(store.get_range(name, start=0, end=min(length, size))) if size else b""
    except _failures() as error:
        raise _unreadable(url, error) from None


def opened(url: str) -> Iterator[bytes]:
    """The bytes of an object. Raises InputError where it cannot be read."""
    store, name = _store(url)
    try:
        for chunk in store.get(name).stream(min_chunk_size=CHUNK):
            yield bytes(chunk)
    except _failures() as error:
        raise _unreadable(url, error) from None


def _store(url: str) -> tuple[ObjectStore, str]:
    """The folder of an address as a store, and the object's name in it. Keys and region, where they are
    needed, are taken from the environment, under the names that each provider's own tools use."""
    if url.startswith("http://") and not url.startswith(LOCAL):
        raise UsageError(f"{url.partition('?')[0]}: http:// only on this machine", hint="use https://")
    try:
        from obstore.store import from_url
    except ModuleNotFoundError:
        hint = "pip install 'fhir-bridge[objects]'"
        raise UsageError("an object store needs obstore", hint=hint) from None
    folder, _, name = url.rpartition("/")
    store: ObjectStore = from_url(f"{folder}/", client_options={"allow_http": url.startswith(LOCAL)})
    return store, name


def _unreadable(url: str, error: Exception) -> InputError:
    """Its kind alone: the provider's own words may hold a signature."""
    return InputError(f"{url.partition('?')[0]}: {type(error).__name__}: cannot be read", code="no-file")


def _failures() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return (BaseError, OSError)
