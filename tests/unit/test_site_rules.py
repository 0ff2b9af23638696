"""A site's own FHIRPath and rulings: what they do, what is refused at load, and what never happens."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.errors import MappingsError, SettingsError
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.overrides import REFUSED, fields
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.reasons import reason_of
from fhir_bridge.profiles.load import load_profile

Json = dict[str, Any]
Decide = Callable[..., Decision]


@pytest.fixture
def site(tmp_path: Path) -> Callable[[str], Profile]:
    """The profile of an American source in New York with this layer on top."""

    def load(text: str) -> Profile:
        file = tmp_path / "site.yaml"
        file.write_text(text, encoding="utf-8")
        return load_profile(SourceFacts(zone=ZoneInfo("America/New_York")), file)

    return load


@pytest.fixture
def decided(
    site: Callable[[str], Profile],
    case_of: Callable[..., Case],
    marigold: Json,
    proposed: Json,
    now: datetime,
) -> Decide:
    """What a layer makes of Marigold's proposed appointment, or of other resources."""

    def decide_with(text: str, *resources: Json, **known: Any) -> Decision:
        return decide(case_of(*(resources or (proposed, marigold))), site(text), now, **known)

    return decide_with


def overriding(field: str, expression: str) -> str:
    """A layer that fills one field."""
    return f"overrides:\n  {field}: >-\n    {expression}\n"


def notes(decision: Decision) -> list[tuple[str, str]]:
    """Codes and places of what was noted."""
    return [(note.code, note.path) for note in decision.notes]


@pytest.mark.parametrize(
    ("field", "expression", "value"),
    [
        ("task", "'Book ' & %patient.name.first().family", "Book Example"),
        ("task_data.referral.specialty", "'Cardiology'", "Cardiology"),
        ("task_data.referral.phone_number", "'+12125550199'", "+12125550199"),
        ("task_data.patient_status", "'existing'", "existing"),
        ("task_data.has_referral", "participant.exists()", True),
        ("task_data.timeframe_availability", "now().toString()", "2026-11-23T10:00:00.000-05:00"),
        ("task_data.reschedule_reason", "today().toString() & ' it was'", "2026-11-23 it was"),
        ("patient.email", "'m' & '@example.org'", "m@example.org"),
        ("patient.date_of_birth", "'1980-01-02'", "1980-01-02"),
        ("patient.address.city", "'Shelbyville'", "Shelbyville"),
        ("patient.primary_care_provider.practice", "%patient.meta.source | 'Beacon'", "Beacon"),
        ("task_data.additional_context", "'<p>See <b>us</b>.</p>'", "See us."),
        ("task_data.additional_context", "%patient.deceased.exists().toString()", "false"),
        ("task_data.additional_context", "(minutesDuration + 1).toString() | 'no minutes'", "no minutes"),
    ],
)
def test_an_override_fills_its_field(decided: Decide, field: str, expression: str, value: object) -> None:
    """And the lineage says so: the expression, and the layer it stands in; nothing else of that field."""
    decision = decided(overriding(field, expression))
    assert isinstance(decision, Call)
    found: Any = {**decision.task.to_wire(), "patient": decision.patient.to_wire()}
    for name in field.split("."):
        found = found[name]
    assert found == value
    (entry,) = [entry for entry in decision.lineage if entry.field == field]
    assert (entry.rule, entry.map_row, entry.layer) == ("override", expression, "site")
    assert entry.sources[0].resource == "Appointment/a1"
    assert len(entry.sources) == (2 if "%patient" in expression else 1)
    assert notes(decision) == []


def test_an_override_that_gives_nothing_changes_nothing(decided: Decide) -> None:
    """The field stays as it was, with the lineage it had; a mask is nothing too."""
    plain = decided("{}")
    assert decided(overriding("task", "%order.code.text")) == plain
    assert decided(overriding("task", "'XXXX'")) == plain
    assert decided(overriding("patient.email", "'${email}'")) == plain


def test_the_empty_text_leaves_a_field_out(decided: Decide, proposed: Json, marigold: Json) -> None:
    """Where the contract lets it be left out."""
    proposed["description"] = "Yearly visit"
    told = decided("{}", proposed, marigold)
    decision = decided(overriding("task_data.additional_context", "''"), proposed, marigold)
    assert isinstance(told, Call) and told.task.task_data.additional_context == "Yearly visit."
    assert isinstance(decision, Call) and decision.task.task_data.additional_context is None


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("task", "%patient.name.given"),  # two values
        ("task", "%patient.name.first()"),  # an object
        ("task", "''"),  # must be there
        ("task", "'a' & %patient"),  # an error of the library's
        ("task", "5"),  # no text
        ("patient.date_of_birth", "'1980'"),  # no full date
        ("patient.address.country_code", "'USA'"),
        ("task_data.referral.address.city", "'Albany'"),  # a city alone is no address
        ("task_data.referral.phone_number", "'555-0101'"),
        ("task_data.patient_status", "'old'"),
        ("task_data.has_referral", "'maybe'"),
    ],
)
def test_an_override_that_fails_is_noted_and_costs_nothing(
    decided: Decide, field: str, expression: str
) -> None:
    """The base value stays, and with it the call."""
    plain, decision = decided("{}"), decided(overriding(field, expression))
    assert isinstance(plain, Call) and isinstance(decision, Call)
    assert (decision.task, decision.patient, decision.lineage) == (plain.task, plain.patient, plain.lineage)
    assert notes(decision) == [("override-failed", f"overrides.{field}")]


def test_one_failing_override_leaves_the_others_alone(decided: Decide) -> None:
    """An address comes as a whole; a date that is none does not take the name with it."""
    address = {"street_name": "1 Elm St", "city": "Albany", "state": "NY", "postal_code": "12207"}
    rules = "".join(f"  task_data.referral.address.{part}: \"'{text}'\"\n" for part, text in address.items())
    rules += "  task_data.referral.address.country_code: \"'US'\"\n  patient.date_of_birth: \"'soon'\"\n"
    decision = decided(f"overrides:\n{rules}  patient.first_name: \"'Mari'\"\n")
    assert isinstance(decision, Call)
    assert (
        decision.task.task_data.referral is not None and decision.task.task_data.referral.address is not None
    )
    assert decision.task.task_data.referral.address.city == "Albany"
    assert decision.patient.first_name == "Mari"
    assert notes(decision) == [("override-failed", "overrides.patient.date_of_birth")]


def test_every_name_holds_what_belongs_to_the_trigger(decided: Decide, marigold: Json, order: Json) -> None:
    """The order with its requester and performer, and the patient's encounters."""
    order |= {
        "requester": {"reference": "PractitionerRole/r1"},
        "performer": [{"reference": "Practitioner/d2"}],
    }
    others = (
        {"resourceType": "PractitionerRole", "id": "r1", "practitioner": {"reference": "Practitioner/d1"}},
        {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Steady"}]},
        {"resourceType": "Practitioner", "id": "d2", "name": [{"family": "Careful"}]},
        {
            "resourceType": "Encounter",
            "id": "e1",
            "status": "planned",
            "subject": {"reference": "Patient/marigold"},
        },
    )
    expression = (
        "%requester.ofType(Practitioner).name.family & ' ' & %performer.name.family & ' ' & %order.code.text"
        " & ' ' & %encounters.count().toString() & ' ' & %guardian.count().toString()"
    )
    decision = decided(overriding("task", expression), order, marigold, *others)
    assert isinstance(decision, Call), decision
    assert decision.task.task == "Steady Careful Cardiology consultation 1 0"
    (entry,) = [entry for entry in decision.lineage if entry.field == "task"]
    assert {source.resource for source in entry.sources} == {
        "ServiceRequest/o1", "PractitionerRole/r1", "Practitioner/d1", "Practitioner/d2", "Encounter/e1",
    }  # fmt: skip


@pytest.mark.parametrize("as_contact", [True, False])
def test_the_guardian_is_who_is_called(
    decided: Decide, marigold: Json, proposed: Json, as_contact: bool
) -> None:
    """The RelatedPerson, or the element of Patient.contact."""
    guardian = {
        "name": [{"family": "Example", "given": ["Rose"]}],
        "telecom": [{"system": "phone", "value": "(646) 555-0102"}],
        "relationship": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "MTH"}]}
        ],
    }
    child = {**marigold, "birthDate": "2020-01-01", "telecom": []}
    resources = [proposed, child]
    if as_contact:
        child["contact"] = [{**guardian, "name": guardian["name"][0]}]
    else:
        person = {"resourceType": "RelatedPerson", "id": "rose", "patient": {"reference": "Patient/marigold"}}
        resources.append({**person, **guardian})
    decision = decided(overriding("task", "'Ask ' & %guardian.name.given"), *resources)
    assert isinstance(decision, Call) and decision.task.task == "Ask Rose"


GATE = 'gates:\n  {kind}:\n    no-machine: "{expression}"\n'


@pytest.mark.parametrize(("kind", "answer"), [("skip", Skip), ("reject", Reject)])
def test_a_gate_that_holds_ends_the_matter(decided: Decide, kind: str, answer: type[Decision]) -> None:
    """With the site's own reason, its layer, and the expression that decided."""
    decision = decided(GATE.format(kind=kind, expression="%patient.active"))
    assert isinstance(decision, answer) and getattr(decision, "reason", None) == "site:no-machine"
    (entry,) = decision.lineage
    assert (entry.rule, entry.map_row, entry.layer) == ("gate", "%patient.active", "site")
    assert [source.resource for source in entry.sources] == ["Patient/marigold", "Appointment/a1"]
    assert getattr(decision, "expression", "Patient") == "Patient"
    reason = reason_of("site:no-machine", "skip" if kind == "skip" else "reject")
    assert reason is not None and reason.where.endswith(f"gates.{kind}.no-machine")


@pytest.mark.parametrize(
    "expression", ["%patient.active = false", "%patient.photo.exists()", "%order.doNotPerform"]
)
def test_a_gate_that_does_not_hold_changes_nothing(decided: Decide, expression: str) -> None:
    """False, and nothing at all."""
    assert decided(GATE.format(kind="skip", expression=expression)) == decided("{}")


@pytest.mark.parametrize(
    "expression", ["%patient.name", "%patient.id", "%patient.name.given > 5", "(true | false)", "1"]
)
@pytest.mark.parametrize("kind", ["skip", "reject"])
def test_a_gate_that_fails_calls_nobody(decided: Decide, kind: str, expression: str) -> None:
    """A person must look: the rule may have meant this patient."""
    decision = decided(GATE.format(kind=kind, expression=expression))
    assert isinstance(decision, Reject)
    assert (decision.reason, decision.detail) == ("site-gate-failed", "no-machine")
    assert notes(decision) == [("site-gate-failed", f"gates.{kind}.no-machine")]


def test_gates_of_the_site_come_after_those_that_skip_and_before_those_that_reject(
    decided: Decide, marigold: Json, proposed: Json
) -> None:
    """A dead patient and the do-not-call list bother nobody; a missing number is not looked for in vain."""
    rules = GATE.format(kind="reject", expression="true")
    assert (
        getattr(decided(rules, proposed, {**marigold, "deceasedBoolean": True}), "reason", "")
        == "patient-deceased"
    )
    blocked = Blocked(patients=frozenset({"Patient/marigold"}))
    assert getattr(decided(rules, blocked=blocked), "reason", "") == "do-not-call"
    assert getattr(decided(rules, proposed, {**marigold, "telecom": []}), "reason", "") == "site:no-machine"


def test_a_gate_that_skips_comes_before_one_that_fails(decided: Decide) -> None:
    """And one that fails before those that reject."""
    both = "gates:\n  skip:\n    a: '%patient.name'\n    b: 'true'\n  reject:\n    c: 'true'\n"
    assert getattr(decided(both), "reason", "") == "site:b"
    assert getattr(decided(both.replace("    b: 'true'\n", "")), "reason", "") == "site-gate-failed"


def test_a_later_layer_takes_a_rule_out_with_null(tmp_path: Path) -> None:
    """As `--set` is later than the site's file."""
    file = tmp_path / "site.yaml"
    file.write_text("overrides: {task: \"'x'\"}\ngates: {skip: {a: 'true'}}\n")
    profile = load_profile(SourceFacts(), file, {"overrides.task": "null", "gates.skip": "{a: null}"})
    assert profile.site.overrides == () and profile.site.gates == ()


def test_a_field_may_be_written_dotted_or_nested(site: Callable[[str], Profile]) -> None:
    """Both are one key, also for `--set`."""
    nested = site("overrides:\n  task_data:\n    referral:\n      npi: \"'1'\"\n")
    dotted = site("overrides:\n  task_data.referral.npi: \"'1'\"\n")
    assert nested.site == dotted.site
    assert nested.layer_of("overrides.task_data.referral.npi") == "site"
    by_set = load_profile(SourceFacts(), None, {"overrides.task_data.referral.npi": "\"'1'\""})
    assert by_set.site.overrides[0].layer == "--set"


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ("overrides:\n  taks: x\n", 2, "overrides.taks", "there is no such field (did you mean task?)"),
        ("overrides:\n\n  task_data:\n    reason:\n      x: id\n", 5, "overrides.task_data.reason.x", ""),
        ("overrides:\n  patient.insurance: id\n", 2, "overrides.patient.insurance", "no such field"),
        ("overrides:\n  task: id = 'a' )\n", 2, "overrides.task", "not FHIRPath: extraneous input ')'"),
        ("overrides:\n  task: 'id +'\n", 2, "overrides.task", "not FHIRPath"),
        ("overrides:\n  task: ''\n", 2, "overrides.task", "the expression is empty"),
        ("overrides:\n  task: 5\n", 2, "overrides.task", "an expression is a text in quotes"),
        ("overrides:\n  task: [a]\n", 2, "overrides.task", "an expression is a text in quotes"),
        ("overrides: [a]\n", 1, "overrides", "Expected `object`"),
        ("overrides:\n  task: basedOn.resolve().id\n", 2, "overrides.task", "resolve() is refused"),
        ("overrides:\n  task: id.trace('x')\n", 2, "overrides.task", "trace() is refused"),
        ("overrides:\n  task: id.uper()\n", 2, "overrides.task", "no function uper() (did you mean upper?)"),
        ("overrides:\n  task: '%pateint.id'\n", 2, "overrides.task", "no %pateint (did you mean patient?)"),
        ("overrides:\n  task: id.where()\n", 2, "overrides.task", "it cannot be evaluated"),
        ("gates:\n  skip:\n    Do Not: 'true'\n", 3, "gates.skip.Do Not", "small letters"),
        ("gates:\n  skip:\n\n    a: true\n", 4, "gates.skip.a", "a text in quotes, this is a bool"),
        ("gates:\n  reject:\n    a: '('\n", 3, "gates.reject.a", "not FHIRPath"),
        ("gates:\n  skp: {}\n", 2, "gates.skp", "did you mean skip?"),
        ("orders:\n  rulings:\n    WALK: therapy\n", 3, "orders.rulings.WALK", '"system|code"'),
        ("orders:\n  rulings:\n    \"http://a|c\": theropy\n", 3, "orders.rulings.http://a|c", "therapy?"),
        ("orders:\n  rulings:\n    \"a|c\": [therapy]\n", 3, "orders.rulings.a|c", "there is no class"),
        ("context:\n  \"-said\": [coment]\n", 2, "context.-said", "coment is not in the list"),
        ("context:\n  \"-limit\": [5]\n", 2, "context.-limit", "a minus takes a list out of a list"),
        ("sentence:\n  task: '{who}'\n", 1, "sentence", "the template knows no {who}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_at_load(
    site: Callable[[str], Profile], text: str, line: int, key: str, problem: str
) -> None:
    """With file, line and key."""
    with pytest.raises(MappingsError) as caught:
        site(text)
    assert f"site.yaml:{line}: {key}: " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_the_number_and_ids_cannot_be_overridden(site: Callable[[str], Profile], field: str) -> None:
    """The number is judged against the do-not-call list: what came after would call another one."""
    with pytest.raises(MappingsError, match="this field cannot be overridden"):
        site(overriding(field, "'+12125550199'"))
    assert field not in fields()


def test_set_is_named_in_its_own_errors() -> None:
    """It has no file."""
    with pytest.raises(SettingsError, match=r"--set overrides\.task: not FHIRPath"):
        load_profile(SourceFacts(), None, {"overrides.task": "'('"})


RULING = 'orders:\n  rulings:\n    "{key}": {kind}\n'


@pytest.mark.parametrize(
    ("key", "kind", "reason"),
    [
        ("urn:ours|K1", "imaging", None),
        ("urn:ours|K1", "laboratory", "not-schedulable"),
        ("urn:ours|K2", "imaging", "not-schedulable-unknown"),
        ("urn:ours|*", "imaging", None),
        ("urn:*|K1", "therapy", None),
        ("urn:*|*", "supply", "not-schedulable"),
        ("urn:other*|*", "imaging", "not-schedulable-unknown"),
        ("urn:ours|K1", "null", "not-schedulable-unknown"),
    ],
)
def test_a_site_rules_on_codes(
    decided: Decide, marigold: Json, order: Json, key: str, kind: str, reason: str | None
) -> None:
    """By system and code, with a star in the system or for every code."""
    order = {**order, "category": [], "code": {"coding": [{"system": "urn:ours", "code": "K1"}]}}
    assert getattr(decided("{}", order, marigold), "reason", None) == "not-schedulable-unknown"
    decision = decided(RULING.format(key=key, kind=kind), order, marigold)
    assert getattr(decision, "reason", None) == reason
    if reason == "not-schedulable":
        assert (decision.lineage[0].map_row, decision.lineage[0].layer) == (f"ruling {key}", "site")


def test_the_most_exact_ruling_wins_over_maps_and_words(decided: Decide, marigold: Json, order: Json) -> None:
    """But not over evidence of laboratory work."""
    order = {
        **order,
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "Lab panel"}]},
    }
    rules = (
        'orders:\n  rulings:\n    "http://loinc.org|*": laboratory\n    "http://loinc.org|24627-2": imaging\n'
    )
    order["category"] = [{"coding": [{"code": "108252007", "system": "http://snomed.info/sct"}]}]
    assert getattr(decided("{}", order, marigold), "reason", None) == "not-schedulable"
    assert isinstance(decided(rules, order, marigold), Call)
    specimen = {"resourceType": "Specimen", "id": "s1", "request": [{"reference": "ServiceRequest/o1"}]}
    assert getattr(decided(rules, order, marigold, specimen), "reason", None) == "not-schedulable"


def test_the_clock_of_an_expression_is_that_of_the_run(
    site: Callable[[str], Profile], case_of: Callable[..., Case], proposed: Json, marigold: Json
) -> None:
    """In the source's zone: ten in the evening in New York is not yet tomorrow."""
    profile = site(overriding("task", "'On ' & today().toString()"))
    late = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    for moment, day in ((late, "2026-11-23"), (late + timedelta(hours=3), "2026-11-24")):
        decision = decide(case_of(proposed, marigold), profile, moment)
        assert isinstance(decision, Call) and decision.task.task == f"On {day}"


def test_a_profile_with_expressions_goes_to_another_process(site: Callable[[str], Profile]) -> None:
    """Bulk work is mapped in processes."""
    profile = site(overriding("task", "'x'") + GATE.format(kind="skip", expression="false"))
    assert pickle.loads(pickle.dumps(profile)).site == profile.site


@pytest.mark.parametrize(
    ("resource", "value"),
    [
        ({"cancelationReason": {"text": "ill"}, "reasonCode": [{"text": "x"}]}, "R4"),
        ({"reason": [{"concept": {"text": "x"}}], "class": [{"text": "x"}]}, "R5"),
        ({"incomingReferral": [], "indication": [{"reference": "Condition/c"}]}, "STU3"),
    ],
)
def test_any_version_is_read_as_it_stands(
    decided: Decide, proposed: Json, marigold: Json, resource: Json, value: str
) -> None:
    """An expression sees the version's own elements."""
    seen = {"R4": "reasonCode", "R5": "reason.concept", "STU3": "indication"}
    expression = " | ".join(f"iif({element}.exists(), '{name}')" for name, element in seen.items())
    decision = decided(overriding("task", expression), {**proposed, **resource}, marigold)
    assert isinstance(decision, Call) and decision.task.task == value
