"""`fhir-bridge mappings`: a layer begun, shown, compared, tried; codes listed, and maps taken in."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.conceptmap import ConceptMap

from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.mapping.rules import Rules
from fhir_bridge.mapping.terminology import Terminology
from fhir_bridge.profiles.effective import effective
from fhir_bridge.profiles.load import load_profile

Json = dict[str, Any]
FIXTURES = Path(__file__).parents[2] / "fixtures"
GATES = FIXTURES / "120-a-sites-own-gates"
NOW = ("--now", "2026-11-23T15:00:00Z")


def uncommented(text: str) -> str:
    """The layer with every # before a key taken away, as its own first lines say to."""
    return "\n".join(re.sub(r"^#(?! \S)", "", line) for line in text.splitlines())


class TestNew:
    """`mappings new`."""

    def test_it_writes_a_layer_that_loads_and_changes_nothing(self, bridge: Any) -> None:
        """Until a key is taken out of its comment."""
        ran = bridge("mappings", "new", "site.yaml")
        assert ran.code == 0 and 'mappings = "site.yaml"' in ran.out
        written = load_profile(SourceFacts(), bridge.folder / "site.yaml")
        plain = load_profile(SourceFacts())
        assert (written.layers, written.site) == (plain.layers, plain.site)
        assert effective(written) == effective(plain)

    def test_every_key_is_in_it_and_each_may_be_taken_out_of_its_comment(self, bridge: Any) -> None:
        """The examples of part 1 are rules that load; part 2 is every key with its value in base."""
        bridge("mappings", "new", "site.yaml")
        first, second = uncommented((bridge.folder / "site.yaml").read_text()).split("# Part 2.")
        (bridge.folder / "one.yaml").write_text(first)
        profile = load_profile(SourceFacts(), bridge.folder / "one.yaml")
        assert len(profile.site.overrides) == len(profile.site.gates) == 2
        assert "comment" not in profile.context.said and len(profile.orders.rulings) == 2
        (bridge.folder / "two.yaml").write_text("#" + second)
        base = load_profile(SourceFacts(jurisdiction="IS"))
        whole = load_profile(SourceFacts(jurisdiction="IS"), bridge.folder / "two.yaml")
        assert [(row.key, row.value) for row in effective(whole)] == [
            (row.key, row.value) for row in effective(base)
        ]
        assert {key.partition(".")[0] for key, layer in whole.layers.items() if layer == "site"} >= set(
            Rules.__struct_fields__
        ) - {"overrides"}

    def test_it_overwrites_nothing(self, bridge: Any) -> None:
        """A site's rules are work."""
        (bridge.folder / "site.yaml").write_text("mine")
        ran = bridge("mappings", "new", "site.yaml")
        assert ran.code == 2 and "site.yaml is there already" in ran.err
        assert (bridge.folder / "site.yaml").read_text() == "mine"
        assert bridge("mappings", "new", "nowhere/site.yaml").code == 2


class TestShow:
    """`mappings show`."""

    def test_each_value_has_its_layer(self, bridge: Any) -> None:
        """As JSON every key; as a table the same."""
        (bridge.folder / "site.yaml").write_text("gates: {skip: {hospice: 'false'}}\n")
        settings = (
            '[sources.a]\njurisdiction = "GB"\nvendor = "epic"\nmappings = "site.yaml"\nmax_age = "9d"\n'
        )
        (bridge.folder / "bridge.toml").write_text(settings)
        ran = bridge("mappings", "show", "--json", "--set", "consent=opt-in")
        shown = {row["key"]: (row["value"], row["layer"]) for row in ran.json}
        assert shown["gates.consent"] == ("opt-in", "--set")
        assert shown["gates.skip.hospice"] == ("false", "site")
        assert shown["triggers.max_age_days"] == (9, "[sources.a]")
        assert shown["place.country"] == ("GB", "jurisdiction GB")
        assert shown["source.vendor"] == ("epic", "source")
        assert shown["people.age_of_majority"] == (18, "base")
        assert "hospice" in bridge("mappings", "show", "gates", "--source", "a").out

    def test_a_key_or_a_section_narrows_it(self, bridge: Any) -> None:
        """One there is none of is named, with the nearest."""
        assert [row["key"] for row in bridge("mappings", "show", "context.limit", "--json").json] == [
            "context.limit"
        ]
        assert all(
            row["key"].startswith("names.") for row in bridge("mappings", "show", "names", "--json").json
        )
        ran = bridge("mappings", "show", "contxt")
        assert ran.code == 2 and "did you mean context?" in ran.err

    def test_what_is_wrong_in_the_site_is_said_with_file_line_and_key(self, bridge: Any) -> None:
        """And ends with the code of a configuration error."""
        (bridge.folder / "site.yaml").write_text("overrides:\n  task: '('\n")
        ran = bridge("mappings", "show", "--set", "mappings=site.yaml")
        assert ran.code == 3 and "site.yaml:2: overrides.task: not FHIRPath" in ran.err
        assert bridge("mappings", "show", "--set", "mappings=none.yaml").code == 3


class TestDiff:
    """`mappings diff`."""

    def test_two_countries_differ_in_their_own_keys(self, bridge: Any) -> None:
        """Each side with its layer."""
        rows = {row["key"]: row for row in bridge("mappings", "diff", "US", "GB", "--json").json}
        assert rows["addresses.incomplete_address"]["GB"] == {"value": "omit", "layer": "jurisdiction GB"}
        assert rows["place.country"]["US"]["value"] == "US"
        assert "people.age_of_majority" not in rows
        assert "incomplete_address" in bridge("mappings", "diff", "US", "GB").out

    def test_sides_are_sources_files_countries_and_settings(self, bridge: Any) -> None:
        """Several with commas."""
        (bridge.folder / "site.yaml").write_text("people: {age_of_majority: 16}\n")
        (bridge.folder / "bridge.toml").write_text('[sources.harbour]\nmappings = "site.yaml"\n')
        both = bridge("mappings", "diff", "harbour", "harbour,max_age=9d", "--json").json
        assert [row["key"] for row in both] == ["triggers.max_age_days"]
        (row,) = bridge("mappings", "diff", "default", "site.yaml", "--json").json
        assert (row["key"], row["site.yaml"]["layer"]) == ("people.age_of_majority", "site")
        assert bridge("mappings", "diff", "US", "default").out == "no difference\n"
        assert "vendor epic" in bridge("mappings", "diff", "US", "vendor=epic").out
        ran = bridge("mappings", "diff", "US", "banana")
        assert ran.code == 2 and "'banana'" in ran.err


class TestTest:
    """`mappings test`."""

    @pytest.fixture
    def example(self, bridge: Any) -> Path:
        """A copy of a story, in a folder of examples."""
        folder = bridge.folder / "examples" / "gates"
        shutil.copytree(GATES, folder)
        return Path(folder)

    def test_what_is_as_expected_is_counted(self, bridge: Any) -> None:
        """The stories of the made-up hospital are in the same form, and all of them are as expected."""
        ran = bridge("mappings", "test", str(FIXTURES))
        assert ran.code == 0 and ran.out == ""
        assert re.search(r"^(\d+) examples: \1 as expected, 0 different$", ran.err, re.MULTILINE)

    def test_a_difference_is_shown_and_ends_with_1(self, bridge: Any, example: Path) -> None:
        """As a diff, with the example's folder."""
        rules = (example / "site.yaml").read_text()
        (example / "site.yaml").write_text(rules.replace("hospice:", "home-care:"))
        ran = bridge("mappings", "test", "examples")
        assert ran.code == 1 and "examples/gates" in ran.out
        assert '-    "reason": "site:hospice"' in ran.out and '+    "reason": "site:home-care"' in ran.out
        assert "1 example: 0 as expected, 1 different" in ran.err

    def test_update_writes_what_it_showed(self, bridge: Any, example: Path) -> None:
        """After which all is as expected; also where nothing was expected yet."""
        for before in ("[]\n", None):
            expected = example / "expected" / "decisions.json"
            expected.write_text(before) if before else expected.unlink()
            ran = bridge("mappings", "test", str(example), "--update")
            assert ran.code == 0 and '+    "reason": "site:hospice"' in ran.out
            assert json.loads(expected.read_text()) == json.loads(
                (GATES / "expected/decisions.json").read_text()
            )
            assert bridge("mappings", "test", str(example)).code == 0

    def test_an_example_without_settings_takes_those_of_the_command_line(
        self, bridge: Any, example: Path
    ) -> None:
        """Its clock must be said: the same record is decided otherwise next year."""
        (example / "story.toml").unlink()
        ran = bridge("mappings", "test", "examples", "--set", f"mappings={example / 'site.yaml'}")
        assert ran.code == 2 and "gates: no clock" in ran.err
        arguments = ("--set", f"mappings={example / 'site.yaml'}", "--set", "timezone=America/New_York", *NOW)
        assert bridge("mappings", "test", "examples", *arguments).code == 0
        (bridge.folder / "bridge.toml").write_text(
            '[sources.a]\ntimezone = "America/New_York"\nmappings = "examples/gates/site.yaml"\n'
        )
        assert bridge("mappings", "test", "examples", "--source", "a", *NOW).code == 0

    @pytest.mark.parametrize(
        ("file", "text", "problem"),
        [
            ("expected/decisions.json", "[", "decisions.json: not JSON"),
            ("expected/decisions.json", "{}", "a list of decisions is expected"),
            ("story.toml", "now = ", "story.toml: "),
            ("story.toml", 'now = "2026-11-23T15:00:00"', "it has no zone"),
        ],
    )
    def test_what_is_wrong_in_an_example_is_named(
        self, bridge: Any, example: Path, file: str, text: str, problem: str
    ) -> None:
        """With its file."""
        (example / file).write_text(text)
        ran = bridge("mappings", "test", "examples")
        assert ran.code == 3 and problem in ran.err

    def test_a_folder_without_examples_is_no_success(self, bridge: Any) -> None:
        """Else a wrong path would pass for years."""
        (bridge.folder / "empty").mkdir()
        assert bridge("mappings", "test", "empty").code == 2


@pytest.fixture
def orders(hospital: Any) -> str:
    """Three orders under codes of the hospital's own; two of them the same."""
    common = {"resourceType": "ServiceRequest", "status": "active", "intent": "order",
              "subject": {"reference": "Patient/p1"}, "authoredOn": "2026-11-20"}  # fmt: skip
    coded = [("WALK", "Walking group"), ("WALK", None), ("FRAME", None)]
    return str(
        hospital.write(
            "orders.json",
            hospital.patient(),
            *(
                {**common, "id": f"o{n}", "code": {"coding": [{"system": "urn:ours", "code": code,
                 **({"display": display} if display else {})}]}}
                for n, (code, display) in enumerate(coded)
            ),
        )
    )  # fmt: skip


class TestUnmapped:
    """`mappings unmapped`."""

    def test_codes_are_listed_with_their_counts_the_commonest_first(self, bridge: Any, orders: str) -> None:
        """Each map as a valid ConceptMap, in a Bundle."""
        ran = bridge("mappings", "unmapped", orders, *NOW)
        assert ran.code == 0 and "order-code: 2 codes" in ran.err
        maps = {entry["resource"]["id"]: entry["resource"] for entry in ran.json["entry"]}
        for each in maps.values():
            ConceptMap.model_validate(each)
        (group,) = maps["order-code"]["group"]
        found = [(e["code"], e.get("display"), e["target"][0]["comment"]) for e in group["element"]]
        assert found == [
            ("WALK", "Walking group", "Met in 2 triggers."),
            ("FRAME", None, "Met in 1 trigger."),
        ]

    def test_a_code_is_counted_for_each_trigger_also_where_its_answer_is_remembered(
        self, bridge: Any, hospital: Any
    ) -> None:
        """Three orders in the same words are three triggers."""
        common = {"resourceType": "ServiceRequest", "status": "active", "intent": "order",
                  "subject": {"reference": "Patient/p1"}, "authoredOn": "2026-11-20",
                  "code": {"coding": [{"system": "urn:ours", "code": "WALK"}]}}  # fmt: skip
        orders = hospital.write(
            "same.json", hospital.patient(), *({**common, "id": f"o{number}"} for number in range(3))
        )
        maps = bridge("mappings", "unmapped", orders, *NOW).json["entry"]
        (order_code,) = [each["resource"] for each in maps if each["resource"]["id"] == "order-code"]
        assert order_code["group"][0]["element"][0]["target"][0]["comment"] == "Met in 3 triggers."

    def test_the_skeleton_loads_says_nothing_and_can_be_filled_in(self, bridge: Any, orders: str) -> None:
        """Filled in and imported, the codes are known and listed no more."""
        (bridge.folder / "site.yaml").write_text("{}\n")
        arguments = (orders, "--map", "order-code", "--set", "mappings=site.yaml", *NOW)
        skeleton = bridge("mappings", "unmapped", *arguments).json
        skeleton["group"][0]["element"][0]["target"] = [{"code": "therapy", "equivalence": "equivalent"}]
        (bridge.folder / "filled.json").write_text(json.dumps(skeleton))
        ran = bridge("mappings", "import", "filled.json", "--set", "mappings=site.yaml")
        assert ran.code == 1 and ran.out == "concept-maps/order-code.json: 1 code\n"
        assert "ConceptMap.group[0].element[1]: FRAME: not filled in yet" in ran.err
        left = bridge("mappings", "unmapped", *arguments)
        assert [e["code"] for e in left.json["group"][0]["element"]] == ["FRAME"]
        decided = [
            line["decision"] for line in bridge("map", orders, "--format", "decisions", *arguments[3:]).lines
        ]
        assert decided == ["call", "call", "skip"]

    def test_an_export_of_any_form_is_read_as_a_migration_reads_it(
        self, bridge: Any, orders: str, hospital: Any
    ) -> None:
        """Packed, in folders, with a broken line, by several processes: the same codes, held by nobody."""
        whole = bridge("mappings", "unmapped", orders, *NOW)
        (bridge.folder / "export").mkdir()
        with zipfile.ZipFile(bridge.folder / "export" / "e.zip", "w") as archive:
            archive.writestr("orders.json", (bridge.folder / orders).read_bytes())
        (bridge.folder / "export" / "bad.ndjson").write_text(
            '{"resourceType":"Observation"}\n' + '{"resourceType":"Pat\n' * 30
        )
        ran = bridge("mappings", "unmapped", "export", "--processes", "2", "--work", "scratch", *NOW)
        assert ran.code == 1 and ran.json == whole.json
        assert ran.err.count("unreadable: export/bad.ndjson:") == 20 and "and 10 more" in ran.err
        assert not list((bridge.folder / "scratch").iterdir())
        assert bridge("mappings", "unmapped", "-").code == 2

    def test_a_code_with_a_tab_in_it_is_told_like_any_other(self, bridge: Any, hospital: Any) -> None:
        """Nothing ends because of it, here or in a preview."""
        coding = {"system": "urn:\tours", "code": "WA\tLK"}
        order = {"resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
                 "subject": {"reference": "Patient/p1"}, "authoredOn": "2026-11-20",
                 "code": {"coding": [coding]}}  # fmt: skip
        file = hospital.write("tab.json", hospital.patient(), order)
        ran = bridge("mappings", "unmapped", file, "--map", "order-code", *NOW)
        assert ran.json["group"][0]["element"][0]["code"] == "WA LK"

    def test_nothing_unmapped_and_nothing_readable_are_said(self, bridge: Any, hospital: Any) -> None:
        """With the exit codes of `map`."""
        ran = bridge("mappings", "unmapped", hospital.proposed())
        assert (ran.code, ran.out) == (0, "") and "no code without" in ran.err
        (bridge.folder / "bad.json").write_text("{")
        assert bridge("mappings", "unmapped", "bad.json").code == 4


R5: Json = {
    "resourceType": "ConceptMap", "id": "specialty", "status": "active",
    "group": [
        {
            "source": "urn:ours|3", "target": "http://snomed.info/sct",
            "element": [
                {"code": "K", "target": [{"code": "394579002", "relationship": "equivalent"}]},
                {"code": "X", "noMap": True},
            ],
        },
        {
            "source": "urn:oid:1.2.*.9",
            "element": [{"code": "D", "target": [{"display": "Heart centre", "relationship": "equivalent"}]}],
        },
    ],
}  # fmt: skip
R4: Json = {
    "resourceType": "ConceptMap", "id": "order-code", "status": "active", "sourceUri": "urn:vs",
    "group": [{"source": "urn:ours", "element": [
        {"code": "W", "target": [{"code": "therapy", "equivalence": "equivalent"}]},
        {"code": "N", "target": [{"equivalence": "unmatched"}]}]}],
}  # fmt: skip
STU3: Json = {
    "resourceType": "ConceptMap", "status": "active", "url": "https://harbour.example/ConceptMap/cancellation-class",
    "group": [{"source": "urn:ours", "element": [{"code": "MOV", "target": [{"code": "patient-moved"}]}]}],
}  # fmt: skip


class TestImport:
    """`mappings import`."""

    def imported(self, bridge: Any, *resources: Json, arguments: tuple[str, ...] = ()) -> Any:
        """What the command says of a file with this ConceptMap, or a Bundle of these."""
        whole = resources[0]
        if len(resources) > 1:
            entries = [{"resource": resource} for resource in resources]
            whole = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (bridge.folder / "theirs.json").write_text(json.dumps(whole))
        return bridge("mappings", "import", "theirs.json", "--to", "concept-maps", *arguments)

    def terms(self, bridge: Any) -> Terminology:
        """What the site's layer knows then."""
        (bridge.folder / "site.yaml").write_text("{}\n")
        return load_profile(SourceFacts(), bridge.folder / "site.yaml").terms

    def test_every_version_in_a_bundle_is_taken_in(self, bridge: Any) -> None:
        """What is written is R4, and the site's layer answers from it."""
        ran = self.imported(bridge, R5, R4, {"resourceType": "Patient"}, STU3)
        assert ran.code == 0, ran.err
        for file in (bridge.folder / "concept-maps").iterdir():
            ConceptMap.model_validate(json.loads(file.read_text()))
        terms = self.terms(bridge)
        cardiology = terms.word("specialty", Coding("urn:ours", "K"))
        assert cardiology is not None and (cardiology.text, cardiology.layer) == ("Cardiology", "site")
        assert terms.word("specialty", Coding("urn:ours", "X")) is None
        tenant = terms.word("specialty", Coding("urn:oid:1.2.77.9", "D"))
        assert tenant is not None and tenant.text == "Heart centre"
        therapy = terms.kind("order-code", Coding("urn:ours", "W"))
        moved = terms.kind("cancellation-class", Coding("urn:ours", "MOV"))
        assert therapy is not None and moved is not None
        assert (therapy.text, moved.text) == ("therapy", "patient-moved")

    def test_a_row_that_would_say_nothing_is_left_out_and_listed(self, bridge: Any) -> None:
        """The others are taken in."""
        group = R4["group"][0]
        row = {"code": "Q", "target": [{"code": "walk", "equivalence": "equal"}]}
        odd = {**R4, "group": [{**group, "element": [*group["element"], row]}]}
        ran = self.imported(bridge, odd)
        assert ran.code == 1
        assert "left out: theirs.json: ConceptMap.group[0].element[2]: Q: its target is none of" in ran.err
        assert self.terms(bridge).kind("order-code", Coding("urn:ours", "W")) is not None

    def cases() -> Iterator[tuple[Json, str]]:  # type: ignore[misc]
        """ConceptMaps that cannot be taken in, and what is said of them."""
        group = R4["group"][0]
        yield (
            {**R4, "group": [{**group, "unmapped": {"mode": "fixed", "code": "visit"}}]},
            "group[0].unmapped: ",
        )
        yield {**R4, "group": [{**group, "elemnt": []}]}, "group[0].elemnt: not valid R4: extra_forbidden"
        yield {**R4, "group": [{**group, "element": [{"display": "x"}]}]}, "group[0].element[0].code"
        twice = [{"code": "W", "target": [{"code": c, "equivalence": "equal"}]} for c in ("therapy", "visit")]
        yield (
            {**R4, "group": [{**group, "element": twice}]},
            "element[1].code: W stands twice and means two things",
        )
        depends = {**twice[0]["target"][0], "dependsOn": [{"property": "urn:p", "value": "v"}]}
        yield (
            {**R4, "group": [{**group, "element": [{"code": "W", "target": [depends]}]}]},
            "element[0].target[0].dependsOn: a meaning with conditions",
        )
        yield {**R4, "id": "harbour-codes"}, "ConceptMap.id: which map is it?"
        yield {**R4, "group": []}, "no row is left"
        yield {"resourceType": "Patient"}, "neither a ConceptMap nor a Bundle"
        yield {"resourceType": "Bundle", "type": "collection", "entry": []}, "no ConceptMap in this Bundle"

    @pytest.mark.parametrize(("resource", "problem"), list(cases()))
    def test_what_would_say_a_wrong_word_is_refused(self, bridge: Any, resource: Json, problem: str) -> None:
        """With file and element, and nothing is written."""
        ran = self.imported(bridge, resource)
        assert ran.code == 3 and "theirs.json: " in ran.err and problem in ran.err
        assert not (bridge.folder / "concept-maps").exists()

    def test_a_map_under_another_id_is_named_by_an_option(self, bridge: Any) -> None:
        """One that is none of ours is refused with the nearest."""
        other = {**R4, "id": "harbour-codes"}
        assert self.imported(bridge, other, arguments=("--map", "order-code")).code == 0
        ran = self.imported(bridge, other, arguments=("--map", "order-cod", "--replace"))
        assert ran.code == 3 and "did you mean order-code?" in ran.err

    def test_a_map_that_is_there_is_replaced_only_on_demand(self, bridge: Any) -> None:
        """Rows that were filled in are work."""
        assert self.imported(bridge, R4).code == 0
        ran = self.imported(bridge, R4)
        assert ran.code == 2 and "is there already" in ran.err
        assert self.imported(bridge, R4, arguments=("--replace",)).code == 0

    def test_what_is_not_json_is_said_with_its_line(self, bridge: Any) -> None:
        """And without a site's layer a folder must be given."""
        (bridge.folder / "bad.json").write_text('{\n"resourceType": \n')
        ran = bridge("mappings", "import", "bad.json", "--to", "x")
        assert ran.code == 3 and "bad.json:3: not JSON" in ran.err
        assert bridge("mappings", "import", "bad.json").code == 2
