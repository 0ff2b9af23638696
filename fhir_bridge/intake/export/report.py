"""What became of an export."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fhir_bridge.errors import FhirServerError
from fhir_bridge.intake.export.lines import Lines
from fhir_bridge.intake.export.outcomes import SERIOUS


@dataclass(slots=True)
class Report:
    """`resources` by type, `lines` by file, `size` in bytes; `failed` are files, or types of a crawl, that
    could not be had, by name: the export is not whole then.

    `mismatched` are files with another number of lines than the manifest says, as (said, found); `issues`
    what the server says went wrong, by severity and code; `crawled` how many searches and reads a crawl made,
    by type; `looked_through` what is known of files from fetching them.
    """

    resources: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)
    looked_through: dict[str, Lines] = field(default_factory=dict)
    size: int = 0
    failed: dict[str, FhirServerError] = field(default_factory=dict)
    mismatched: dict[str, tuple[int, int]] = field(default_factory=dict)
    issues: Counter[tuple[str, str]] = field(default_factory=Counter)
    crawled: dict[str, int] = field(default_factory=dict)
    job_left: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every file is here."""
        return not self.failed

    @property
    def needs_a_person(self) -> bool:
        """Whether something is missing, or may be (exit code 1)."""
        serious = any(severity in SERIOUS for severity, _ in self.issues)
        return bool(self.failed or self.mismatched or serious)
