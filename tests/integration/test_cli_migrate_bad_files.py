"""`fhir-bridge migrate` over files that are broken, closed or endless: each is told, the rest is read."""

from __future__ import annotations

import gzip
import json
import os
import resource
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from fhir_bridge.intake.bulk.pieces import find
from tests.conftest import Bridge, Hospital, Ran


def migrate(bridge: Bridge, *arguments: str) -> Ran:
    """The command in this process alone, its scratch files in the test's folder."""
    return bridge("migrate", *arguments, "--work", "scratch", "--processes", "1", "--json")


def lines(*resources: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


def errors(bridge: Bridge) -> list[tuple[str, int | None, str]]:
    """File, line and code of what could not be read; each says why."""
    path = bridge.folder / "migrate-errors.ndjson"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(error["reason"] for error in told)
    return [(error["file"], error["line"], error["code"]) for error in told]


@pytest.fixture
def export(bridge: Bridge, hospital: Hospital) -> Path:
    """A folder of two files, a person who is wanted in each; what is bad goes between them."""
    folder = bridge.folder / "export"
    folder.mkdir()
    for number, name in ((1, "a.ndjson"), (2, "z.ndjson")):
        (folder / name).write_bytes(lines(hospital.patient(number), hospital.appointment(number)))
    return folder


def locked(data: bytes, member: str = "in.ndjson") -> bytes:
    """A zip whose member says that it has a password."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:6] + bytes([data[6] | 1]) + data[7:at] + bytes([data[at] | 1]) + data[at + 1 :]


def torn(data: bytes) -> bytes:
    """A zip some of whose packed bytes are others."""
    middle = len(data) // 2
    return data[: middle - 40] + bytes(80) + data[middle + 40 :]


def unusual(data: bytes) -> bytes:
    """A zip whose member is packed in a way that nobody knows."""
    at = data.index(b"PK\x01\x02") + 10
    return data[:8] + b"\x63" + data[9:at] + b"\x63" + data[at + 1 :]


def headless(data: bytes) -> bytes:
    """A zip without its end."""
    return data[: len(data) // 2]


def misnamed(data: bytes) -> bytes:
    """A zip whose list names its member in UTF-8, which it is not."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 9] + bytes([data[at + 9] | 8]) + data[at + 10 : at + 46] + b"\xff" + data[at + 47 :]


def too_new(data: bytes) -> bytes:
    """A zip whose member is of a version that is still to come."""
    at = data.index(b"PK\x01\x02") + 6
    return data[:at] + b"\xff" + data[at + 1 :]


def misplaced(data: bytes) -> bytes:
    """A zip whose list says that it is longer than the whole file."""
    at = data.index(b"PK\x05\x06") + 16
    return data[:at] + b"\xff\xff\xff\x7e" + data[at + 4 :]


@pytest.mark.parametrize(
    ("spoilt", "member"),
    [
        (locked, "/in.ndjson"),
        (torn, "/in.ndjson"),
        (unusual, "/in.ndjson"),
        (headless, ""),
        (misnamed, ""),
        (too_new, ""),
        (misplaced, "/in.ndjson"),
    ],
)
def test_a_broken_zip_among_files_is_told_and_the_others_are_read(
    bridge: Bridge, export: Path, hospital: Hospital, spoilt: Callable[[bytes], bytes], member: str
) -> None:
    """With a password, damaged, cut off: named, and no file after it is passed over."""
    with zipfile.ZipFile(export / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.ndjson", lines(*(hospital.patient(number) for number in range(3, 40))))
    (export / "m.zip").write_bytes(spoilt((export / "m.zip").read_bytes()))
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert [(file, code) for file, _, code in errors(bridge)] == [(f"export/m.zip{member}", "compressed")]


def test_what_systems_put_into_a_zip_beside_the_data_is_no_error(
    bridge: Bridge, export: Path, hospital: Hospital
) -> None:
    """The manifest of an export and what a Mac adds; a name that leads out of it is a name."""
    with zipfile.ZipFile(export / "m.zip", "w") as archive:
        archive.writestr("export/manifest.json", '{"output":[]}')
        archive.writestr("export/.DS_Store", b"\0\0\0\1Bud1")
        archive.writestr("__MACOSX/export/._in.ndjson", b"\0\5\x16\7")
        archive.writestr("../../in.ndjson", lines(hospital.patient(3), hospital.appointment(3)))
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (0, {"call": 3}), ran.err
    assert not (bridge.folder.parent / "in.ndjson").exists()


def test_what_a_zip_holds_besides_is_passed_over_and_counted(
    bridge: Bridge, export: Path, hospital: Hospital
) -> None:
    """As in a folder, by its ending, a picture too; but what may be FHIR is read whatever its name is."""
    with zipfile.ZipFile(export / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "What is in here, and who made it.\n" * 100)
        archive.writestr("img/logo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + os.urandom(200_000))
        archive.writestr("img/icon.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
        archive.writestr("checksums", "d41d8cd98f00b204e9800998ecf8427e  Patient\n")
        archive.writestr("Patient", b"\xef\xbb\xbf\n" + lines(hospital.patient(3)))
        archive.writestr("part.000", json.dumps(hospital.appointment(3)).encode("utf-16"))
        archive.writestr("export.log", b"exported on Monday\n" + lines(hospital.patient(4)))
        archive.writestr("Appointment.gz.1", gzip.compress(lines(hospital.appointment(4))))
        archive.writestr("notes.json", "no JSON at all\n" * 50)
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 4}), ran.err
    assert ran.json["files_passed_over"] == {".png": 2, ".txt": 1, "checksums": 1}
    assert [error[0] for error in errors(bridge)] == ["export/m.zip/export.log", "export/m.zip/notes.json"]


def test_links_are_followed_to_files_and_told_where_they_lead_to_folders(
    bridge: Bridge, export: Path, hospital: Hospital
) -> None:
    """Neither a circle nor a folder that belongs to something else is entered; a link to nothing is told."""
    elsewhere = bridge.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in.ndjson").write_bytes(lines(hospital.patient(3), hospital.appointment(3)))
    (export / "file.ndjson").symlink_to(elsewhere / "in.ndjson")
    (export / "folder").symlink_to(elsewhere)
    (export / "round").symlink_to(export)
    (export / "nowhere.ndjson").symlink_to(elsewhere / "no.ndjson")
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 3}), ran.err
    assert errors(bridge) == [
        ("export/folder", None, "link"),
        ("export/nowhere.ndjson", None, "no-file"),
        ("export/round", None, "link"),
    ]
    assert "a link to a folder" in bridge("map", "export").err


def test_a_pipe_is_told_and_not_waited_for(bridge: Bridge, export: Path) -> None:
    """Found in a folder or named, as a shell's `<(...)` is: it can be read once, and may say nothing."""
    os.mkfifo(export / "pipe.ndjson")
    ran = migrate(bridge, "export", "export/pipe.ndjson")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert errors(bridge) == [("export/pipe.ndjson", None, "no-file")] * 2
    assert "export/pipe.ndjson: neither a file nor a folder" in bridge("map", "export").err
    ran = migrate(bridge, "-")
    assert (ran.code, "write it into a file" in ran.err) == (2, True)


def test_a_name_that_is_no_utf8_is_a_name(bridge: Bridge, hospital: Hospital) -> None:
    """As an archive of another system leaves it: read, and told with its bytes where a line of it is bad."""
    folder = bridge.folder / "export"
    folder.mkdir()
    nameless = {key: value for key, value in hospital.appointment(2).items() if key != "id"}
    data = lines(hospital.patient(1), hospital.appointment(1), hospital.patient(2), nameless)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xfc.ndjson")).write_bytes(data + b"{\n")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xfc")).touch()
    ran = migrate(bridge, "export", "--out", "out.ndjson")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert errors(bridge) == [("export/\\udcfc.ndjson", 5, "not-json")]
    ran = bridge("map", "export", "--format", "decisions")
    assert ran.out.encode() == (bridge.folder / "out.ndjson").read_bytes()
    assert "export/\\udcfc.ndjson:5" in ran.err


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Within, this process may not read everything, as root may."""
    if os.geteuid() != 0:
        yield
        return
    opened = [each for each in (folder, *folder.parents) if each.stat().st_uid == 0]
    modes = [each.stat().st_mode for each in opened]
    for each, mode in zip(opened, modes, strict=True):
        each.chmod(mode | 0o5)
    folder.chmod(0o777)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in zip(opened, modes, strict=True):
            each.chmod(mode)


def test_what_may_not_be_read_is_told(bridge: Bridge, export: Path, hospital: Hospital) -> None:
    """A file and a folder of somebody else's: what is in them is missing, and that does not go unnoticed."""
    (export / "closed.ndjson").write_bytes(lines(hospital.patient(3)))
    (export / "closed.ndjson").chmod(0)
    (export / "shut").mkdir(mode=0)
    with as_nobody(bridge.folder):
        found = find(["export"])
        told = bridge("map", "export").err
    (export / "shut").chmod(0o700)
    assert [piece.path for piece in found.pieces] == ["export/a.ndjson", "export/z.ndjson"]
    closed = ["export/shut: Permission denied", "export/closed.ndjson: Permission denied"]
    assert [str(error) for error in found.problems] == closed
    assert all(f"unreadable: {each}" in told for each in closed)


def test_files_of_other_kinds_are_counted(bridge: Bridge, export: Path) -> None:
    """Appointments that lie there packed in a way that is not read must not go unnoticed."""
    for name in ("Appointment.ndjson.zst", "Slot.ndjson.zst", "README"):
        (export / name).write_bytes(b"?")
    ran = migrate(bridge, "export")
    assert ran.code == 0
    assert ran.json["files_passed_over"] == {".zst": 2, "README": 1}
    told = bridge("migrate", "export", "--processes", "1", "--work", "scratch")
    assert "passed over: 3 files in folders and zips whose names end in .zst, README" in told.out


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_an_export_that_windows_wrote_is_read(bridge: Bridge, hospital: Hospital, encoding: str) -> None:
    """In UTF-16 or with a byte order mark, its lines ended by CR LF."""
    text = lines(hospital.patient(1), hospital.appointment(1)).decode().replace("\n", "\r\n")
    (bridge.folder / "in.ndjson").write_bytes(text.encode(encoding))
    ran = migrate(bridge, "in.ndjson")
    assert (ran.code, ran.json["decisions"]) == (0, {"call": 1}), ran.err


def test_a_line_of_70_megabytes_is_passed_over(bridge: Bridge, hospital: Hospital) -> None:
    """Told with its number and first byte; the lines on both sides of it are decided on."""
    first = lines(hospital.patient(1))
    with (bridge.folder / "in.ndjson").open("wb") as file:
        file.write(first + b'{"resourceType":"Patient","id":"big","x":"')
        file.truncate(70_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b'"}\n' + lines(hospital.appointment(1)))
    ran = migrate(bridge, "in.ndjson")
    assert ran.json["decisions"] == {"call": 1}
    assert errors(bridge) == [("in.ndjson", 2, "line-too-long")]


def test_a_small_gzip_of_an_endless_bundle_is_not_held(bridge: Bridge, export: Path) -> None:
    """It would fill the memory; the files beside it are read."""
    bridge.patch.setattr("fhir_bridge.intake.bulk.lines.MOST_WHOLE", 3 * 2**20)
    bomb = gzip.compress(b'{"resourceType":"Bundle","entry":[' + b" " * 2**23 + b"]}")
    assert len(bomb) < 2**14
    (export / "m.json.gz").write_bytes(bomb)
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert errors(bridge) == [("export/m.json.gz", None, "too-large")]


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_tar_is_told_as_one(
    bridge: Bridge, export: Path, hospital: Hospital, packed: Callable[[bytes], bytes]
) -> None:
    """Not half of what is in it: a header and the first line of a file would be one."""
    held = BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        about = tarfile.TarInfo("in.ndjson")
        data = lines(hospital.patient(3), hospital.appointment(3))
        about.size = len(data)
        archive.addfile(about, BytesIO(data))
    (export / "m.tar.gz").write_bytes(packed(held.getvalue()))
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert errors(bridge) == [("export/m.tar.gz", None, "compressed")]


def test_where_a_gzip_broke_is_told(bridge: Bridge, export: Path, hospital: Hospital) -> None:
    """The first line that is missing and its byte in what was unpacked; what stood before is decided on."""
    first = lines(hospital.patient(3), hospital.appointment(3))
    rest = os.urandom(3000).hex().encode()
    packed = gzip.compress(first + b'{"resourceType":"Observation","id":"' + rest + b'"}\n')
    (export / "m.ndjson.gz").write_bytes(packed[:-1500])
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 3}), ran.err
    assert errors(bridge) == [("export/m.ndjson.gz", 3, "compressed")]
    told = json.loads((bridge.folder / "migrate-errors.ndjson").read_text())
    assert told["offset"] == len(first)
    said = "not read: 1 file ending in .gz; unpack them, or use `fhir-bridge migrate`"
    assert said in bridge("map", "export").err


def test_where_one_json_value_is_broken_is_told(bridge: Bridge, export: Path) -> None:
    """Line and column, as `map` tells them."""
    (export / "m.json").write_bytes(b'{"resourceType":"Bundle",\n "entry":[}]}')
    ran = migrate(bridge, "export")
    assert (ran.code, ran.json["decisions"]) == (1, {"call": 2}), ran.err
    assert errors(bridge) == [("export/m.json", 2, "not-json")]
    told = json.loads((bridge.folder / "migrate-errors.ndjson").read_text())
    assert told["reason"] == "not JSON: malformed here, at column 11"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Within, no file grows beyond so many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_said_and_nothing_is_kept_or_left(
    bridge: Bridge, hospital: Hospital, endpoint: Any
) -> None:
    """Which folder it is and what to do; no decision is in the ledger, no scratch file stays."""
    running = endpoint()
    bridge.settings(running.url)
    people = (hospital.patient(number % 99, id=f"p{number}") for number in range(1, 900))
    (bridge.folder / "in.ndjson").write_bytes(lines(*people, hospital.appointment(1)))
    with files_of_at_most(150_000):
        ran = bridge("migrate", "in.ndjson", "--work", "scratch", "--processes", "1", "--send", "--yes")
    assert ran.code == 2
    assert "scratch files cannot be written: File too large" in ran.err
    assert "--work" in ran.err
    assert running.stats["requests"] == 0
    assert not (bridge.folder / "fhir-bridge.db").exists()
    assert list((bridge.folder / "scratch").iterdir()) == []


def test_what_was_written_before_stays_where_there_is_no_room_for_more(bridge: Bridge, export: Path) -> None:
    """--out is there whole or not at all, and for its owner only: it names patients."""
    assert migrate(bridge, "export", "--out", "all.nd", "--format", "arrivals").code == 0
    before = (bridge.folder / "all.nd").read_bytes()
    assert (bridge.folder / "all.nd").stat().st_mode & 0o077 == 0
    with files_of_at_most(len(before) - 1):
        ran = migrate(bridge, "export", "--out", "all.nd", "--format", "arrivals")
    assert ran.code == 2
    assert "cannot be written: File too large" in ran.err
    assert (bridge.folder / "all.nd").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "no/x"], "there is no such folder"),
        (["--errors", "no/x"], "there is no such folder"),
        (["--work", "export/a.ndjson/x"], "name another folder with --work"),
    ],
)
def test_a_place_that_cannot_be_written_is_said(
    bridge: Bridge, export: Path, arguments: list[str], said: str
) -> None:
    """Exit code 2, and what to do; not a fault of the program."""
    (export / "bad.ndjson").write_bytes(b"{}\n{\n")
    ran = bridge("migrate", "export", "--processes", "1", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_a_misspelt_type_is_told_and_holds_whom_it_names(
    bridge: Bridge, hospital: Hospital, export: Path
) -> None:
    """With file and line; types that are none of FHIR's are told apart from those that nobody reads."""
    gone = {"resourceType": "Pateint", "id": "p1", "deceasedBoolean": True}
    noise = [{"resourceType": kind, "id": "n"} for kind in ("Observation", "PaymentNotice", "SiteThing")]
    (export / "m.ndjson").write_bytes(lines(gone, *noise))
    ran = migrate(bridge, str(export))
    assert ran.code == 1
    assert errors(bridge) == [(str(export / "m.ndjson"), 1, "type-misspelt")]
    assert ran.json["decisions"] == {"call": 1, "reject record-unreadable": 1}
    assert list(ran.json["passed_over"]) == ["Observation", "PaymentNotice", "SiteThing"]
    assert ran.json["no_fhir_types"] == ["SiteThing"]
