"""What could not be read, findable by whom it may be about (mapping, sections 4 and 16)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from fhir_bridge.errors import InputError, Lost
from fhir_bridge.fhir.resource import Origin


class Unread:
    """Places by the patients and triggers that their texts show, and by the file or line that they stand in
    where those do not show whom they are about: then they may be about anybody there, as within a Bundle."""

    def __init__(self, lost: Iterable[Lost] = (), besides: Unread | None = None) -> None:
        self._besides = besides
        self._by_name: dict[str, list[Lost]] = defaultdict(list)
        self._by_place: dict[tuple[str, int | None], list[Lost]] = defaultdict(list)
        for one in lost:
            for name in one.names:
                self._by_name[name].append(one)
            if one.is_unclear:
                self._by_place[one.file, one.line].append(one)

    def __bool__(self) -> bool:
        return bool(self._by_name or self._by_place or self._besides)

    def about(self, names: Collection[str], beside: Origin) -> tuple[Origin, ...]:
        """The places of what may be about one of these, or stands beside a trigger and may be about
        anybody; in their order, each once."""
        found = self._about(names, beside)
        ordered = sorted(found, key=lambda one: (one.file, one.line or 0, one.entry or 0))
        return tuple(Origin(one.file, one.line, one.entry) for one in ordered)

    def _about(self, names: Collection[str], beside: Origin) -> set[Lost]:
        found = {*self._by_place.get((beside.file, beside.line), ())}
        for name in names:
            found.update(self._by_name.get(name, ()))
        return found if self._besides is None else found | self._besides._about(names, beside)


NOTHING_UNREAD = Unread()


def unread_of(problems: Iterable[InputError]) -> Unread:
    """What of these problems may speak against a call."""
    return Unread(lost for problem in problems for lost in problem.lost)
