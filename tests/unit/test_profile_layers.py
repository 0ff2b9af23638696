"""Layers: which one wins, how a list is lengthened, and what is said of one that is wrong."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge import shipped
from fhir_bridge.errors import BridgeError, MappingsError, SettingsError
from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.profiles.overrides import RULE_NAMES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped layers, with a vendor's added."""
    copy = tmp_path / "mappings"
    shutil.copytree(str(shipped.mappings()), copy)
    (copy / "vendors" / "acme.yaml").write_text("people:\n  age_of_majority: 17\ngates:\n  consent: opt-in\n")
    return copy


def site(tmp_path: Path, text: str) -> Path:
    """A site's layer."""
    file = tmp_path / "site.yaml"
    file.write_text(text)
    return file


def test_later_layers_win_and_each_value_knows_its_own(folder: Path, tmp_path: Path) -> None:
    """base, jurisdiction, vendor, site, settings, --set (mapping, section 17)."""
    profile = load_profile(
        SourceFacts(name="ehr", jurisdiction="GB", vendor="acme"),
        site(tmp_path, "gates:\n  consent: opt-out\n"),
        {"phone_check": "valid"},
        source_rules={"reschedule_within": "10d"},
        mappings=folder,
    )
    assert profile.people.age_of_majority == 17
    assert profile.layer_of("people.age_of_majority") == "vendor acme"
    assert (profile.gates.consent, profile.layer_of("gates.consent")) == ("opt-out", "site")
    assert (profile.addresses.incomplete_address, profile.layer_of("addresses.incomplete_address")) == (
        "omit",
        "jurisdiction GB",
    )
    assert profile.layer_of("triggers.max_age_days") == "base"
    assert profile.triggers.reschedule_within_days == 10
    assert profile.layer_of("triggers.reschedule_within_days") == "[sources.ehr]"
    assert (profile.phones.phone_check, profile.layer_of("phones.phone_check")) == ("valid", "--set")


def test_the_layer_of_a_section_is_the_last_that_changed_it(tmp_path: Path) -> None:
    """And of something inside a value, the value's."""
    profile = load_profile(SourceFacts(jurisdiction="GB"), site(tmp_path, "gates: {consent: opt-in}"))
    assert profile.layer_of("gates") == "site"
    assert profile.layer_of("place") == "jurisdiction GB"
    assert profile.layer_of("place.country.letters") == "jurisdiction GB"
    with pytest.raises(KeyError):
        profile.layer_of("gatez")


def test_a_list_replaces_and_a_plus_lengthens_it(tmp_path: Path) -> None:
    """Each item stands once, in order."""
    replaced = load_profile(SourceFacts(), site(tmp_path, "triggers: {order_intents: [order]}"))
    assert replaced.triggers.order_intents == ("order",)
    longer = load_profile(SourceFacts(), site(tmp_path, 'triggers: {"+order_intents": [plan, order]}'))
    assert longer.triggers.order_intents == (
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "plan",
    )
    assert longer.layer_of("triggers.order_intents") == "site"


def test_a_mapping_merges_key_by_key(tmp_path: Path) -> None:
    """One alias more leaves the others where they are."""
    profile = load_profile(SourceFacts(), site(tmp_path, 'systems: {aliases: {"urn:x": "urn:y"}}'))
    assert profile.systems.aliases["urn:x"] == "urn:y"
    assert profile.systems.aliases["urn:oid:2.16.840.1.113883.6.96"] == "http://snomed.info/sct"


def test_yaml_is_1_2(tmp_path: Path) -> None:
    """NO is Norway and 21:00 a text."""
    profile = load_profile(
        SourceFacts(), site(tmp_path, "place: {country: NO}\ncalling: {sunday: 10:00-21:00}")
    )
    assert profile.source.country == "NO"
    assert profile.calling.sunday == "10:00-21:00"


def test_a_country_without_a_layer_uses_base() -> None:
    """With itself as country and phone region (mapping, section 6)."""
    profile = load_profile(SourceFacts(jurisdiction="IS"))
    assert (profile.source.country, profile.source.phone_region) == ("IS", "IS")
    assert profile.addresses.incomplete_address == "reject"


def test_facts_that_are_given_stand() -> None:
    """A source that knows its country is not told another by its layers; --set changes the facts."""
    facts = SourceFacts(jurisdiction="GB", country="JE", zone=ZoneInfo("Europe/Jersey"))
    assert load_profile(facts).source.country == "JE"
    changed = load_profile(
        facts, None, {"jurisdiction": "DE", "timezone": "Europe/Berlin", "vendor": "epic"}
    ).source
    assert (changed.jurisdiction, changed.zone.key, changed.vendor) == ("DE", "Europe/Berlin", "epic")


@pytest.mark.parametrize("name", sorted(RULE_NAMES))
def test_every_short_name_leads_to_a_rule(name: str) -> None:
    """A short name for nothing would be accepted and forgotten."""
    section, key = RULE_NAMES[name].split(".")
    assert hasattr(getattr(load_profile(SourceFacts()), section), key)


def test_days_may_be_written_as_a_number_or_with_a_d() -> None:
    """max_age = 90d and max_age = 90."""
    for text in ("90", "90d"):
        assert load_profile(SourceFacts(), None, {"max_age": text}).triggers.max_age_days == 90


def test_set_takes_any_key_of_the_layers() -> None:
    """By its dotted name, its value read as YAML."""
    profile = load_profile(SourceFacts(), None, {"triggers.order_intents": "[order, plan]"})
    assert profile.triggers.order_intents == ("order", "plan")


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ("gates:\n  consent: opt-in\n  consnt: x\n", 3, "gates.consnt", "did you mean consent?"),
        ("\ngatez: {}\n", 2, "gatez", "did you mean gates?"),
        ("people:\n  age_of_majority: old\n", 2, "people.age_of_majority", "Expected `int`"),
        ("gates:\n\n  consent: maybe\n", 3, "gates.consent", "Invalid enum value"),
        ("triggers: 5\n", 1, "triggers", "Expected `object`"),
        (
            "triggers:\n  order_intents:\n    - order\n    - 5\n",
            2,
            "triggers.order_intents",
            "Expected `str`",
        ),
        ('triggers:\n  "+max_age_days": [1]\n', 2, "triggers.+max_age_days", "a plus extends a list"),
        ('triggers:\n  "+nothing": [1]\n', 2, "triggers.+nothing", "a plus extends a list"),
        ("gates:\n  5: x\n", 2, "gates.5", "a key is a text"),
        ("people:\n  age_of_majority: -1\n", 2, "people.age_of_majority", "Expected `int` >= 0"),
        ("calling:\n  sunday: 8-21\n", 2, "calling.sunday", "matching regex"),
        ("calling:\n  holidays: [Christmas]\n", 2, "calling.holidays", "matching regex"),
        ("sentence:\n  task: '{verb} {nobody}'\n", 1, "sentence", "nobody"),
    ],
)
def test_a_wrong_value_names_file_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, problem: str
) -> None:
    """At load, before anything is mapped."""
    with pytest.raises(MappingsError) as error:
        load_profile(SourceFacts(), site(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'site.yaml'}:{line}: {key}: ")
    assert problem in str(error.value)
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("gates: [\n", "site.yaml:2", "not YAML 1.2"),
        ("gates:\n\tconsent: x\n", "site.yaml:2", "not YAML 1.2"),
        ("gates: {}\ngates: {}\n", "site.yaml:2", "duplicate key"),
        ("- gates\n", "site.yaml:1", "a layer is a mapping"),
    ],
)
def test_a_layer_that_is_no_layer_names_file_and_line(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    """A key that stands twice is refused: never "last one wins"."""
    with pytest.raises(MappingsError, match=problem) as error:
        load_profile(SourceFacts(), site(tmp_path, text))
    assert place in str(error.value)


def test_an_empty_site_changes_nothing(tmp_path: Path) -> None:
    """A file of comments is a layer."""
    assert load_profile(SourceFacts(), site(tmp_path, "# later\n")).gates == load_profile(SourceFacts()).gates


def test_a_site_that_is_missing_or_no_text_is_said_so(tmp_path: Path) -> None:
    """Both name the file."""
    with pytest.raises(MappingsError, match=r"gone\.yaml: cannot be read: No such file"):
        load_profile(SourceFacts(), tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: \xe9".encode("latin-1"))
    with pytest.raises(MappingsError, match=r"latin\.yaml: not UTF-8"):
        load_profile(SourceFacts(), tmp_path / "latin.yaml")


def test_a_shipped_layer_that_is_broken_is_told_like_a_sites(folder: Path) -> None:
    """The fast parser finds it, the exact one says where."""
    (folder / "vendors" / "acme.yaml").write_text("gates:\n  consent: [\n")
    with pytest.raises(MappingsError, match=r"acme\.yaml:\d+: not YAML 1\.2"):
        load_profile(SourceFacts(vendor="acme"), mappings=folder)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"phone_chek": "valid"}, r"--set phone_chek: .*did you mean phone_check\?"),
        ({"phone_check": "maybe"}, r"--set phones\.phone_check: Invalid enum value"),
        ({"max_age": "soon"}, r"--set triggers\.max_age_days: Expected `int`"),
        ({"gates.consnt": "x"}, r"--set gates\.consnt: .*did you mean consent\?"),
        ({"jurisdiction": "UK"}, "jurisdiction 'UK' is no country"),
        ({"jurisdiction": "../base"}, "is no country"),
        ({"vendor": "epick"}, r"vendor 'epick' has no layer .did you mean epic\?"),
        ({"vendor": "../base"}, "has no layer"),
        ({"timezone": "America/NewYork"}, "timezone 'America/NewYork' is none"),
        ({"timezone": "../../etc/passwd"}, "is none"),
    ],
)
def test_a_wrong_override_is_a_settings_error(overrides: dict[str, str], problem: str) -> None:
    """It names what was set; a name that leads out of the folder is none."""
    with pytest.raises(SettingsError, match=problem) as error:
        load_profile(SourceFacts(), None, overrides)
    assert error.value.exit_code == 3


def test_an_unknown_short_name_lists_those_there_are() -> None:
    """The hint is the whole list."""
    with pytest.raises(BridgeError) as error:
        load_profile(SourceFacts(), None, {"x": "1"})
    assert error.value.hint is not None and all(name in error.value.hint for name in RULE_NAMES)


def test_what_a_source_sets_wrongly_names_its_table() -> None:
    """Its file and line are known to the settings, its key here."""
    with pytest.raises(SettingsError, match=r"\[sources\.ehr\] phones\.phone_check"):
        load_profile(SourceFacts(name="ehr"), source_rules={"phone_check": 5})


def test_a_profile_can_be_handed_to_another_process() -> None:
    """Bulk's work runs in processes; a map that was read goes along or is read again."""
    profile = load_profile(SourceFacts(jurisdiction="GB", zone=ZoneInfo("Europe/London")))
    word = profile.terms.word("specialty", Coding("http://snomed.info/sct", "394579002"))
    copy = pickle.loads(pickle.dumps(profile))
    assert copy.source == profile.source and copy.triggers == profile.triggers
    assert copy.terms.word("specialty", Coding("http://snomed.info/sct", "394579002")) == word


def test_a_sites_words_stand_beside_its_layer(tmp_path: Path) -> None:
    """concept-maps/NAME.json next to site.yaml wins over the shipped map."""
    (tmp_path / "concept-maps").mkdir()
    (tmp_path / "concept-maps" / "specialty.json").write_text(
        '{"resourceType": "ConceptMap", "group": [{"source": "urn:ours", "element": '
        '[{"code": "K", "target": [{"code": "394579002", "display": "Heart Centre"}]}]}]}'
    )
    terms = load_profile(SourceFacts(), site(tmp_path, "")).terms
    word = terms.word("specialty", Coding("urn:ours", "K"))
    assert word is not None and (word.text, word.layer) == ("Heart Centre", "site")
    assert terms.word("specialty", Coding("http://snomed.info/sct", "394579002")) is not None
