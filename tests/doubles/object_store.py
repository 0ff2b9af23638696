"""A small S3 on a real socket: ListObjectsV2 in pages, HEAD, GET of ranges; it can misbehave by object.

What it answers is as Amazon S3 documents it (ListObjectsV2, GetObject, error responses). It wants requests
signed by KEY_ID but does not check the signature.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

KEY_ID, SECRET = "EXAMPLEKEY", "example-secret"
BUCKET = "bucket"
WRITTEN = "Mon, 23 Nov 2026 15:00:00 GMT"


@dataclass
class ObjectStore:
    """Objects by key. `page`: keys to a page of a listing. Of the keys in `gone` the listing tells, but they
    are there no more; those in `forbidden` may not be read. `seconds_a_chunk`: how long each `chunk` bytes
    of a body take. `cuts`: how often a body is cut off after a chunk. `after`: what an object becomes once
    something of it was read. `requests`: what was asked."""

    objects: dict[str, bytes] = field(default_factory=dict)
    page: int = 1000
    gone: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    seconds_a_chunk: dict[str, float] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    chunk: int = 1 << 16
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a shell sets so that S3's tools ask here."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    @contextmanager
    def running(self) -> Iterator[ObjectStore]:
        """Within, it answers at `url`."""
        handler = type("Handler", (_Handler,), {"store": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True
    store: ClassVar[ObjectStore]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        bucket, _, key = unquote(asked.path).removeprefix("/").partition("/")
        self.store.requests.append(f"{self.command} {self.path}")
        if f"Credential={KEY_ID}/" not in self.headers.get("Authorization", ""):
            self._error(403, "AccessDenied")
        elif bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        elif "list-type" in query:
            self._list(query)
        elif key in self.store.forbidden:
            self._error(403, "AccessDenied")
        elif key in self.store.gone or key not in self.store.objects:
            self._error(404, "NoSuchKey")
        else:
            self._object(key)

    def _list(self, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), unquote(query.get("continuation-token", ""))
        keys = sorted(key for key in self.store.objects if key.startswith(prefix) and key > after)
        here, more = keys[: self.store.page], len(keys) > self.store.page
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-23T15:00:00.000Z</LastModified>"
            f"<ETag>{escape(etag(self.store.objects[key]))}</ETag><Size>{len(self.store.objects[key])}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in here
        )
        token = f"<NextContinuationToken>{quote(here[-1])}</NextContinuationToken>" if more else ""
        self._send(
            200,
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(here)}</KeyCount>"
            f"<MaxKeys>{self.store.page}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}"
            "</ListBucketResult>",
        )

    def _object(self, key: str) -> None:
        data, asked = self.store.objects[key], self.headers.get("Range")
        if self.headers.get("If-Match", etag(data)) != etag(data):
            self._error(412, "PreconditionFailed")
            return
        start, end = 0, len(data)
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("ETag", etag(data))
        self.send_header("Last-Modified", WRITTEN)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            self.store.objects[key] = self.store.after.pop(key, data)
            with suppress(ConnectionError):  # who asked was stopped
                self._body(key, data[start:end])

    def _body(self, key: str, data: bytes) -> None:
        for at in range(0, len(data), self.store.chunk):
            time.sleep(self.store.seconds_a_chunk.get(key, 0))
            self.wfile.write(data[at : at + self.store.chunk])
            if self.store.cuts.get(key, 0) and at + self.store.chunk < len(data):
                self.store.cuts[key] -= 1
                self.close_connection = True
                return

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>secret words</Message></Error>")

    def _send(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def etag(data: bytes) -> str:
    """The entity tag of an object."""
    return f'"{hashlib.md5(data).hexdigest()}"'
