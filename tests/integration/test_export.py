"""Bulk Data export over real sockets: jobs, polling, files, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.responses import Response

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.authorization import static_bearer
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.beginning import fresh
from fhir_bridge.intake.export.folder import MANIFEST, STATE, ExportFolder
from fhir_bridge.intake.export.report import Report
from fhir_bridge.intake.export.request import ExportRequest
from fhir_bridge.intake.export.run import Manner, Run
from fhir_bridge.intake.export.waiting import Pace
from fhir_bridge.intake.export.watching import Watching
from tests.doubles.bulk_data import BulkData, in_progress
from tests.doubles.fhir_server import Bearer, FhirServerDouble, outcome

PACE = Pace(first=0.01, longest=0.05, cap=0.1, patience=2.0)
LIMITS = Limits(rate=None, backoff=0.01, backoff_cap=0.02, timeout=2.0, patience=5.0)


class Told(Watching):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[str, float]] = []

    def said(self, text: str) -> None:
        """See Watching."""
        self.lines.append(text)

    def waiting(self, progress: str, seconds: float) -> None:
        """See Watching."""
        self.progress.append((progress, seconds))


@dataclass
class Exporting:
    """Exports from a double into `folder`, as often as it is called."""

    bulk: BulkData
    folder: Path
    told: Told = field(default_factory=Told)
    pace: Pace = PACE

    async def __call__(self, *, at_once: int = 4, post: bool = False, **asked: Any) -> Report:
        """One run; a request of its own or the one that was begun."""
        kept = ExportFolder(self.folder)
        token = static_bearer(SecretStr("token"))
        async with FhirServer(self.bulk.server.url, authorization=token, limits=LIMITS) as server:
            request = ExportRequest(base_url=server.base_url, **asked)
            state = kept.state() or fresh("ehr", request)
            return await Run(server, kept, state, Manner(at_once, post, pace=self.pace), self.told).run()

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the folder."""
        found = (file for file in self.folder.rglob("*") if file.is_file())
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in found}

    @property
    def content(self) -> dict[str, bytes]:
        """The NDJSON in it, by type."""
        found: dict[str, bytes] = {}
        for name, body in sorted(self.files.items()):
            if name.endswith(".ndjson"):
                kind = name.partition(".")[0]
                found[kind] = found.get(kind, b"") + body
        return found

    def is_all(self, job: int = 1) -> bool:
        """Whether the folder holds what the double's job has, byte for byte, and is finished."""
        wanted: dict[str, bytes] = {}
        folders = {"output": "", "deleted": "deleted/", "error": "error/"}
        for kind, what, body in self.bulk.jobs[job].files.values():
            wanted[f"{folders[kind]}{what}"] = wanted.get(f"{folders[kind]}{what}", b"") + body
        return self.content == wanted and MANIFEST in self.files and STATE not in self.files

    def asked(self, beginning: str) -> list[str]:
        """What the double was asked."""
        return self.bulk.server.lines(beginning)


@pytest.fixture
def bulk() -> BulkData:
    """A server with 25 patients and 25 appointments, ten to a file."""
    server = FhirServerDouble(guard=Bearer())
    for number in range(25):
        server.records.put({"resourceType": "Patient", "id": f"p{number}"})
        server.records.put({"resourceType": "Appointment", "id": f"a{number}", "status": "proposed"})
    return BulkData(server)


@pytest.fixture
async def export(bulk: BulkData, tmp_path: Path) -> AsyncIterator[Exporting]:
    """An export into a folder that is not there yet, from the running double."""
    async with bulk.running():
        yield Exporting(bulk, tmp_path / "export")


async def until(condition: Callable[[], bool]) -> None:
    """Look every few milliseconds whether it is so by now."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is the double's doing
            await asyncio.sleep(0.005)


# -- the job --


async def test_an_export_is_fetched_and_the_job_deleted(export: Exporting) -> None:
    """Kick-off, status, files, DELETE; the folder holds whole files and a manifest of them."""
    report = await export(types=("Patient", "Appointment"))
    assert export.is_all()
    assert report.resources == {"Patient": 25, "Appointment": 25}
    assert not report.needs_a_person
    assert export.asked("GET $export") == ["GET $export?_type=Patient,Appointment"]
    assert export.asked("DELETE") == ["DELETE jobs/1"]
    manifest = json.loads(export.files[MANIFEST])
    assert manifest["transactionTime"] == export.bulk.jobs[1].time
    assert [entry["count"] for entry in manifest["output"]] == [10, 10, 5, 10, 10, 5]


async def test_a_server_is_asked_again_when_it_says(export: Exporting) -> None:
    """Retry-After in seconds and as a date, none at all, too many requests and a passing fault."""
    soon = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    export.bulk.waiting = [
        in_progress("0", "a tenth"),
        in_progress(soon, "half"),
        in_progress(None, "more"),
        lambda: Response(b"", 429, {"retry-after": "0"}),
        lambda: outcome(503, "transient", "Juniper Sample"),
        lambda: Response(b"bad gateway", 502),
        lambda: outcome(500, "exception", "Juniper Sample"),
    ]
    await export()
    assert export.is_all()
    assert export.told.progress == [
        ("a tenth", PACE.first),
        ("half", PACE.cap),
        ("more", PACE.first),
        ("HTTP 429", PACE.first),
        ("HTTP 503", PACE.first * 2),
        ("HTTP 502", PACE.first * 4),
        ("HTTP 500", PACE.longest),
    ]


async def test_a_server_that_gives_an_export_up_is_believed(export: Exporting) -> None:
    """It explains the same fault of its own again and again; its words are not repeated."""
    export.bulk.waiting = [lambda: outcome(500, "exception", "Juniper Sample")] * 9
    with pytest.raises(FhirServerError) as error:
        await export()
    assert error.value.code == "export-failed"
    assert "Juniper" not in str(error.value)
    assert export.bulk.jobs[1].polled == 3


async def test_an_export_that_is_not_taken_now_is_asked_for_again(export: Exporting) -> None:
    """As where another export runs; a kick-off is never repeated for any other reason."""
    from tests.doubles.faults import Fault

    export.bulk.server.faults = [Fault(r"\$export", 429, headers={"retry-after": "0"}, times=2)]
    await export()
    assert len(export.asked("GET $export")) == 3
    assert len(export.bulk.jobs) == 1


async def test_a_server_that_takes_no_get_is_sent_a_post(export: Exporting) -> None:
    """The same parameters, as a FHIR Parameters resource."""
    export.bulk.methods = ("POST",)
    for number in range(3):
        export.bulk.server.records.change(f"Appointment/a{number}", status="booked")
    report = await export(
        scope="Group/g1", types=("Appointment",), type_filters=("Appointment?status=booked,cancelled",)
    )
    assert export.asked("POST") == ["POST Group/g1/$export"]
    assert report.resources == {"Appointment": 3}


async def test_a_filter_with_a_comma_in_it_is_one_filter(export: Exporting) -> None:
    """Between filters a comma separates, so within one it is escaped."""
    export.bulk.server.records.change("Appointment/a0", status="booked")
    export.bulk.server.records.change("Appointment/a1", status="cancelled")
    filters = ("Appointment?status=booked,cancelled", "Patient?status=x,y")
    report = await export(types=("Appointment",), type_filters=filters[:1])
    assert report.resources == {"Appointment": 2}


@pytest.mark.parametrize(
    ("methods", "lacks", "code"), [((), "", "no-export"), (("GET",), "Appointment", "http-400")]
)
async def test_a_server_that_exports_none_of_it_is_named_so(
    export: Exporting, methods: tuple[str, ...], lacks: str, code: str
) -> None:
    """And the hint leads to --crawl."""
    export.bulk.methods, export.bulk.lacks = methods, frozenset({lacks})
    with pytest.raises(FhirServerError) as error:
        await export(types=("Patient", "Appointment"))
    assert error.value.code == code
    assert "--crawl" in str(error.value.hint)


async def test_a_manifest_in_pages_is_one_manifest(export: Exporting) -> None:
    """`link` with relation `next`, and addresses that count from the page's own."""
    export.bulk.page, export.bulk.relative = 2, True
    await export()
    assert export.is_all()
    assert [line for line in export.asked("GET jobs") if "page" in line] == [
        "GET jobs/1?page=2",
        "GET jobs/1?page=4",
    ]


async def test_what_was_deleted_and_what_went_wrong_is_kept_apart(export: Exporting) -> None:
    """Bundles of DELETEs and OperationOutcomes in folders of their own; issues by code, never by words."""
    export.bulk.server.records.remove("Appointment/a3")
    issues = [
        {"severity": "error", "code": "not-found", "diagnostics": "Juniper Sample"},
        {"severity": "information", "code": "informational"},
    ]
    export.bulk.outcomes = [{"resourceType": "OperationOutcome", "issue": issues}] * 2
    report = await export(since="2020-01-01T00:00:00Z")
    deleted = json.loads(export.files["deleted/Bundle.001.ndjson"])
    assert [entry["request"]["url"] for entry in deleted["entry"]] == ["Appointment/a3"]
    assert [entry["response"]["lastModified"] for entry in deleted["entry"]] == [export.bulk.jobs[1].time]
    assert report.issues == {("error", "not-found"): 2, ("information", "informational"): 2}
    assert report.needs_a_person
    manifest = json.loads(export.files[MANIFEST])
    assert [entry["url"] for entry in manifest["deleted"]] == ["deleted/Bundle.001.ndjson"]
    assert [entry["url"] for entry in manifest["error"]] == ["error/OperationOutcome.001.ndjson"]


# -- the files --


@pytest.mark.parametrize("hosting", ["redirect", "signed"])
async def test_no_token_leaves_the_server(export: Exporting, hosting: Any) -> None:
    """Neither behind a redirect nor where the manifest says that none is needed."""
    export.bulk.hosting = hosting
    await export()
    assert export.is_all()
    assert export.bulk.tokens_shown_elsewhere == []
    assert len(export.bulk.file_requests) == 6


async def test_nor_where_the_server_would_have_it(export: Exporting) -> None:
    """Job and files at another host, and a manifest that says that a token is needed there."""
    export.bulk.hosting, export.bulk.asks_for_token = "signed", True
    export.bulk.status_elsewhere = True
    await export()
    assert export.is_all()
    assert export.bulk.tokens_shown_elsewhere == []
    assert export.bulk.jobs[1].deleted
    assert "without our token" in " ".join(export.told.lines)


async def test_addresses_that_expired_are_asked_for_anew(export: Exporting) -> None:
    """By the same job's manifest, said clearly; what was fetched stays."""
    export.bulk.hosting, export.bulk.expired_signatures = "signed", 4
    await export()
    assert export.is_all()
    assert "addresses of files have expired (4)" in " ".join(export.told.lines)
    assert len(export.bulk.jobs) == 1
    assert len(export.bulk.file_requests) == 6


async def test_a_job_that_is_gone_is_begun_again(export: Exporting) -> None:
    """Said clearly; nothing of the first job's files stays, for they are another moment's."""
    export.bulk.gone = {"Patient-1": 2}
    await export()
    assert export.is_all(2)
    assert "it is begun again" in " ".join(export.told.lines)


async def test_a_file_that_is_never_found_ends_it(export: Exporting) -> None:
    """After the second job."""
    export.bulk.gone = {"Patient-1": 99}
    with pytest.raises(FhirServerError) as error:
        await export()
    assert error.value.code == "export-expired"
    assert len(export.bulk.jobs) == 2


async def test_a_file_that_breaks_off_is_gone_on_with(export: Exporting) -> None:
    """By Range, from where it broke off."""
    export.bulk.broken = {"Patient-0": 2}
    await export()
    assert export.is_all()
    ranges = [asked for name, asked in export.bulk.file_requests if name == "Patient-0"]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(asked is not None for asked in ranges[1:])


@pytest.mark.parametrize("faults", [{"ranges": False}, {"compressed": "coding"}, {"compressed": "file"}])
async def test_a_file_that_cannot_be_gone_on_with_is_fetched_again(
    export: Exporting, faults: dict[str, Any]
) -> None:
    """Where the server takes no ranges, or sends it compressed."""
    for name, value in faults.items():
        setattr(export.bulk, name, value)
    export.bulk.broken = {"Patient-0": 1}
    await export()
    assert export.is_all()
    assert [asked for name, asked in export.bulk.file_requests if name == "Patient-0"] == [None, None]


async def test_without_an_etag_the_length_must_be_the_same(export: Exporting) -> None:
    """A partial file is gone on with where the whole is as long as before."""
    export.bulk.etags, export.bulk.broken = False, {"Patient-0": 1}
    await export()
    assert export.is_all()
    assert any(asked for name, asked in export.bulk.file_requests if name == "Patient-0")


@pytest.mark.parametrize("fault", ["short", "page_instead"])
async def test_a_file_that_is_not_whole_is_fetched_again(export: Exporting, fault: str) -> None:
    """It ends within a line, or is no NDJSON at all, though the connection says nothing of it."""
    setattr(export.bulk, fault, {"Appointment-1": 1})
    await export()
    assert export.is_all()


@pytest.mark.parametrize("fault", ["short", "page_instead"])
async def test_a_file_that_never_comes_whole_leaves_the_export_unfinished(
    export: Exporting, fault: str
) -> None:
    """All others are fetched, the job is left, and the same command goes on."""
    setattr(export.bulk, fault, {"Appointment-1": 3})
    report = await export()
    assert [error.code for error in report.failed.values()] == ["export-truncated"]
    assert report.needs_a_person
    assert MANIFEST not in export.files
    assert export.asked("DELETE") == []
    fetched = len(export.bulk.file_requests)
    await export()
    assert export.is_all()
    assert len(export.bulk.file_requests) == fetched + 1


async def test_a_file_with_another_count_than_said_is_reported(export: Exporting) -> None:
    """It is fetched again first; some servers just count wrong, so it is kept."""
    export.bulk.wrong_counts = {"Patient-2": 7}
    report = await export()
    assert export.is_all()
    assert report.mismatched == {"Patient.003.ndjson": (7, 5)}
    assert report.needs_a_person
    assert sum(name == "Patient-2" for name, _ in export.bulk.file_requests) == 3


@pytest.mark.parametrize("compressed", ["coding", "file"])
async def test_compressed_files_are_unpacked(export: Exporting, compressed: Any) -> None:
    """Whether the answer says so, or the file just is."""
    export.bulk.compressed = compressed
    await export()
    assert export.is_all()


async def test_a_last_line_without_its_end_is_whole(export: Exporting) -> None:
    """Many servers write it so; in our folder every line ends."""
    export.bulk.unended = True
    report = await export()
    assert report.resources == {"Patient": 25, "Appointment": 25}
    assert all(body.endswith(b"}\n") for name, body in export.files.items() if name.endswith(".ndjson"))


async def test_only_so_many_files_are_fetched_at_once(export: Exporting) -> None:
    """Politely."""
    export.bulk.lines_per_file, export.bulk.seconds_a_chunk = 2, 0.01
    await export(at_once=3)
    assert export.is_all()
    assert export.bulk.most_at_once == 3


# -- going on --


async def test_an_export_that_was_stopped_goes_on(export: Exporting) -> None:
    """No second kick-off, no file twice, the same bytes; the state holds no address of a file."""
    export.bulk.hosting, export.bulk.seconds_a_chunk = "signed", 0.02
    running = asyncio.create_task(export(at_once=1))
    await until(lambda: len(export.bulk.file_requests) > 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert b"signature" not in export.files[STATE]
    assert b"token" not in export.files[STATE]
    await export()
    assert export.is_all()
    assert len(export.bulk.jobs) == 1
    assert 6 <= len(export.bulk.file_requests) <= 7


async def test_nobody_else_may_read_what_was_exported(export: Exporting) -> None:
    """Folders and files are for their owner only."""
    await export()
    modes = {file.stat().st_mode & 0o077 for file in [export.folder, *export.folder.rglob("*")]}
    assert modes == {0}
