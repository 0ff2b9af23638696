"""What a SQLite ledger's file cannot tell by itself: whether it is an older copy of what was here, and
whether it lies where other machines write too (delivery, "One ledger for every way in")."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fhir_bridge.errors import LedgerError

MOUNTS = Path("/proc/self/mountinfo")
"""What is mounted where (https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html); Linux alone has
it."""

_NETWORK = re.compile(
    r"(?:fuse\.)?(?:nfs\d?|cifs|smb\d?|smbfs|afs|ceph|ceph-fuse|glusterfs|lustre|beegfs|gpfs|ocfs2|gfs2"
    r"|sshfs|davfs2?)"
)
"""File systems that several machines write to at once."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mark:
    """The number of the newest attempt that the ledger at `path` was seen with, in a file beside it. A copy
    that has fewer was made before: it has forgotten calls. `ledger` tells this ledger from another."""

    path: Path
    ledger: str

    @classmethod
    def of(cls, database: Path, salt: bytes) -> Mark:
        """The mark of a ledger's file; its salt was made with the ledger, and is shown to nobody."""
        return cls(database.with_name(f"{database.name}-mark"), sha256(b"mark" + salt).hexdigest()[:16])

    @property
    def last(self) -> int:
        """The number; 0 where none was noted, or it is another ledger's."""
        try:
            ledger, _, number = self.path.read_text("ascii").strip().partition(" ")
            return int(number) if ledger == self.ledger else 0
        except (OSError, ValueError):
            return 0

    def note(self, last: int, *, anew: bool = False) -> None:
        """Notes a number; a lower one than stands there only `anew`. Where nothing can be written beside the
        ledger nothing is."""
        before = self.last
        if last == before or (last < before and not anew):
            return
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(f"{self.ledger} {last}\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)

    def demand_no_older(self, database: Path, last: int) -> None:
        """Raise LedgerError where the ledger's newest attempt is not as new as what was seen of it."""
        if last < (noted := self.last):
            raise LedgerError(
                f"the ledger {database} is an older copy of the one that was here: its last attempt is "
                f"{last}, and {noted} was noted beside it",
                code="ledger-older",
                hint="A restored backup has forgotten calls and would make them again. Before anything else: "
                "`fhir-bridge ledger restored --as-of TIME --because …`, as docs/operating.md says.",
            )


def demand_local(database: Path) -> None:
    """Raise LedgerError where a ledger's file lies on a network file system: SQLite's journal is shared by
    memory, so that a process on another machine would not see what was committed, and call again
    (https://www.sqlite.org/wal.html)."""
    with suppress(OSError):
        kind = file_system(database.absolute().parent.resolve(), MOUNTS.read_text("utf-8", "replace"))
        if _NETWORK.fullmatch(kind):
            raise LedgerError(
                f"the ledger {database} would be on a network file system ({kind}), where another machine "
                "may write to it unseen",
                code="ledger-on-network",
                hint="Put it on a disk of this machine, or keep the ledger in PostgreSQL.",
            )


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that a folder is on, by the lines of `MOUNTS`; empty where none tells."""
    found = (0, "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        if folder.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), after.split(" ")[0])
    return found[1]
