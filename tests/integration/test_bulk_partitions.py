"""In partitions the same is decided as in one piece, byte for byte."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from benchmarks.generator import Export
from fhir_bridge.app.rules import mapping_run
from fhir_bridge.intake.bulk import lines, pieces
from fhir_bridge.intake.bulk.partitioning import Partitioning
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.ledger.records import Heard
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping_run import people_gone, resolution_rules
from fhir_bridge.migration import codec
from fhir_bridge.migration.deciding import Decider
from tests.integration.tangled import Tangle

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
"""Forks of a process that tests run in; the command has one thread when it forks."""

FIXTURES = Path(__file__).parents[2] / "fixtures"
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
CLOCKS = (NOW, datetime(2020, 6, 1, 15, tzinfo=UTC))
"""Today, and when much of the third-party data would still have called."""


def partitioned(
    paths: Sequence[str], scratch: Path, count: int = 7, processes: int = 1, context: Sequence[str] = ()
) -> Partitions:
    """The PATHs in so many partitions."""
    scratch.mkdir(exist_ok=True)
    rules = resolution_rules(mapping_run(None, None, {}, NOW).profile)
    return Partitioning(scratch, count, processes, rules.system).run(find(paths, context))


def in_partitions(partitions: Partitions, now: datetime = NOW) -> tuple[list[bytes], list[bytes]]:
    """The decisions in the order of the files, as printed; and what is said of persons, sorted."""
    decider = Decider(mapping_run(None, None, {"incomplete_address": "omit"}, now), partitions)
    decided, heard, written_again = [], [], set[str]()
    for number in range(partitions.count):
        contents = decider.read(number)
        at_hand = decider.at_hand(contents)
        decided += [
            (one.place, orjson.dumps(decision_data(one.decision)), codec.encode(one.arrival(decider.source)))
            for one in decider.decided(contents, at_hand)
        ]
        heard += [codec.encode(one) for one in decider.heard(at_hand)]
        written_again |= contents.said_gone
    deleted = partitions.deleted.get(None, {})
    gone = people_gone({k: at for k, at in deleted.items() if k not in written_again}, decider.run.now)
    heard += [codec.encode(Heard(decider.source, statement)) for statement in gone]
    decided.sort()
    return [line for _, *both in decided for line in both], sorted(heard)


def in_one_piece(
    paths: Sequence[str], now: datetime = NOW, context: Sequence[str] = ()
) -> tuple[list[bytes], list[bytes]]:
    """The same as `map` and `submit` decide."""
    run = mapping_run(None, None, {"incomplete_address": "omit"}, now)
    inputs = run.read(paths, [Path(path) for path in context])
    arrivals, heard = run.taken(inputs)
    printed = [orjson.dumps(decision_data(decision)) for decision in run.decide(inputs)]
    both = [line for pair in zip(printed, map(codec.encode, arrivals), strict=False) for line in pair]
    return both, sorted(map(codec.encode, heard))


@pytest.fixture(params=[1, 2])
def processes(request: pytest.FixtureRequest) -> int:
    """With one process and with two."""
    count: int = request.param
    return count


def test_a_generated_export_is_decided_alike(tmp_path: Path, processes: int) -> None:
    """Whatever the number of processes, and in the same order."""
    Export(60).write(tmp_path / "export")
    theirs = in_one_piece([str(tmp_path / "export")])
    parts = partitioned([str(tmp_path / "export")], tmp_path / "scratch", 11, processes)
    assert in_partitions(parts) == theirs


@pytest.mark.parametrize("now", CLOCKS, ids=str)
def test_all_stories_together_are_decided_alike(tmp_path: Path, now: datetime) -> None:
    """Merged records, Slots, families, chains, messages, contents under one id: all in one call."""
    theirs = in_one_piece([str(FIXTURES)], now)
    assert in_partitions(partitioned([str(FIXTURES)], tmp_path / "scratch"), now) == theirs


@pytest.mark.parametrize("now", CLOCKS, ids=str)
def test_all_third_party_files_together_are_decided_alike(
    corpora: Path, tmp_path: Path, now: datetime
) -> None:
    """Many sources in one: ids and URNs that mean different things in each."""
    theirs = in_one_piece([str(corpora)], now)
    assert in_partitions(partitioned([str(corpora)], tmp_path / "scratch", 5), now) == theirs


def test_third_party_sources_are_decided_alike(corpora: Path, tmp_path: Path) -> None:
    """Each folder of the corpora by itself."""
    for number, folder in enumerate(sorted(path for path in corpora.iterdir() if path.is_dir())):
        theirs = in_one_piece([str(folder)], CLOCKS[1])
        parts = partitioned([str(folder)], tmp_path / str(number), 3)
        assert in_partitions(parts, CLOCKS[1]) == theirs, folder


@pytest.mark.parametrize("seed", range(8))
def test_what_is_tied_across_patients_is_decided_alike(tmp_path: Path, seed: int) -> None:
    """Patients merged or shared, orders and Slots of others, identifiers, URNs, ids used twice, deletions."""
    Tangle(30, seed, ties=25).write(tmp_path / "export")
    theirs = in_one_piece([str(plain(tmp_path / "export", tmp_path / "plain"))])
    ours = in_partitions(partitioned([str(tmp_path / "plain")], tmp_path / "scratch", 9))
    assert ours == theirs


def plain(folder: Path, into: Path) -> Path:
    """The files unpacked, for `map` reads none that are packed."""
    into.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".gz":
            (into / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        elif file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                (into / "e.ndjson").write_bytes(archive.read("anything"))
        else:
            (into / file.name).write_bytes(file.read_bytes())
    return into


def test_packed_files_say_the_same(tmp_path: Path) -> None:
    """A gzip and a zip hold what they held before they were packed; only the names of places differ."""
    Tangle(20, 3, ties=15).write(tmp_path / "export")
    plain(tmp_path / "export", tmp_path / "plain")
    packed, _ = in_partitions(partitioned([str(tmp_path / "export")], tmp_path / "one"))
    unpacked, _ = in_partitions(partitioned([str(tmp_path / "plain")], tmp_path / "two"))
    assert _counts(packed) == _counts(unpacked)


def _counts(found: list[bytes]) -> list[tuple[str, str]]:
    decided = [orjson.loads(line) for line in found[::2]]
    return sorted((one["decision"], str(one["reason"])) for one in decided)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pieces and chunks of a few lines, so that a small file shows what a large one would."""
    monkeypatch.setattr(pieces, "SMALLEST", 10_000)
    monkeypatch.setattr(lines, "CHUNK", 3_000)
    yield


@pytest.mark.usefixtures("small_pieces")
def test_files_cut_into_pieces_are_decided_alike(tmp_path: Path, processes: int) -> None:
    """A line that runs from one piece into the next belongs to the one it begins in."""
    Tangle(10, 5, ties=10).write(tmp_path / "export")
    plain(tmp_path / "export", tmp_path / "plain")
    theirs = in_one_piece([str(tmp_path / "plain")])
    assert len(find([str(tmp_path / "plain")]).pieces) > 8
    ours = in_partitions(partitioned([str(tmp_path / "plain")], tmp_path / "scratch", 5, processes))
    assert ours == theirs


def test_context_informs_and_is_not_decided_on(tmp_path: Path) -> None:
    """The triggers of --context are at hand, and nothing is said of them."""
    Export(30).write(tmp_path / "export")
    files = [str(tmp_path / "export" / "Appointment.ndjson")]
    context = [str(tmp_path / "export" / f"{kind}.ndjson") for kind in ("Patient", "ServiceRequest")]
    theirs = in_one_piece(files, context=context)
    parts = partitioned(files, tmp_path / "scratch", 5, context=context)
    assert in_partitions(parts) == theirs


@pytest.mark.usefixtures("small_pieces")
def test_what_cannot_be_read_holds_the_same_calls(tmp_path: Path) -> None:
    """Lines cut off, an entry without a type, a whole file: however the files are cut."""
    folder = tmp_path / "export"
    Export(24).write(folder)
    everyone = [f"Patient/p{number}".encode() for number in range(24)]
    name = next(folder.glob("Patient*"))
    whole = name.read_bytes().splitlines()
    whole.insert(20, b'{"resourceType":"Patient","id":"p0","deceasedBool')
    whole += [
        b'{"resourceType":"Appointment","subject":{"reference":"%b"},"st' % one for one in everyone[6:9]
    ]
    name.write_bytes(b"\n".join(whole))
    (folder / "cut.json").write_bytes(
        b'{"resourceType":"Consent","patient":{"reference":"%b"},' % everyone[12]
    )
    actors = [[{"actor": {"reference": one.decode()}, "status": "accepted"}] for one in everyone[:2]]
    wanted = {"resourceType": "Appointment", "status": "proposed", "created": "2026-11-20"}
    triggers = [{**wanted, "id": f"beside{number}", "participant": who} for number, who in enumerate(actors)]
    bundles = [
        {"resourceType": "Bundle", "entry": [{"resource": {"status": "active"}}, {"resource": trigger}]}
        for trigger in triggers
    ]
    (folder / "bundles.ndjson").write_bytes(b"\n\n" + b"\n".join(map(orjson.dumps, bundles)) + b"\n")
    assert len(find([str(folder)]).pieces) > 8
    theirs = in_one_piece([str(folder)])
    held = [line for line in theirs[0] if b'"reason":"record-unreadable"' in line and b'"trigger":"' in line]
    assert len(held) > 6
    assert in_partitions(partitioned([str(folder)], tmp_path / "scratch", 9)) == theirs
