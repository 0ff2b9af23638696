from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Admitted, Blocked, admit
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.verdict import Look, Verdict

Json = dict[str, Any]
DENIED = ("consent-denied", False)
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


@pytest.fixture
def asked(case_of: Callable[..., Case], us: Profile, now: datetime) -> Callable[..., tuple[str, bool] | None]:
    """The reason of the gate that keeps somebody out, and whether a person must look; None: admitted."""

    def ask(
        *resources: Json, profile: Profile = us, blocked: Blocked = NOBODY_BLOCKED
    ) -> tuple[str, bool] | None:
        found = admit(Look(case_of(*resources), profile, now, Recorder(), "proposed"), blocked)
        if isinstance(found, Verdict):
            return found.reason, found.wanted
        assert isinstance(found, Admitted)
        return None

    return ask


def label(code: str) -> Json:
    """meta with a security label."""
    return {"meta": {"security": [{"system": CONFIDENTIALITY, "code": code}]}}


def test_a_complete_adult_is_admitted(asked: Any, proposed: Json, marigold: Json) -> None:
    """Every gate lets her through."""
    assert asked(proposed, marigold) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"deceasedBoolean": True}, ("patient-deceased", False)),
        ({"deceasedDateTime": "2026-01-01"}, ("patient-deceased", False)),
        ({"deceasedBoolean": False}, None),
        ({"deceasedDateTime": "${deceased}"}, None),
        ({"active": False}, ("patient-inactive", False)),
        ({"meta": {"tag": [{"code": "HTEST"}]}}, ("patient-test", False)),
        ({"meta": {"security": [{"code": "HTEST"}]}}, ("patient-test", False)),
        (label("R"), ("restricted-record", False)),
        (label("V"), ("restricted-record", False)),
        (label("N"), None),
        ({"meta": {"security": [{"code": "N"}, {"code": "r"}]}}, ("restricted-record", False)),
        ({"meta": {"security": [{"display": "Restricted"}]}}, ("restricted-record", False)),
        (label(f"{CONFIDENTIALITY}|R"), ("restricted-record", False)),
        ({"meta": {"security": [{"system": CONFIDENTIALITY}]}}, ("restricted-record", False)),
        ({"meta": {"tag": [{"code": "R"}, {"display": "imported"}, {}]}}, None),
        ({"meta": {"tag": [{"code": "imported"}, {"code": "htest"}]}}, ("patient-test", False)),
        ({"meta": {"tag": [{"display": "Test health data"}]}}, ("patient-test", False)),
        ({"birthDate": "2015-01-01"}, ("minor-without-guardian", True)),
        ({"telecom": []}, ("phone-missing", True)),
        ({"telecom": [{"system": "phone", "value": "${phone}"}]}, ("phone-missing", True)),
        ({"telecom": [{"system": "phone", "value": "12"}]}, ("phone-invalid", True)),
        ({"name": [{"family": "Example"}]}, ("name-incomplete", True)),
        ({"name": []}, ("name-incomplete", True)),
        ({"address": [{"city": "Springfield"}]}, ("address-incomplete", True)),
        ({"address": []}, ("address-incomplete", True)),
    ],
)
def test_each_gate_keeps_out_whom_it_must(
    asked: Any, proposed: Json, marigold: Json, change: Json, expected: Any
) -> None:
    """mapping, section 4."""
    assert asked(proposed, {**marigold, **change}) == expected


def test_an_unresolved_patient_is_a_reject(asked: Any, proposed: Json) -> None:
    """Somebody is named and cannot be found."""
    assert asked(proposed) == ("patient-unresolved", True)


def test_a_restricted_trigger_counts_as_well(asked: Any, proposed: Json, marigold: Json) -> None:
    """On patient or trigger."""
    assert asked({**proposed, **label("V")}, marigold) == ("restricted-record", False)


def test_a_test_label_of_the_trigger_counts_as_well(asked: Any, proposed: Json, marigold: Json) -> None:
    """A test appointment of a record that does not say so itself."""
    tagged = {**proposed, "meta": {"tag": [{"code": "HTEST"}]}}
    assert asked(tagged, marigold) == ("patient-test", False)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [("do_not_call_marks", ("do-not-call", False)), ("test_marks", ("patient-test", False))],
)
def test_a_vendors_mark_on_the_patient_is_obeyed(
    asked: Any,
    proposed: Json,
    marigold: Json,
    profile_of: Callable[..., Profile],
    marks: str,
    expected: tuple[str, bool],
) -> None:
    """An extension by its URL, with one of the values a layer names; another value is another thing."""
    url = "https://ehr.example/mark"
    layer = profile_of(**{f"gates.{marks}": f"[{{url: {url!r}, values: ['true']}}]"})
    for value, reason in ((True, expected), (False, None)):
        marked = {**marigold, "extension": [{"url": url, "valueBoolean": value}]}
        assert asked(proposed, marked, profile=layer) == reason


def test_who_has_no_number_but_one_marked_is_rightly_not_called(
    asked: Any, proposed: Json, marigold: Json, profile_of: Callable[..., Profile]
) -> None:
    """A Skip: nobody need look for another number."""
    url = "https://ehr.example/consent-to-call"
    layer = profile_of(**{"gates.do_not_call_marks": f"[{{url: {url!r}, values: ['false']}}]"})
    only = {**marigold["telecom"][0], "extension": [{"url": url, "valueBoolean": False}]}
    assert asked(proposed, {**marigold, "telecom": [only]}, profile=layer) == ("do-not-call", False)


def test_a_merged_record_is_followed_or_rejected(asked: Any, proposed: Json, marigold: Json) -> None:
    """A merged record is inactive by nature: it is followed before anything is judged."""
    link = {"link": [{"type": "replaced-by", "other": {"reference": "Patient/survivor"}}]}
    old = {**marigold, "active": False, **link}
    assert asked(proposed, old) == ("patient-merged", True)
    assert asked(proposed, old, {**marigold, "id": "survivor"}) is None


@pytest.mark.parametrize(
    "blocked",
    [Blocked(numbers=frozenset({"+16465550101"})), Blocked(patients=frozenset({"Patient/marigold"}))],
)
def test_the_sites_list_is_obeyed(asked: Any, proposed: Json, marigold: Json, blocked: Blocked) -> None:
    """By number, however it is written in the record, or by patient."""
    assert asked(proposed, marigold, blocked=blocked) == ("do-not-call", False)
    assert asked(proposed, marigold, blocked=Blocked(numbers=frozenset({"+16465550199"}))) is None


def test_a_merge_takes_nobody_off_the_list(asked: Any, proposed: Json, marigold: Json) -> None:
    """Who was blocked under the record that was replaced, or under the one that replaced it."""
    link = {"link": [{"type": "replaced-by", "other": {"reference": "Patient/survivor"}}]}
    records = proposed, {**marigold, **link}, {**marigold, "id": "survivor"}
    for name in ("Patient/marigold", "Patient/survivor"):
        listed = Blocked(patients=frozenset({name}))
        assert asked(*records, blocked=listed) == ("do-not-call", False)
    assert asked(*records, blocked=Blocked(patients=frozenset({"Patient/other"}))) is None


@pytest.mark.parametrize("name", ["Patient/marigold", "Patient/second", "Patient/third", "Patient/other"])
def test_a_block_holds_for_every_record_of_several_merges(
    asked: Any, proposed: Json, marigold: Json, name: str
) -> None:
    """The one in the middle too, that neither the trigger names nor anybody is called by."""
    records = [
        {**marigold, "id": one, "link": [{"type": "replaced-by", "other": {"reference": f"Patient/{other}"}}]}
        for one, other in (("marigold", "second"), ("second", "third"))
    ]
    found = asked(
        proposed, *records, {**marigold, "id": "third"}, blocked=Blocked(patients=frozenset({name}))
    )
    assert found == (None if name == "Patient/other" else ("do-not-call", False))


def test_a_patient_who_is_known_by_an_identifier_is_blocked_by_it(
    asked: Any, case_of: Callable[..., Case], proposed: Json, marigold: Json
) -> None:
    """A contained one has no lasting id: the ledger's list has them as the case identifies them."""
    number = {"system": "https://ehr.example/mrn", "value": "77"}
    held = {
        **proposed,
        "contained": [{**marigold, "id": "p", "identifier": [number]}],
        "participant": [{"actor": {"reference": "#p"}, "status": "needs-action"}],
    }
    assert asked(held) is None
    identity = case_of(held).patient_identity
    assert identity is not None and identity.startswith("identifier:")
    assert asked(held, blocked=Blocked(patients=frozenset({identity}))) == ("do-not-call", False)


def consent(status: str | None = "active", **more: Any) -> Json:
    """A Consent of Marigold's."""
    return {
        "resourceType": "Consent",
        "id": "c",
        "status": status,
        "patient": {"reference": "Patient/marigold"},
        **more,
    }


@pytest.mark.parametrize(
    ("found", "opt_out", "opt_in"),
    [
        (None, None, ("consent-missing", False)),
        (consent(provision={"type": "deny"}), ("consent-denied", False), ("consent-denied", False)),
        (consent(provision={"type": "Deny"}), ("consent-denied", False), ("consent-denied", False)),
        (consent(provision=[{"type": "deny"}]), ("consent-denied", False), ("consent-denied", False)),
        (consent(decision="deny"), ("consent-denied", False), ("consent-denied", False)),
        (consent("inactive", provision={"type": "deny"}), None, ("consent-missing", False)),
        (
            consent(provision={"type": "deny", "period": {"end": "2026-01-01"}}),
            None,
            ("consent-missing", False),
        ),
        (consent(provision={"type": "permit"}), None, None),
        (consent(provision=[{"type": "permit"}, {"type": "deny"}]), DENIED, DENIED),
        (consent(decision="deny", period={"end": "2026-01-01"}), None, ("consent-missing", False)),
        (consent(decision="deny", period={"start": "2027-01-01"}), None, ("consent-missing", False)),
        (consent("entered-in-error", decision="deny"), None, ("consent-missing", False)),
        (consent("Active ", decision="deny"), DENIED, DENIED),
        (consent(policyRule={"coding": [{"code": "OPTOUT"}]}), DENIED, DENIED),
        (consent(policyRule={"coding": [{"code": "OPTIN"}, {"code": "optoute"}]}), DENIED, DENIED),
        (consent(policyRule="http://hl7.org/fhir/ConsentPolicy/opt-out/"), DENIED, DENIED),
        (consent(policyRule="http://hl7.org/fhir/ConsentPolicy/opt-in"), None, None),
        (consent(None, provision={"type": "permit"}), None, ("consent-missing", False)),
        (consent(None, decision="deny"), DENIED, DENIED),
    ],
)
def test_consent(
    asked: Any,
    proposed: Json,
    marigold: Json,
    profile_of: Callable[..., Profile],
    found: Json | None,
    opt_out: Any,
    opt_in: Any,
) -> None:
    """Only an active one counts; opt-in demands a sign of one."""
    resources = [proposed, marigold, *([found] if found else [])]
    assert asked(*resources) == opt_out
    assert asked(*resources, profile=profile_of(consent="opt-in")) == opt_in


def test_the_gates_are_asked_in_the_pages_order(asked: Any, proposed: Json, marigold: Json) -> None:
    """Who has died is said to have died, whatever else is wrong with the record."""
    wreck: Json = {
        "resourceType": "Patient",
        "id": "marigold",
        "active": False,
        "deceasedBoolean": True,
        "meta": {"tag": [{"code": "HTEST"}], "security": [{"code": "R"}]},
    }
    order = ["patient-deceased", "patient-inactive", "patient-test", "restricted-record", "phone-missing"]
    seen = []
    for change in (
        {"deceasedBoolean": None},
        {"active": None},
        {"meta": label("R")["meta"]},
        {"meta": None},
        {},
    ):
        found = asked(proposed, wreck)
        assert found is not None
        seen.append(found[0])
        wreck = {**wreck, **change}
    assert seen == order


def test_the_policy_may_omit_an_incomplete_address(
    asked: Any, proposed: Json, marigold: Json, profile_of: Callable[..., Profile]
) -> None:
    """incomplete_address = omit."""
    assert asked(proposed, {**marigold, "address": []}, profile=profile_of(incomplete_address="omit")) is None


@pytest.mark.parametrize("written", ["unknown", "XXXX-XX-XX", "TBC", "?", "last summer", "2020"])
def test_a_date_of_death_that_nobody_can_read_is_one(
    asked: Any, proposed: Json, marigold: Json, written: str
) -> None:
    """A mask hides when somebody died, not whether."""
    assert asked(proposed, {**marigold, "deceasedDateTime": written}) == ("patient-deceased", False)


@pytest.mark.parametrize("written", ["", " ", "null", "None", "n/a", "${deceased}"])
def test_no_date_of_death_is_none(asked: Any, proposed: Json, marigold: Json, written: str) -> None:
    """What software writes where it has nothing to write, and a template that was not filled."""
    assert asked(proposed, {**marigold, "deceasedDateTime": written}) is None


@pytest.mark.parametrize("meta", [{"security": [{"code": " R "}]}, {"tag": [{"code": "htest "}]}])
def test_a_label_counts_with_blanks_around_it(asked: Any, proposed: Json, marigold: Json, meta: Json) -> None:
    """A typing error opens no restricted record."""
    assert asked(proposed, {**marigold, "meta": meta}) in (
        ("restricted-record", False),
        ("patient-test", False),
    )
