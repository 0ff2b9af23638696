"""Exports in an object store: S3, Azure, GCS or plain HTTP, by obstore (the extra `objects`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

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
    store, path = _store(url)
    try:
        if not url.endswith("/"):
            yield url, int(store.head(path)["size"])
            return
        found = [one for batch in store.list(path or None) for one in batch]
    except _failures() as error:
        raise InputError(f"{url}: {type(error).__name__}: cannot be read", code="no-file") from None
    names = sorted((str(one["path"]), int(one["size"])) for one in found)
    names = [(name, size) for name, size in names if name.lower().endswith(tuple(endings))]
    if not names:
        raise InputError(f"{url}: no .json, .ndjson or .gz object there", code="empty-folder")
    base = url.removesuffix("/").removesuffix(path.removesuffix("/")).removesuffix("/")
    yield from ((f"{base}/{name}", size) for name, size in names)


def head(url: str, length: int) -> bytes:
    """The first bytes of an object. Raises InputError where it cannot be read."""
    return next(opened(url), b"")[:length]


def opened(url: str) -> Iterator[bytes]:
    """The bytes of an object. Raises InputError where it cannot be read."""
    store, path = _store(url)
    try:
        for chunk in store.get(path).stream(min_chunk_size=CHUNK):
            yield bytes(chunk)
    except _failures() as error:
        raise InputError(f"{url}: {type(error).__name__}: cannot be read", code="no-file") from None


def _store(url: str) -> tuple[ObjectStore, str]:
    """The store and the path in it. What it needs, keys and region, it takes from the environment."""
    if url.startswith("http://") and not url.startswith(LOCAL):
        raise UsageError(f"{url.partition('?')[0]}: http:// only on this machine", hint="use https://")
    try:
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise UsageError("an object store needs obstore", hint="pip install 'fhir-bridge[objects]'") from None
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    options: dict[str, Any] = {"client_options": {"allow_http": True}} if url.startswith(LOCAL) else {}
    return from_url(f"{scheme}://{bucket}", **options), path


def _failures() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return (BaseError, OSError)
