"""The shipped ConceptMaps are valid, licensed, consistent, and say what one can say on the telephone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fhir.resources.R4B.conceptmap import ConceptMap
from ruamel.yaml import YAML
from stdnum import verhoeff

from fhir_bridge.mapping.terminology import Terminology

FOLDER = Path(__file__).parents[2] / "mappings" / "concept-maps"
FILES = sorted(FOLDER.rglob("*.json"))
WORDS = "https://fhir-bridge.dev/CodeSystem/words"
SNOMED = "http://snomed.info/sct"
NUCC = "http://nucc.org/provider-taxonomy"

# Maps whose words stand alone or begin a sentence; the words of all others are running text.
STANDALONE = {"specialty", "cancellation-reason", "discharge-disposition"}

# Words that are rightly written with a capital in running text.
PROPER = {
    "Aboriginal",
    "Al-Anon",
    "Alateen",
    "Alexander",
    "Alzheimer's",
    "Bowen",
    "CT",
    "Chinese",
    "Feldenkrais",
    "MRI",
    "PET",
    "Pap",
    "Pilates",
    "Western",
    "X-ray",
}

CLASSES = {
    "cancellation-class": {
        "already-rebooked",
        "booked-in-error",
        "patient-deceased",
        "patient-moved",
        "treated-elsewhere",
    },
    "coverage-kind": {"medical", "dental", "vision", "self-pay"},
    "guardian-class": {"guardian"},
    "interpreter-class": {"required", "not-required"},
    "order-class": {
        "consultation",
        "counselling",
        "diagnostic-procedure",
        "education",
        "evaluation",
        "imaging",
        "laboratory",
        "medication",
        "nutrition",
        "referral",
        "social-service",
        "supply",
        "surgical-procedure",
        "therapy",
        "visit",
    },
    "participant-class": {"assisting", "interpreter", "lead", "patient", "referrer"},
    "relationship-to-subscriber": {"SELF", "SPOUSE", "DEPENDENT"},
    "visit-exclusion": {"telephone", "laboratory"},
}


# A sign of a system -> whose it is.
OWNERS = {
    "snomed.info": "International Health Terminology Standards Development Organisation",
    "nucc.org": "American Medical Association",
    "loinc.org": "Regenstrief Institute",
    "hl7.org/CodeSystem": "Health Level Seven International",
    "nubc.org": "American Hospital Association",
    "nahdo.org": "National Association of Health Data Organizations",
    "HCPCS": "Centers for Medicare & Medicaid Services",
    "mos.esante.gouv.fr": "Agence du Numérique en Santé",
    "ihe-d.de": "IHE Deutschland",
    "fhir.de": "HL7 Deutschland",
    "NHSDataModelAndDictionary": "NHS England",
}


class Row(NamedTuple):
    """One code and what it is mapped to."""

    map_name: str
    system: str
    code: str
    target_system: str
    target: dict[str, str]


def name_of(path: Path) -> str:
    """The map's own name: a country's or vendor's map carries its layer's name behind."""
    return path.stem if path.parent == FOLDER else f"{path.stem}-{path.parent.name}"


def load(path: Path) -> dict[str, Any]:
    """The file as plain JSON."""
    resource: dict[str, Any] = json.loads(path.read_bytes())
    return resource


def rows(path: Path) -> Iterator[Row]:
    """Every code of a file; fails where a code has not exactly one target."""
    for group in load(path)["group"]:
        for element in group["element"]:
            (target,) = element["target"]
            yield Row(path.stem, group["source"], element["code"], group["target"], target)


ALL_ROWS = [row for path in FILES for row in rows(path)]
WORD_ROWS = [row for row in ALL_ROWS if row.target_system == WORDS]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_is_a_valid_concept_map(path: Path) -> None:
    """Each file is a ConceptMap by FHIR R4B and carries what identifies and licenses it."""
    resource = ConceptMap.model_validate(load(path))
    assert resource.id == name_of(path)
    assert resource.url == f"https://fhir-bridge.dev/ConceptMap/{name_of(path)}"
    assert resource.status == "active"
    for name in ("version", "name", "title", "description", "copyright"):
        assert getattr(resource, name), name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_no_code_twice(path: Path) -> None:
    """A code has one meaning in a map: no system comes in two groups, no code twice in one."""
    systems = [group["source"] for group in load(path)["group"]]
    assert len(systems) == len(set(systems))
    counts = Counter((row.system, row.code) for row in rows(path))
    assert [pair for pair, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_has_one_element_a_line(path: Path) -> None:
    """A changed word is a changed line, and nothing else moves."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("   {")]
    assert len(lines) == len(list(rows(path)))
    for line in lines:
        json.loads(line.rstrip(","))


def test_systems_are_named_by_the_name_aliases_lead_to() -> None:
    """A system's other names are aliases of the base layer: a group under one would never be asked."""
    base = YAML(typ="safe", pure=True).load(FOLDER.parent / "base.yaml")
    terminology = Terminology(lambda name: (), aliases=base["systems"]["aliases"])
    for row in ALL_ROWS:
        assert terminology.canonical(row.system) == row.system, row.map_name


def test_aliases_lead_to_systems_of_some_map() -> None:
    """No alias leads nowhere: what it leads to is asked for in at least one map."""
    base = YAML(typ="safe", pure=True).load(FOLDER.parent / "base.yaml")
    systems = {row.system for row in ALL_ROWS}
    for name in base["systems"]["aliases"].values():
        assert name in systems or any(system.startswith(name.rstrip("*")) for system in systems), name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_copyright_names_every_source(path: Path) -> None:
    """A map that uses somebody's codes says whose they are."""
    copyright_notice = load(path)["copyright"]
    systems = " ".join(group["source"] for group in load(path)["group"])
    for sign, owner in OWNERS.items():
        assert (sign not in systems) or owner in copyright_notice, sign


def test_holds_no_cpt() -> None:
    """CPT is the American Medical Association's: neither its system nor its five digits appear."""
    for row in ALL_ROWS:
        assert "cpt" not in row.system.lower()
        assert row.system.removeprefix("urn:oid:") != "2.16.840.1.113883.6.12"
        if "hcpcs" in row.system.lower():
            assert re.fullmatch(r"[A-CE-V]\d{4}", row.code), row.code


def test_snomed_identifiers_have_a_good_check_digit() -> None:
    """Every SNOMED CT identifier passes Verhoeff and is an International Edition concept."""
    for row in ALL_ROWS:
        if row.system == SNOMED:
            assert verhoeff.is_valid(row.code), row
            assert row.code[-3:-1] == "00", row


def test_nucc_codes_have_the_taxonomy_form() -> None:
    """NUCC codes are nine characters and an X, and no NUCC name is shipped with them."""
    codes = [row.code for row in ALL_ROWS if row.system == NUCC]
    assert len(codes) >= 250
    assert [code for code in codes if not re.fullmatch(r"[0-9A-Z]{9}X", code)] == []


def test_no_third_party_term_is_reproduced() -> None:
    """Only codes are taken from others: no element carries its source's display."""
    for path in FILES:
        for group in load(path)["group"]:
            assert all("display" not in element for element in group["element"]), path.stem


def test_wildcard_systems_match_no_other_system_of_their_map() -> None:
    """A wildcard stands for a tenant's id only; it never swallows a system that is named."""
    for path in FILES:
        systems = [group["source"] for group in load(path)["group"]]
        for wildcard in (system for system in systems if "*" in system):
            pattern = re.escape(wildcard).replace(r"\*", ".*")
            assert wildcard.count("*") == 1
            assert [s for s in systems if s != wildcard and re.fullmatch(pattern, s)] == []


def can_be_said(map_name: str, words: str) -> bool:
    """Letters, single blanks and commas; a capital only where English, or the map's kind, has one."""
    first, *rest = words.split(" ")
    if map_name in STANDALONE:
        well_begun = first[0].isupper()
    else:
        well_begun, rest = True, [first, *rest]
    return (
        well_begun
        and len(words) <= 60
        and re.fullmatch(r"[A-Za-z][A-Za-z'-]*(,? [A-Za-z][A-Za-z'-]*)*", words) is not None
        and words.lower() not in {"other", "unknown", "none", "null"}
        and all(word == word.lower() or word.rstrip(",") in PROPER for word in rest)
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_words_can_be_said(path: Path) -> None:
    """Words are what one says on the telephone: no brackets, no digits, no codes, no stray capitals."""
    words = {row.target["display"] for row in rows(path) if row.target_system == WORDS}
    assert sorted(w for w in words if not can_be_said(path.stem, w)) == []


def test_targets_carry_what_a_loader_reads() -> None:
    """Words are in `display` with a slug for code; classes are in `code`, each from its closed list."""
    for row in ALL_ROWS:
        assert row.target["equivalence"] in {"equivalent", "wider"}
        if row.target_system == WORDS:
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row.target["code"]), row
            assert row.target["display"]
        else:
            system = row.target_system.removeprefix("https://fhir-bridge.dev/CodeSystem/")
            assert row.target["code"] in CLASSES[system], row


def test_words_with_one_slug_are_the_same_words() -> None:
    """A slug stands for one wording in a map."""
    wordings: dict[tuple[str, str], set[str]] = {}
    for row in WORD_ROWS:
        wordings.setdefault((row.map_name, row.target["code"]), set()).add(row.target["display"])
    assert {key: said for key, said in wordings.items() if len(said) > 1} == {}


def test_who_may_be_called_for_a_minor_can_also_be_named() -> None:
    """Every guardian code has words, for the call opens with whom to ask for."""
    named = {(row.system, row.code) for row in rows(FOLDER / "relationship.json")}
    for row in rows(FOLDER / "guardian-relationship.json"):
        assert (row.system, row.code) in named, row


def test_manual_lists_every_map_and_class() -> None:
    """The manual names each map and each class, and no map that is not there."""
    manual = (FOLDER.parents[1] / "docs" / "concept-maps.md").read_text(encoding="utf-8")
    tables = [line for line in manual.splitlines() if line.startswith("| `")]
    named = {name for line in tables for name in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    assert named == {path.stem for path in FILES}
    for classes in CLASSES.values():
        assert [name for name in classes if f"`{name}`" not in manual] == []


def test_notice_lists_every_owner() -> None:
    """Whoever's codes are shipped is named in NOTICE."""
    notice = " ".join((FOLDER.parents[1] / "NOTICE").read_text(encoding="utf-8").split())
    assert [owner for owner in OWNERS.values() if owner not in notice] == []
