"""Codes to words and classes, whatever layer, system name or case they come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.errors import MappingsError
from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.mapping.terminology import Terminology
from fhir_bridge.profiles.maps import MapFolders

SNOMED = "http://snomed.info/sct"


def group(source: str | None, *rows: tuple[str, str | None, str | None], **extra: Any) -> dict[str, Any]:
    """A ConceptMap group of rows (code, target code, target display)."""
    elements = [
        {"code": code, "target": [{"code": to, "display": display, "equivalence": "equivalent"}]}
        for code, to, display in rows
    ]
    return {**({"source": source} if source is not None else {}), "element": elements, **extra}


@pytest.fixture
def terms(tmp_path: Path) -> Callable[..., Terminology]:
    """Terminology of one map "words", each layer's groups given, the winning layer first."""

    def make(aliases: dict[str, str] | None = None, /, **layers: list[dict[str, Any]]) -> Terminology:
        folders = []
        for layer, groups in layers.items():
            folder = tmp_path / layer
            folder.mkdir()
            written = {"resourceType": "ConceptMap", "status": "active", "group": groups}
            (folder / "words.json").write_text(json.dumps(written))
            folders.append((layer, folder))
        return Terminology(MapFolders(tuple(folders)), aliases or {})

    return make


def test_a_word_is_the_targets_display_and_a_kind_its_code(terms: Callable[..., Terminology]) -> None:
    """Both say the row and the layer they come from."""
    known = terms(base=[group(SNOMED, ("394579002", "cardiology", "Cardiology"))])
    coding = Coding(SNOMED, "394579002")
    word, kind = known.word("words", coding), known.kind("words", coding)
    assert word is not None and (word.text, word.row, word.layer) == ("Cardiology", "words 394579002", "base")
    assert kind is not None and (kind.text, kind.exact) == ("cardiology", True)


def test_a_later_layer_wins_and_the_others_still_count(terms: Callable[..., Terminology]) -> None:
    """A site changes one word and keeps the rest."""
    known = terms(
        site=[group(SNOMED, ("1", "a", "Ours"))],
        base=[group(SNOMED, ("1", "a", "Theirs"), ("2", "b", "Kept"))],
    )
    changed, kept = known.word("words", Coding(SNOMED, "1")), known.word("words", Coding(SNOMED, "2"))
    assert changed is not None and (changed.text, changed.layer) == ("Ours", "site")
    assert kept is not None and (kept.text, kept.layer) == ("Kept", "base")


def test_a_star_in_a_system_stands_for_a_tenant(terms: Callable[..., Terminology]) -> None:
    """An exact system is asked first, a dot in a pattern is a dot."""
    known = terms(
        base=[
            group("https://fhir.example.com/*/codeSet/14249", ("5", "x", "By pattern")),
            group("https://fhir.example.com/t1/codeSet/14249", ("5", "x", "Exactly")),
        ]
    )

    def text(system: str) -> str | None:
        word = known.word("words", Coding(system, "5"))
        return word.text if word else None

    assert text("https://fhir.example.com/t2/codeSet/14249") == "By pattern"
    assert text("https://fhir.example.com/t1/codeSet/14249") == "Exactly"
    assert text("https://fhirXexample.com/t2/codeSet/14249") is None
    assert text("https://fhir.example.com/t2/codeSet/14250") is None


def test_a_coding_without_a_system_matches_only_a_group_without_a_source(
    terms: Callable[..., Terminology],
) -> None:
    """A code that merely looks like one of a system's is none (mapping, section 3, row 7)."""
    known = terms(base=[group(SNOMED, ("1", "a", "A")), group(None, ("2", "b", "B"))])
    assert known.word("words", Coding(None, "1")) is None
    assert known.word("words", Coding(SNOMED, "2")) is None
    bare = known.word("words", Coding(None, "2"))
    assert bare is not None and bare.text == "B"


def test_a_code_in_another_case_is_found_and_said_so_unless_two_differ_by_case(
    terms: Callable[..., Terminology],
) -> None:
    """`exact` lets the mapper note a code in the wrong case (mapping, section 16)."""
    known = terms(base=[group("s", ("PAT", "p", "Pat"), ("Ab", "1", "One"), ("aB", "2", "Two"))])
    found = known.word("words", Coding("s", "pat"))
    assert found is not None and not found.exact
    assert known.word("words", Coding("s", "AB")) is None
    exact = known.word("words", Coding("s", "aB"))
    assert exact is not None and exact.text == "Two" and exact.exact


def test_a_system_is_known_by_its_other_names(terms: Callable[..., Terminology]) -> None:
    """Exactly, or by a beginning that is another's."""
    aliases = {
        "urn:oid:2.16.840.1.113883.6.96": SNOMED,
        "http://hl7.org/fhir/v2/*": "http://terminology/v2-*",
    }
    known = terms(
        aliases, base=[group(SNOMED, ("1", "a", "A")), group("http://terminology/v2-0276", ("2", "b", "B"))]
    )
    assert known.canonical("http://hl7.org/fhir/v2/0276") == "http://terminology/v2-0276"
    assert known.word("words", Coding("urn:oid:2.16.840.1.113883.6.96", "1")) is not None
    assert known.word("words", Coding("http://hl7.org/fhir/v2/0276", "2")) is not None


def test_a_row_that_maps_to_nothing_takes_a_word_away(terms: Callable[..., Terminology]) -> None:
    """R4's unmatched and R5's noMap end the search: the layers below are not asked."""
    unmatched = {"code": "1", "target": [{"code": "x", "display": "X", "equivalence": "unmatched"}]}
    no_map = {"code": "2", "noMap": True}
    known = terms(
        site=[{"source": SNOMED, "element": [unmatched, no_map]}],
        base=[group(SNOMED, ("1", "a", "A"), ("2", "b", "B"))],
    )
    assert known.word("words", Coding(SNOMED, "1")) is None
    assert known.word("words", Coding(SNOMED, "2")) is None


def test_a_coding_without_a_code_and_a_display_that_is_empty_give_no_word(
    terms: Callable[..., Terminology],
) -> None:
    """Never a code, never an empty text."""
    known = terms(base=[group(SNOMED, ("1", "a", None), ("2", "b", ""))])
    for coding in (Coding(SNOMED), Coding(SNOMED, "1"), Coding(SNOMED, "2")):
        assert known.word("words", coding) is None
    kind = known.kind("words", Coding(SNOMED, "1"))
    assert kind is not None and kind.text == "a"


def test_a_map_is_read_when_it_is_first_asked_for_and_once(
    terms: Callable[..., Terminology], tmp_path: Path
) -> None:
    """Start-up does not pay for maps that are not used."""
    known = terms(base=[group(SNOMED, ("1", "a", "A"))])
    assert known.word("words", Coding(SNOMED, "1")) is not None
    (tmp_path / "base" / "words.json").unlink()
    assert known.word("words", Coding(SNOMED, "1")) is not None


def test_a_map_no_layer_has_is_an_error(terms: Callable[..., Terminology]) -> None:
    """A misspelt map name must not read as "no word"."""
    with pytest.raises(MappingsError, match=r"no layer has a ConceptMap wrds\.json"):
        terms(base=[]).word("wrds", Coding(SNOMED, "1"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ('{"resourceType": "ValueSet"}', "not a ConceptMap"),
        ('{"resourceType": "ConceptMap", "group": [{"element": [{"target": []}]}]}', "not a ConceptMap"),
        (
            '{"resourceType": "ConceptMap", "group": [{"element": [], "unmapped": {"mode": "fixed"}}]}',
            "unmapped",
        ),
    ],
)
def test_a_map_that_cannot_be_read_names_its_file(tmp_path: Path, text: str, problem: str) -> None:
    """And nothing it says is silently left out."""
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(MappingsError, match=f"words.json: .*{problem}"):
        Terminology(MapFolders((("base", tmp_path),)), {}).word("words", Coding(SNOMED, "1"))
