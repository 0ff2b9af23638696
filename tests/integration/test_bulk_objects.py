"""An export in an object store, served on this machine."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.cli.migrate import STOPPED
from fhir_bridge.errors import InputError, UsageError
from fhir_bridge.intake.bulk import objects
from fhir_bridge.intake.bulk.lines import chunks
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.intake.bulk.workers import alone
from tests.conftest import Bridge, Hospital
from tests.doubles.object_store import ObjectStore

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
"""Forks of a process that tests run in; the command has one thread when it forks."""

FOLDER = "s3://bucket/export/"


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


def read(*paths: str) -> dict[str, bytes]:
    """What is in each file, by its name; read in a process of its own, as this one may still have to fork."""
    found = find(paths)
    assert not found.problems
    return alone(lambda: {piece.name: b"".join(chunks(piece)) for piece in found.pieces})


def test_an_object_is_read_as_a_file_is(tmp_path: Path, served: str) -> None:
    """Packed or not."""
    data = b'{"resourceType":"Patient","id":"p"}\n' * 3
    (tmp_path / "a.ndjson").write_bytes(data)
    (tmp_path / "b.gz").write_bytes(gzip.compress(data))
    names = (f"{served}/a.ndjson", f"{served}/b.gz")
    assert read(*names) == dict.fromkeys(names, data)


def test_an_object_that_is_not_there_is_a_problem(served: str) -> None:
    """The others are read."""
    found = find([f"{served}/no.ndjson"])
    assert [error.code for error in found.problems] == ["no-file"]


def test_patient_data_is_not_fetched_in_the_clear() -> None:
    """http:// is for this machine only."""
    with pytest.raises(UsageError, match="only on this machine"):
        find(["http://elsewhere.example/a.ndjson"])


def test_an_address_with_a_signature_is_not_taken() -> None:
    """It would stand in every error and every decision's lineage."""
    with pytest.raises(UsageError, match="signature") as raised:
        find(["https://bucket.example/a.ndjson?X-Amz-Signature=abc"])
    assert "abc" not in str(raised.value)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An S3 on this machine, and the environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(objects, "RETRIES", {"max_retries": 2})
    with ObjectStore().running() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_everything_below_a_folder_is_found_page_by_page(bucket: ObjectStore) -> None:
    """1,100 objects in twelve pages and by no more requests; names of any characters; others are left out."""
    bucket.page = 100
    bucket.objects = {f"export/{number:04}.ndjson": b"{}" for number in range(1100)}
    bucket.objects |= {
        "export/y z#1%20/a+b%20c#d?e.ndjson.gz": b"",
        "export/notes.TXT": b"?",
        "export/sub": b"",
        "exported.ndjson": b"",
    }
    found = find([FOLDER])
    assert not found.problems
    names = [piece.path.removeprefix(FOLDER) for piece in found.pieces]
    assert names == [f"{number:04}.ndjson" for number in range(1100)] + ["y z#1%20/a+b%20c#d?e.ndjson.gz"]
    assert found.passed_over == {".txt": 1}
    assert len(bucket.requests) == 12


def test_objects_are_read_whatever_they_are_packed_in(bucket: ObjectStore) -> None:
    """As they are, by gzip, in a zip, which is read in its middle; with the strangest names."""
    data = b'{"resourceType":"Patient","id":"p"}\n' * 50
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.ndjson", data)
        archive.writestr("b.ndjson", data[:40])
    bucket.objects = {
        "export/a.ndjson": data,
        "export/b c#%20/d+e%20f#g?h.ndjson.gz": gzip.compress(data),
        "export/z.zip": packed.getvalue(),
    }
    assert read(FOLDER) == {
        f"{FOLDER}a.ndjson": data,
        f"{FOLDER}b c#%20/d+e%20f#g?h.ndjson.gz": data,
        f"{FOLDER}z.zip/in/a.ndjson": data,
        f"{FOLDER}z.zip/b.ndjson": data[:40],
    }


def test_what_is_cut_off_or_slow_is_read_whole(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network breaks twice in an object that takes longer than one request may: asked for again."""
    monkeypatch.setattr(objects, "CHUNK", 2 * bucket.chunk)
    monkeypatch.setitem(objects.PATIENCE, "timeout", objects.timedelta(seconds=1.5))
    data = b"{}" * (4 * bucket.chunk)
    bucket.objects["export/a.ndjson"] = data
    bucket.cuts["export/a.ndjson"] = 2
    bucket.seconds_a_chunk["export/a.ndjson"] = 0.2
    [piece] = find([FOLDER]).pieces
    begun = time.monotonic()
    assert alone(lambda: b"".join(chunks(piece))) == data
    assert time.monotonic() - begun > 1.5


def test_an_object_that_is_written_anew_is_not_read_as_half_of_each(
    bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that was listed, or an error that says so."""
    monkeypatch.setattr(objects, "CHUNK", 10)
    monkeypatch.setattr("fhir_bridge.intake.bulk.lines.CHUNK", 5)
    bucket.objects["export/a.ndjson"] = b"1" * 100
    [piece] = find([FOLDER]).pieces
    bucket.requests.clear()
    bucket.after["export/a.ndjson"] = b"2" * 100
    with pytest.raises(InputError, match="written anew"):
        alone(lambda: b"".join(chunks(piece)))
    assert len(bucket.requests) == 2
    [again] = find([FOLDER]).pieces
    assert again != piece, "scratch files of the one would be taken for the other's"


def test_the_whole_way_from_a_bucket(bridge: Bridge, hospital: Hospital, bucket: ObjectStore) -> None:
    """By two processes, with objects that are gone, refused or damaged between good ones: each is named with
    what to do, nothing else is lost; and no word of the provider's, which may hold a secret, is repeated. A
    patient may stand in another folder, as --context."""
    bucket.page = 5
    for number in range(1, 9):
        two = (hospital.patient(number), hospital.appointment(number))
        bucket.objects[f"export/{number}.ndjson"] = b"".join(json.dumps(one).encode() + b"\n" for one in two)
    bucket.objects["export/9.ndjson"] = json.dumps(hospital.appointment(9)).encode()
    bucket.objects["first/Patient.ndjson"] = json.dumps(hospital.patient(9)).encode()
    bucket.objects["export/3.ndjson.gz"] = gzip.compress(os.urandom(5000))[:-100]
    bucket.objects["export/4.zip"] = b"PK\3\4"
    bucket.gone, bucket.forbidden = {"export/2.ndjson"}, {"export/5.ndjson"}
    environment = {**os.environ, **bucket.environment}
    context = FOLDER.replace("export", "first")
    words = ("--context", context, "--processes", "2", "--work", "x", "--json")
    process = bridge.process("migrate", FOLDER, *words, env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert json.loads(out)["decisions"] == {"call": 7}
    text = (bridge.folder / "migrate-errors.ndjson").read_text()
    assert "secret" not in text + err
    told = {
        error["file"].removeprefix(FOLDER): error["reason"] for error in map(json.loads, text.splitlines())
    }
    assert sorted(told) == ["2.ndjson", "3.ndjson.gz", "4.zip", "5.ndjson"]
    assert told["2.ndjson"].startswith("not there (is the address right?")
    assert told["5.ndjson"].startswith("refused (the key must be allowed to list")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "OTHER", "refused"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_a_store_that_refuses_us_or_is_not_there_is_said(
    bridge: Bridge, bucket: ObjectStore, variable: str, value: str, said: str
) -> None:
    """Exit code 4: nothing could be read; and where the manual says how keys are given."""
    bridge.patch.setenv(variable, value)
    ran = bridge("migrate", FOLDER, "--work", "x", "--processes", "1")
    assert ran.code == 4
    [error] = map(json.loads, (bridge.folder / "migrate-errors.ndjson").read_text().splitlines())
    assert error["file"] == FOLDER
    assert error["reason"].startswith(said)


def test_a_store_elsewhere_is_not_asked_in_the_clear(
    bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patient data and keys would travel readable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(UsageError, match="only on this machine"):
        find([FOLDER])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_wait_for_a_store_that_says_nothing(
    bridge: Bridge, bucket: ObjectStore, number: signal.Signals
) -> None:
    """One object, one process: exit code 130 at once, long before the store's minute is over."""
    bucket.objects["export/a.ndjson"] = b"{}" * bucket.chunk
    bucket.seconds_a_chunk["export/a.ndjson"] = 60
    process = bridge.process("migrate", FOLDER, "--processes", "1", "--work", "x")
    for _ in range(600):
        if any(request.startswith("GET") and "a.ndjson" in request for request in bucket.requests):
            break
        time.sleep(0.05)
    process.send_signal(number)
    begun = time.monotonic()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert time.monotonic() - begun < 10, "it waited"
    assert STOPPED in told
    assert not list((bridge.folder / "x").iterdir())
