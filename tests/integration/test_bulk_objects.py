"""An export in an object store, served on this machine."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.bulk.lines import chunks
from fhir_bridge.intake.bulk.pieces import find


class Ranges(SimpleHTTPRequestHandler):
    """Serves files, and the ranges of them that are asked for."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        path = Path(self.translate_path(self.path))
        if not asked or not path.is_file():
            super().do_GET()
            return
        start, _, end = asked.removeprefix("bytes=").partition("-")
        data = path.read_bytes()
        part = data[int(start) : int(end or len(data)) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address under which tmp_path is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_object_is_read_as_a_file_is(tmp_path: Path, served: str) -> None:
    """Packed or not."""
    data = b'{"resourceType":"Patient","id":"p"}\n' * 3
    (tmp_path / "a.ndjson").write_bytes(data)
    (tmp_path / "b.gz").write_bytes(gzip.compress(data))
    found = find([f"{served}/a.ndjson", f"{served}/b.gz"])
    assert not found.problems
    assert [b"".join(chunks(piece)) for piece in found.pieces] == [data, data]


def test_an_object_that_is_not_there_is_a_problem(served: str) -> None:
    """The others are read."""
    found = find([f"{served}/no.ndjson"])
    assert [error.code for error in found.problems] == ["no-file"]


def test_patient_data_is_not_fetched_in_the_clear() -> None:
    """http:// is for this machine only."""
    with pytest.raises(UsageError, match="only on this machine"):
        find(["http://elsewhere.example/a.ndjson"])
