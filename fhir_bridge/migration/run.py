"""A migration from its files to its report: read, decided on by all processes, put together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import orjson

from fhir_bridge.errors import InputError
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import Found
from fhir_bridge.intake.bulk.progress import Progress
from fhir_bridge.intake.bulk.spill import About, Problem
from fhir_bridge.ledger.records import Arrival, Broken, Heard
from fhir_bridge.mapping.decision import Skip
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.statements import Statement
from fhir_bridge.mapping_run import MappingRun, people_gone, resolution_rules, skips_of
from fhir_bridge.migration import codec
from fhir_bridge.migration.broken import Unread, broken_of
from fhir_bridge.migration.deciding import Decider
from fhir_bridge.migration.engine import Engine
from fhir_bridge.migration.tally import Tally
from fhir_bridge.migration.work import Asked, Form, read_outcome


@dataclass(frozen=True, slots=True)
class Share:
    """One machine's share of several: the `number`th (from 1) of `of`."""

    number: int = 1
    of: int = 1

    def partitions(self, count: int) -> range:
        """Its partitions of so many."""
        return range(self.number - 1, count, self.of)


_UNKNOWN = frozenset({"compressed", "line-too-long", "link", "no-file", "too-large"})
"""Codes of errors that may hide anything about anybody."""


@dataclass(slots=True)
class Report:
    """What was found and decided. `others` counts the types that no view reads, `files_passed_over` the
    files in folders by endings that are not looked for; `written` the lines of --out; `nothing_readable`: no
    file could be read at all."""

    tally: Tally = field(default_factory=Tally)
    errors: list[dict[str, object]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    files_passed_over: Counter[str] = field(default_factory=Counter)
    resources: int = 0
    files: int = 0
    gone: list[Skip] = field(default_factory=list)
    people_gone: list[Statement] = field(default_factory=list)
    written: int = 0
    nothing_readable: bool = False

    @property
    def about_nobody_knows_whom(self) -> int:
        """How many errors may hide anything about anybody: a file, or what of it is not here."""
        return sum(error["code"] in _UNKNOWN for error in self.errors)


@dataclass(slots=True)
class Migration:
    """One migration, on `engine`.

    `share`: of several machines', `max_errors`: more end it with an InputError; for `form`, `only` and
    `samples` see `Asked`.
    """

    run: MappingRun
    found: Found
    engine: Engine
    progress: Progress
    share: Share = Share()
    form: Form | None = None
    only: str | None = None
    samples: int = 3
    max_errors: int | None = None
    report: Report = field(default_factory=Report)
    _unread: list[Unread] = field(default_factory=list)

    def decide(self, blocked: Blocked = NOBODY_BLOCKED) -> Report:
        """Reads and decides. Raises InputError for more errors than are allowed."""
        for error in self.found.problems:
            file, _, text = str(error).partition(": ")
            told = {"file": file, "line": None, "offset": None, "code": error.code}
            self._error({**told, "reason": _reason(text, error.hint)})
        partitions = self._partitions()
        decider = Decider(self.run, partitions, blocked)
        self._problems(partitions, [each for about in partitions.abouts for each in about.problems])
        self._problems(partitions, decider.problems)
        said_gone = self._decided(decider)
        if self.share.number == 1:
            deleted = partitions.deleted.get(None, {})
            gone = {label: at for label, at in deleted.items() if label not in said_gone}
            self.report.gone, self.report.people_gone = list(skips_of(gone)), people_gone(gone, self.run.now)
        return self.report

    def _partitions(self) -> Partitions:
        self.progress.begin("reading", self.found.size, is_bytes=True)
        system = resolution_rules(self.run.profile).system
        partitions = self.engine.partitions(self.found, system, self._seen, self.progress)
        self.report.files, self.report.files_passed_over = self.found.files, self.found.passed_over
        self.report.nothing_readable = all(about.unreadable for about in partitions.abouts)
        return partitions

    def _seen(self, about: About) -> None:
        self.report.resources += about.resources
        self.report.others += Counter(about.others)

    def _decided(self, decider: Decider) -> set[str]:
        partitions = decider.partitions
        numbers = self.share.partitions(partitions.count)
        said_gone: set[str] = set()
        self.progress.begin("deciding", sum(map(partitions.size, numbers)), is_bytes=True)
        asked = Asked(self.form, self.only, self.samples)
        for number, data in self.engine.outcomes(decider, asked, numbers, self.progress.tick):
            outcome = read_outcome(data)
            self.report.tally.merge(outcome.tally, self.samples)
            self._problems(partitions, outcome.problems)
            said_gone |= outcome.said_gone
            self.progress.advance(partitions.size(number))
        return said_gone

    def _problems(self, partitions: Partitions, problems: list[Problem]) -> None:
        for problem in problems:
            file, line = partitions.place_of(problem)
            told = {"file": file, "line": line or None, "offset": problem.offset, "code": problem.code}
            self._error({**told, "reason": _reason(problem.text.lstrip(": "), problem.hint)})
            for lost in partitions.lost_of(problem):
                self._unread.append(Unread(file, lost.line, problem.code, lost))

    def _error(self, error: dict[str, object]) -> None:
        self.report.errors.append(error)
        if self.max_errors is not None and len(self.report.errors) > self.max_errors:
            raise InputError(
                f"more than {self.max_errors} errors, as --max-errors allows",
                code="too-many-errors",
                hint="the errors are listed in the file named by --errors",
            )

    def write(self, out: str) -> None:
        """Puts what was written down of the partitions together at `out`."""
        # `map` prints nothing of what a history says is gone, the ledger must hear of it.
        last = map(codec.encode, (*self.broken(), *self.gone())) if self.form == "arrivals" else ()
        self.report.written = self.engine.write(out, self.form or "decisions", last)

    def broken(self) -> list[Broken]:
        """What could not be read and may speak against calls, as the ledger takes it in."""
        return broken_of(self.run.profile.source.name, self._unread)

    def gone(self) -> list[Arrival | Heard]:
        """What a history says is gone, as the ledger takes it in."""
        source = self.run.profile.source.name
        people = [Heard(source, statement) for statement in self.report.people_gone]
        return people + [
            Arrival(source, skip, skip.subject.trigger.partition("/")[0], is_lasting=True)
            for skip in self.report.gone
        ]


def _reason(text: str, hint: str | None) -> str:
    return f"{text} ({hint})" if hint else text


def in_order(errors: list[dict[str, object]]) -> list[dict[str, object]]:
    """The errors in the order of their places."""
    return sorted(errors, key=lambda each: (str(each["file"] or ""), each["line"] or 0, str(each)))


def error_lines(errors: list[dict[str, object]]) -> bytes:
    """The errors as NDJSON, in the order of their places."""
    return b"".join(orjson.dumps(error) + b"\n" for error in in_order(errors))
