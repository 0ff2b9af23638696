"""Scripted faults: rules of one line each, which make the sandbox fail where a test or a person wants it to.

    FAULT [METHOD [PATH]] [key=value ...]          drop-after POST /v1/task nth=2

| fault | what the caller sees |
|---|---|
| latency | the answer comes `seconds` later; the only fault that goes with another |
| refuse | the connection is reset before a byte is read; counts connections: no METHOD, no PATH |
| drop-before, drop-after | closed without an answer, before or after the request was processed |
| reset-before, reset-after | the same with a TCP reset |
| hang-before, hang-after | no answer for `seconds`, then the connection is closed |
| status-before, status-after | an error `code`, with `retry-after` where given |
| garbage | processed, and a 201 whose body nobody can read |
| truncated | processed, and an answer that breaks off in the middle of its body |

METHOD is `*` by default, PATH `*`, a shell pattern such as `/v1/task/*`. A rule fires for the requests it
matches, all of them, or: `nth=2`, `nth=1,4-6` (counted from 1), `share=0.1` (a chance, drawn from the seed),
`times=3` (at most). The first rule that fires wins.

A file is YAML or JSON: a list of rules, or `seed` and `rules`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fhir_bridge.errors import SettingsError


class Fault(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"
    REFUSE = "refuse"
    DROP_BEFORE = "drop-before"
    DROP_AFTER = "drop-after"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    HANG_BEFORE = "hang-before"
    HANG_AFTER = "hang-after"
    STATUS_BEFORE = "status-before"
    STATUS_AFTER = "status-after"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"

    @property
    def is_processed(self) -> bool:
        """Whether the request has taken effect when this happens to its answer."""
        return self.value.endswith("-after") or self in (Fault.GARBAGE, Fault.TRUNCATED)


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One line of a script; `nth` is 1-based, times are in seconds."""

    fault: Fault
    method: str = "*"
    path: str = "*"
    nth: frozenset[int] | None = None
    share: float = 1.0
    times: int | None = None
    seconds: float = 3600.0
    code: int = 503
    retry_after: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is one of those this rule counts."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)


@dataclass(frozen=True, slots=True)
class FaultScript:
    """The rules in order, and the seed of their chances."""

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0

    @classmethod
    def parse(cls, lines: Iterable[str], seed: int = 0) -> FaultScript:
        """The script out of its lines. Raises SettingsError naming the rule by its number, from 1."""
        return cls(tuple(_rule(line, number) for number, line in enumerate(lines, start=1)), seed)

    @classmethod
    def read(cls, path: Path) -> FaultScript:
        """The script out of a YAML or JSON file. Raises SettingsError naming file and rule or line."""
        # Only who plays faults from a file pays for loading a YAML parser.
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}", code="faults") from error
        except (YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise SettingsError(f"{path}{line}: not readable as YAML or JSON", code="faults") from error
        script = {"rules": content} if isinstance(content, list) else content
        if not isinstance(script, dict) or not script.keys() <= {"seed", "rules"}:
            raise SettingsError(f"{path}: expected a list of rules, or `seed` and `rules`", code="faults")
        try:
            return cls.parse(_texts(script.get("rules")), _whole_number("seed", script.get("seed", 0)))
        except ValueError as error:
            raise SettingsError(f"{path}: {error}", code="faults") from error
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}", code="faults") from error


@dataclass(slots=True)
class FaultPlayer:
    """Plays one script: counts what each rule has matched and how often it has fired."""

    script: FaultScript
    _matched: list[int] = field(init=False)
    _fired: list[int] = field(init=False)
    _chances: list[random.Random] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.script.rules)
        self._matched = [0] * count
        self._fired = [0] * count
        self._chances = [random.Random(f"{self.script.seed}:{index}") for index in range(count)]

    def on_connection(self) -> bool:
        """Whether this new connection is refused."""
        fires = [
            self._fires(index, rule)
            for index, rule in enumerate(self.script.rules)
            if rule.fault is Fault.REFUSE
        ]
        return any(fires)

    def on_request(self, method: str, path: str) -> tuple[float, FaultRule | None]:
        """Seconds this request waits first, and the rule that then strikes it, if any."""
        delay, struck = 0.0, None
        for index, rule in enumerate(self.script.rules):
            if rule.fault is Fault.REFUSE or not rule.matches(method, path):
                continue
            # Counted even behind a rule that has fired: `nth` means requests, not leftovers.
            if not self._fires(index, rule, only_count=struck is not None):
                continue
            if rule.fault is Fault.LATENCY:
                delay += rule.seconds
            else:
                struck = rule
        return delay, struck

    def _fires(self, index: int, rule: FaultRule, *, only_count: bool = False) -> bool:
        self._matched[index] += 1
        lucky = rule.share >= 1.0 or self._chances[index].random() < rule.share
        chosen = rule.nth is None or self._matched[index] in rule.nth
        spent = rule.times is not None and self._fired[index] >= rule.times
        if not (lucky and chosen) or spent or (only_count and rule.fault is not Fault.LATENCY):
            return False
        self._fired[index] += 1
        return True


def _rule(line: str, number: int) -> FaultRule:
    try:
        return _parsed(line.split())
    except ValueError as error:
        raise SettingsError(f"rule {number}: {error}", code="faults") from error


def _parsed(words: list[str]) -> FaultRule:
    if not words or words[0] not in {fault.value for fault in Fault}:
        known = ", ".join(Fault)
        raise ValueError(f"begins with none of {known}")
    target = [word for word in words[1:] if "=" not in word]
    options = dict(_option(word) for word in words[1:] if "=" in word)
    fault = Fault(words[0])
    if len(target) > 2 or (fault is Fault.REFUSE and target):
        raise ValueError("expected FAULT [METHOD [PATH]] [key=value ...]; refuse takes no METHOD and no PATH")
    if fault is Fault.LATENCY and "seconds" not in options:
        raise ValueError("latency needs seconds=")
    method, path = [*target, "*", "*"][:2]
    if not (method == "*" or method.isupper()) or not path.startswith(("/", "*")):
        raise ValueError("METHOD is in capitals or *, PATH begins with / or *")
    return FaultRule(fault, method, path, **options)


def _option(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    if name == "nth":
        return name, _numbers(text)
    if name in ("share", "seconds"):
        return name, _number(name, text, most=1.0 if name == "share" else 86400.0)
    if name in ("times", "retry-after"):
        return name.replace("-", "_"), _whole_number(name, text)
    if name == "code":
        code = _whole_number(name, text)
        if not 200 <= code <= 599:
            raise ValueError("code is an HTTP status from 200 to 599")
        return name, code
    raise ValueError(f"unknown key {name}")


def _numbers(text: str) -> frozenset[int]:
    """`1,4-6` as 1, 4, 5, 6."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _whole_number("nth", first)
        chosen.update(range(start, (_whole_number("nth", last) if dash else start) + 1))
    return frozenset(chosen)


def _number(name: str, text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise ValueError(f"{name} is a number from 0 to {most:g}")
    return value


def _whole_number(name: str, value: object) -> int:
    if not str(value).isdecimal():
        raise ValueError(f"{name} is a whole number")
    return int(str(value))


def _texts(rules: object) -> list[str]:
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ValueError("`rules` is a list of texts")
    return rules
