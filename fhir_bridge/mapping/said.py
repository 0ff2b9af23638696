"""Whether a text says anything: masks, template tokens and blanks are absent (mapping, section 5)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_TEMPLATE = re.compile(r"\$\{|\{\{|\}\}|^<[^<>]*>$")
"""An unfilled template: `${name}` and `{{name}}` anywhere, `<name>` alone (inside a text it may be markup).
"""

_NOTHING = frozenset({"none", "null", "undefined", "unknown", "n/a", "tbc", "tbd", "tba"})
"""What software writes where it has nothing to write."""


@lru_cache(maxsize=8_192)
def said(text: str | None) -> str | None:
    """The text with every run of blanks made one, or None where it is missing, blank, a mask, a template
    token or a word for nothing (`XXXX`, `***`, `${phone}`, `<snipped>`, `TBC`, `null`): such a value is
    absent (mapping, section 5)."""
    if not text:
        return None
    words = " ".join(text.split())
    if _is_mask(words) or words.lower() in _NOTHING or _TEMPLATE.search(words):
        return None
    return words


@lru_cache(maxsize=8_192)
def code(written: str | None) -> str | None:
    """A code of FHIR's own, in FHIR's own case (section 16); None where nothing, or a template token, stands.

    `unknown` is a code: it is a word for nothing only where words are wanted.
    """
    if not written or _TEMPLATE.search(written):
        return None
    return unicodedata.normalize("NFKC", written).strip().lower() or None


def _is_mask(words: str) -> bool:
    """Whether nothing but filler stands there: no letter and no digit, or three and more of X alone."""
    if words[:1].isalnum() and words[0] not in "xX":
        return False
    letters = [letter for letter in words if letter.isalnum()]
    return not letters or (len(letters) > 2 and all(letter in "xX" for letter in letters))
