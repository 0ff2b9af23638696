"""Which element a name was meant for that is none of FHIR's (mapping, section 16).

The same letters in another case, with blanks or signs among them, with accents, in full width, are the same
name. Where most letters are Latin, one that is not may stand for any: nobody tells look-alikes apart by eye.
And a name of five letters and more that is one slip of the hand from a single one was meant for that one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import lru_cache

_SHORTEST = 5
"""Letters of a name in which one may be wrong: of shorter ones too many are neighbours."""


@lru_cache(maxsize=4_096)
def meant(name: str, known: frozenset[str], others: frozenset[str] = frozenset()) -> str | None:
    """The one of the known names that was meant; None where it is one of them or of the others, or like none
    or several. `others` are names that are not looked for and mean something else."""
    if name in known or name in others:
        return None
    letters, every = folded(name), known | others
    found = [each for each in every if _look_alike(letters, folded(each))]
    found = found or [each for each in every if _is_slip(letters, folded(each))]
    return found[0] if len(found) == 1 and found[0] in known else None


def misspelling(name: str, element: str) -> str:
    """The note for a name that stands for an element's."""
    return "code-case" if name.lower() == element.lower() else "name-misspelt"


@lru_cache(maxsize=4_096)
def folded(name: str) -> str:
    """Its letters and digits in small letters without accents. An underscore in front stays: FHIR tells by it
    what stands beside a primitive element."""
    letters = "".join(filter(str.isalnum, unicodedata.normalize("NFKD", name).casefold()))
    return f"_{letters}" if name.lstrip().startswith("_") else letters


def _look_alike(name: str, known: str) -> bool:
    foreign = sum(not letter.isascii() for letter in name)
    return len(name) == len(known) and not _differing(name, known) and foreign * 2 <= len(name)


def _is_slip(name: str, known: str) -> bool:
    """Whether one letter is wrong, too many or missing, or two neighbours have changed places."""
    if len(known) < _SHORTEST or name.startswith("_") != known.startswith("_"):
        return False
    if len(name) == len(known):
        wrong = _differing(name, known)
        return len(wrong) == 1 or (len(wrong) == 2 and _swapped(name, wrong) == known)
    longer, shorter = sorted((name, known), key=len, reverse=True)
    return len(longer) == len(shorter) + 1 and any(
        _look_alike(longer[:at] + longer[at + 1 :], shorter) for at in range(len(longer))
    )


def _differing(name: str, known: str) -> list[int]:
    """Where they differ, but for letters that may stand for any."""
    return [at for at, letter in enumerate(name) if letter != known[at] and letter.isascii()]


def _swapped(name: str, places: Collection[int]) -> str | None:
    first, second = places
    if second != first + 1:
        return None
    return f"{name[:first]}{name[second]}{name[first]}{name[second + 1 :]}"
