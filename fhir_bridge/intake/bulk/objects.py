"""Exports in an object store: S3, Azure, GCS or plain HTTP, by obstore (the extra `objects`)."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from fhir_bridge.errors import InputError, UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import GetOptions
    from obstore.store import ObjectStore

SCHEMES = ("s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "https://", "http://")
LOCAL = ("http://127.0.0.1", "http://localhost", "http://[::1]")
ENDPOINTS = {
    ("s3://", "s3a://"): ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ("az://", "azure://", "abfs://", "abfss://"): (
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "AZURITE_BLOB_STORAGE_URL",
    ),
    ("gs://",): ("GOOGLE_BASE_URL",),
}
"""By what an address begins with, the variables that name a store other than the provider's own."""

CHUNK = 8 * 1024 * 1024
PATIENCE = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
"""For one request: for CHUNK bytes at most."""

RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}

_SAID = {
    "FileNotFoundError": ("not there", "is the address right? was it removed since it was listed?"),
    "NotFoundError": ("not there", "is the address right? was it removed since it was listed?"),
    "PermissionDeniedError": ("refused", "the key must be allowed to list the folder and read what is in it"),
    "UnauthenticatedError": ("refused", "is the key right? docs/migrate.md says which variables give it"),
    "PreconditionError": ("written anew while it was read", "run again when nothing writes there"),
}  # fmt: skip
_ELSE = (
    "cannot be reached",
    "are address, key and region right? docs/migrate.md says which variables give them",
)


_KINDS = {"401": "UnauthenticatedError", "403": "PermissionDeniedError", "404": "NotFoundError"}
_STATUS = re.compile(r"\b(40[134]) (?:Unauthorized|Forbidden|Not Found)")


class Listed(NamedTuple):
    """An object of a folder: its size in bytes, and the mark that tells this version of it from others."""

    url: str
    size: int
    mark: str | None


def is_url(path: str) -> bool:
    """Whether a PATH is an address in an object store."""
    return path.startswith(SCHEMES)


def listed(url: str) -> list[Listed]:
    """The object itself, or for an address that ends in `/` every one below it, by name.

    Raises InputError where it cannot be listed, UsageError without obstore and for `http://` to another
    machine.
    """
    if not url.endswith("/"):
        return [about(url)]
    store, _ = _store(url)
    with _told(url):
        return sorted(
            Listed(url + one["path"], one["size"], one["e_tag"]) for batch in store.list() for one in batch
        )


def about(url: str) -> Listed:
    """What is known of one object. Raises InputError where it cannot be looked at."""
    store, name = _store(url)
    with _told(url):
        found = store.head(name)
    return Listed(url, int(found["size"]), found["e_tag"])


class Object(io.RawIOBase):
    """An object as a file: each read is a request, and all are answered from the version that was listed.

    Reading raises InputError where that cannot be read.
    """

    def __init__(self, listed: Listed) -> None:
        self._url, self._size, self._mark = listed
        self._at = 0
        self._store, self._name = _store(listed.url)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As of any file."""
        view = memoryview(buffer)
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        options: GetOptions = {"range": (self._at, end)}
        if self._mark:
            options["if_match"] = self._mark
        with _told(self._url):
            data = self._store.get(self._name, options=options).bytes()
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def opened(listed: Listed) -> io.BufferedReader:
    """An object to read from, CHUNK bytes to a request. Reading raises InputError."""
    return io.BufferedReader(Object(listed), CHUNK)


def _store(url: str) -> tuple[ObjectStore, str]:
    """The folder of an address as a store, and the object's name in it. Keys and region, where they are
    needed, are taken from the environment, under the names that each provider's own tools use."""
    if url.startswith(("http://", "https://")) and "?" in url:
        raise UsageError(
            f"{named(url)}: an address with a signature in it cannot be read",
            hint="give the key in the environment and the address as s3://, az:// or gs://, or download it",
        )
    addresses = [url, *_endpoints(url)]
    for address in addresses:
        if address.startswith("http://") and not address.startswith(LOCAL):
            raise UsageError(f"{named(address)}: http:// only on this machine", hint="use https://")
    try:
        from obstore.store import from_url
    except ModuleNotFoundError:
        hint = "pip install 'fhir-bridge[objects]'"
        raise UsageError("an object store needs obstore", hint=hint) from None
    folder, _, name = url.rpartition("/")
    is_local = any(address.startswith(LOCAL) for address in addresses)
    options = {**PATIENCE, "allow_http": is_local}
    with _told(url):
        return from_url(_quoted(f"{folder}/"), client_options=options, retry_config=RETRIES), name  # type: ignore[call-overload]


def _quoted(folder: str) -> str:
    """A folder as a URL: in `s3://bucket/a b#c%20/` each character stands for itself, as for the providers'
    own tools."""
    if folder.startswith(("http://", "https://")):
        return folder
    scheme, _, path = folder.partition("://")
    return f"{scheme}://{quote(path)}"


def _endpoints(url: str) -> list[str]:
    """What the environment says is asked in the place of the provider's own store."""
    names = next((names for schemes, names in ENDPOINTS.items() if url.startswith(schemes)), ())
    return [value for name in names if (value := os.environ.get(name))]


def named(url: str) -> str:
    """An address as errors call it: without a signature."""
    return url.partition("?")[0]


@contextmanager
def _told(url: str) -> Iterator[None]:
    """A failure as an InputError of its kind: the provider's own words may hold a signature."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        what, hint = _SAID.get(_kind(error), _ELSE)
        raise InputError(f"{named(url)}: {what}", code="no-file", hint=hint) from None


def _kind(error: Exception) -> str:
    """What is wrong. Of a listing obstore tells no kind, and the status only in its words."""
    status = _STATUS.search(str(error))
    return _KINDS.get(status[1] if status else "", type(error).__name__)
