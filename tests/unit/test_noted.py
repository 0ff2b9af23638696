"""Every note the bridge can make has a meaning for people, and none is made up."""

from __future__ import annotations

import re
from pathlib import Path

import fhir_bridge
from fhir_bridge.mapping.noted import NOTES, meaning_of

PACKAGE = Path(fhir_bridge.__file__).parent
ROOT = PACKAGE.parent

IN_THE_CODE = re.compile(
    r'\bnote\("([a-z-]+)"'  # recorder.note("npi-invalid", …), self.note("code-case")
    r'|\b(?:notes|noted?)\s*(?:=|,)\s*\(?"([a-z-]+)"'  # notes = ("phone-not-assigned",)
    r'|^(?:[A-Z_]+) = "((?:reference|patients?|date|override|site)-[a-z-]+)"$',
    re.MULTILINE,
)


def codes() -> set[str]:
    """The codes of notes in the text of the modules that read, gather and map."""
    modules = [path for part in ("fhir", "case", "mapping") for path in (PACKAGE / part).glob("*.py")]
    texts = [path.read_text("utf-8") for path in modules if path.name != "noted.py"]
    return {code for text in texts for found in IN_THE_CODE.findall(text) for code in found if code}


def test_every_note_in_the_code_has_a_meaning() -> None:
    """A new one fails here until it is explained."""
    found = codes()
    assert len(found) > 20
    assert found - set(NOTES) == set()


def test_every_meaning_belongs_to_a_note() -> None:
    """One that is gone goes from the page too."""
    text = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "noted.py")
    assert [code for code in NOTES if f'"{code}"' not in text] == []


def test_the_checkers_codes_mean_that_something_does_not_conform() -> None:
    """They are many, and not ours to name."""
    assert "conform" in (meaning_of("validation:extra_forbidden") or "")
    assert meaning_of("no-such-note") is None


def test_the_page_lists_them() -> None:
    """docs/notes.md, by `make docs`."""
    page = (ROOT / "docs" / "notes.md").read_text("utf-8")
    assert all(f"| `{code}` | {meaning} |" in page for code, meaning in NOTES.items())
