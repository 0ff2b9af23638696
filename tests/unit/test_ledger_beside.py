"""What stands beside a SQLite ledger's file, and where the file may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database import beside
from fhir_bridge.ledger.database.beside import Mark, demand_local, file_system

MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 22 0:26 / /srv rw,relatime shared:2 - xfs /dev/vdb rw
40 31 0:52 / /srv/share\\040two rw,relatime shared:9 master:3 - nfs4 files:/x rw,vers=4.2
41 22 0:53 / /smb rw - cifs //files/x rw
42 22 0:54 / /smb rw - tmpfs tmpfs rw
no mount at all
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/lib", "ext4"), ("/srv", "xfs"), ("/srv/share two/a", "nfs4"), ("/srv/share", "xfs"),
     ("/smb/a", "tmpfs")],
)  # fmt: skip
def test_a_folder_is_on_what_was_mounted_nearest_and_last(folder: str, kind: str) -> None:
    """As the kernel lists it."""
    assert file_system(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "is_refused"),
    [("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("fuse.sshfs", True), ("ceph", True),
     ("ext4", False), ("overlay", False), ("tmpfs", False), ("fuse.gocryptfs", False), ("9p", False)],
)  # fmt: skip
def test_a_ledger_on_a_network_file_system_is_refused(
    kind: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine could write to it unseen."""
    (tmp_path / "mounts").write_text(f"22 1 254:1 / / rw - {kind} x rw\n")
    monkeypatch.setattr(beside, "MOUNTS", tmp_path / "mounts")
    if not is_refused:
        return demand_local(tmp_path / "l.db")
    with pytest.raises(LedgerError, match=kind) as told:
        demand_local(tmp_path / "l.db")
    assert told.value.code == "ledger-on-network"
    return None


def test_a_machine_that_does_not_list_its_mounts_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not known is not guessed."""
    monkeypatch.setattr(beside, "MOUNTS", tmp_path / "none")
    demand_local(tmp_path / "l.db")


def test_the_mark_only_grows_unless_it_is_begun_anew(tmp_path: Path) -> None:
    """A process that has not seen the newest takes nothing back."""
    mark = Mark.of(tmp_path / "l.db", b"salt")
    mark.demand_no_older(tmp_path / "l.db", 0)
    mark.note(5)
    mark.note(3)
    assert mark.last == 5
    mark.demand_no_older(tmp_path / "l.db", 5)
    with pytest.raises(LedgerError, match="its last attempt is 4, and 5"):
        mark.demand_no_older(tmp_path / "l.db", 4)
    mark.note(3, anew=True)
    assert mark.last == 3
    assert mark.path.stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == ["l.db-mark"]


def test_the_mark_of_another_ledger_or_one_that_nobody_can_read_says_nothing(tmp_path: Path) -> None:
    """A ledger begun anew in the place of an old one has its own."""
    Mark.of(tmp_path / "l.db", b"salt").note(5)
    other = Mark.of(tmp_path / "l.db", b"another")
    assert other.last == 0
    other.note(1)
    assert other.last == 1
    other.path.write_bytes(b"\xff\xfe no number")
    assert other.last == 0


def test_where_nothing_can_be_written_nothing_is(tmp_path: Path) -> None:
    """A ledger that is read only is read."""
    Mark.of(tmp_path / "none" / "l.db", b"salt").note(5)
