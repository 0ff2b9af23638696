"""`fhir-bridge check`: each step by itself, what to do where one fails, and which later ones wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from joserfc.jwk import ECKey

from tests.doubles.case import WORLD
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import Bearer, FhirServerDouble
from tests.doubles.serving import Tls
from tests.doubles.smart import SmartDouble

EC = ECKey.generate_key("P-384")
SOURCE = """
[sources.ehr]
base_url = "{url}"
[sources.ehr.client]
rate = "1000/s"
{client}
"""


@dataclass
class Clinic:
    """The command line, an EHR and the endpoint."""

    bridge: Any
    ehr: FhirServerDouble
    endpoint: str

    def check(
        self, *arguments: str, client: str = 'bearer = "token"', more: str = "", key: str = "key"
    ) -> tuple[int, dict[str, Any]]:
        """The exit code and each step by its name."""
        self.bridge.settings(self.endpoint, SOURCE.format(url=self.ehr.url, client=client) + more, key=key)
        ran = self.bridge("check", *arguments, "--json")
        assert not ran.err, ran.err
        assert ran.json["source"] == "ehr" and ran.json["ok"] is (ran.code == 0)
        return ran.code, {step["name"]: step for step in ran.json["steps"]}


@pytest.fixture
def clinic(bridge: Any, endpoint: Any) -> Iterator[Clinic]:
    """All is well with it."""
    ehr = FhirServerDouble(guard=Bearer("token"))
    ehr.records.put(*WORLD)
    with ehr.running_in_thread():
        yield Clinic(bridge, ehr, endpoint().url)


def marks(steps: dict[str, Any], mark: str) -> list[str]:
    """The names of the steps with a mark."""
    return [name for name, step in steps.items() if step["mark"] == mark]


def test_all_is_well(clinic: Clinic) -> None:
    """Every step says what it found; nothing about anybody is asked, and nothing changed."""
    code, steps = clinic.check()
    assert (code, marks(steps, "ok")) == (0, list(steps))
    assert "double 1, FHIR 4.0.1" in steps["metadata"]["found"]
    assert "takes our key (HTTP 404)" in steps["endpoint"]["found"]
    asked = [line for line in clinic.ehr.lines() if line not in ("GET metadata",)]
    assert all("fhir-bridge-check" in line or line.startswith("GET Subscription") for line in asked)


def test_people_get_a_line_a_step_and_what_to_do(clinic: Clinic) -> None:
    """With a mark each."""
    clinic.bridge.settings(clinic.endpoint, SOURCE.format(url=clinic.ehr.url, client='bearer = "wrong"'))
    ran = clinic.bridge("check", "ehr")
    assert ran.code == 5
    assert "✓ metadata" in ran.out and "✗ read" in ran.out and "· search encounters" in ran.out
    assert "→ the server does not take our credentials" in ran.out


def test_a_record_may_be_read_in_earnest(clinic: Clinic) -> None:
    """By its type and id; another form is refused before anything is asked."""
    assert clinic.check("--read", "Patient/p1")[1]["read"]["found"] == "Patient was read"
    code, steps = clinic.check("--read", "Patient/unknown")
    assert code == 5 and steps["read"]["code"] == "not-found"
    assert clinic.bridge("check", "--read", "Patient").code == 2


def test_a_wrong_token_keeps_the_searches_from_being_tried(clinic: Clinic) -> None:
    """What needs no credentials is found out all the same, the endpoint too."""
    code, steps = clinic.check(client='bearer = "wrong"')
    assert (code, steps["read"]["code"]) == (5, "unauthorized")
    assert marks(steps, "untried") == [name for name in steps if name.startswith(("search", "subscr"))]
    assert steps["endpoint"]["mark"] == "ok"


def test_nobody_there_and_no_such_host(clinic: Clinic) -> None:
    """The first step that fails is the one to see to."""
    clinic.ehr.origin = "http://127.0.0.1:1"
    code, steps = clinic.check()
    assert (code, marks(steps, "fail")) == (5, ["tls"]) and steps["tls"]["code"] == "unreachable"
    clinic.ehr.origin = "https://ehr.invalid"
    code, steps = clinic.check()
    assert (code, marks(steps, "fail")) == (5, ["dns"])
    assert marks(steps, "untried")[:2] == ["tls", "clock"]


def test_what_is_no_fhir_server_is_told(clinic: Clinic) -> None:
    """A portal behind the address."""
    clinic.ehr.faults.append(Fault("metadata", 200, b"<html>", {"content-type": "text/html"}, times=None))
    code, steps = clinic.check()
    assert code == 5 and steps["metadata"]["code"] == "not-fhir" and "base_url" in steps["metadata"]["to_do"]


def test_a_refused_search_is_a_warning_with_what_is_lost(clinic: Clinic) -> None:
    """One that works in another way is none."""
    clinic.ehr.rejects |= {"Encounter.status", "Coverage.patient", "Coverage.beneficiary"}
    code, steps = clinic.check()
    assert (code, marks(steps, "warn")) == (1, ["search coverages"])
    assert "way 2 of 3" in steps["search encounters"]["found"]
    assert "insurance" in steps["search coverages"]["to_do"]


def test_a_vendor_that_names_itself_is_asked_for(clinic: Clinic) -> None:
    """Where no vendor is set, and not where one is."""
    clinic.ehr.statement["software"] = {"name": "medplum", "version": "5"}
    code, steps = clinic.check()
    assert (code, steps["metadata"]["code"]) == (1, "vendor-unset")
    assert 'vendor = "medplum"' in steps["metadata"]["to_do"]


def test_a_search_that_is_not_heeded_is_a_warning(clinic: Clinic) -> None:
    """Everybody's come for an id that nobody has, as from a server that does not know a parameter."""
    clinic.ehr.ignores |= {"Coverage.patient", "Coverage.beneficiary"}
    clinic.ehr.records.put({"resourceType": "Coverage", "id": "of-somebody"})
    code, steps = clinic.check()
    assert (code, marks(steps, "warn")) == (1, ["search coverages"])
    assert steps["search coverages"]["code"] == "search-unheeded"


def test_a_vendor_that_is_not_asked_says_so(clinic: Clinic) -> None:
    """By the layer that rules it."""
    more = '\n[sources.ehr.rules]\n"searches.consents" = []\n'
    _, steps = clinic.check(more=more)
    assert steps["search consents"]["found"] == "not asked: [sources.ehr] says so"


def test_types_and_clock_that_are_wrong(clinic: Clinic) -> None:
    """A server without Appointments calls nobody; one with another time takes no assertion."""
    clinic.ehr.types = [kind for kind in clinic.ehr.types if kind not in ("Appointment", "Consent")]
    code, steps = clinic.check()
    assert code == 5 and steps["metadata"]["code"] == "types-lacking"
    clinic.ehr.types = (*clinic.ehr.types, "Appointment")
    for skew, mark in ((60, "warn"), (-3600, "fail")):
        clinic.ehr.skew = skew
        code, steps = clinic.check()
        assert (steps["clock"]["mark"], steps["clock"]["code"]) == (mark, "clock-skew")
        assert steps["metadata"]["mark"] == "warn"
    assert "ahead of the server" in steps["clock"]["found"] and "NTP" in steps["clock"]["to_do"]


def test_our_subscriptions_are_listed(clinic: Clinic) -> None:
    """Those that post to us; without any, how to make one."""
    more = '\n[sources.ehr.subscription]\nendpoint = "https://bridge.example/fhir/ehr"\n'
    code, steps = clinic.check(more=more)
    assert (code, steps["subscriptions"]["code"]) == (1, "not-subscribed")
    channel = {"type": "rest-hook", "endpoint": "https://bridge.example/fhir/ehr"}
    subscription = {"resourceType": "Subscription", "criteria": "Appointment?", "channel": channel}
    clinic.ehr.records.put({**subscription, "id": "s1", "status": "active"})
    code, steps = clinic.check(more=more)
    assert (code, steps["subscriptions"]["found"]) == (0, "Subscription/s1 active")
    clinic.ehr.records.change("Subscription/s1", status="requested")
    assert clinic.check(more=more)[1]["subscriptions"]["code"] == "subscription-requested"
    clinic.ehr.records.change("Subscription/s1", status="error")
    assert clinic.check(more=more)[1]["subscriptions"]["code"] == "subscription-ended"


def test_the_endpoint_and_its_key(clinic: Clinic) -> None:
    """Tried by asking for a task that cannot be."""
    code, steps = clinic.check(key="wrong")
    assert (code, marks(steps, "fail"), steps["endpoint"]["code"]) == (5, ["endpoint"], "key-refused")
    clinic.endpoint = "http://127.0.0.1:1"
    code, steps = clinic.check()
    assert (code, marks(steps, "fail")) == (5, ["endpoint"])


def test_a_source_that_is_only_files_has_nothing_to_be_tried(bridge: Any, endpoint: Any) -> None:
    """But the endpoint has."""
    bridge.settings(endpoint().url, '\n[sources.ehr]\njurisdiction = "US"\n')
    ran = bridge("check", "--json")
    assert ran.code == 1
    assert [step["name"] for step in ran.json["steps"]] == ["settings", "endpoint"]


def test_backend_services_are_tried_to_the_scope(bridge: Any, endpoint: Any, tmp_path: Path) -> None:
    """The token's host, algorithm, kid and scope; a scope too narrow is told by the types it leaves out."""
    (tmp_path / "key.pem").write_bytes(EC.as_pem(private=True))
    smart = SmartDouble(scopes=("system/*.read", "system/Patient.read", "system/Appointment.read"))
    smart.register("bridge", EC, "k1")
    ehr = FhirServerDouble(guard=smart, more=smart.routes())
    client = 'client_id = "bridge"\nprivate_key = { file = "key.pem" }\nkey_id = "k1"\n'
    with ehr.running_in_thread():
        clinic = Clinic(bridge, ehr, endpoint().url)
        code, steps = clinic.check(client=client)
        assert code == 0 and "ES384 under kid k1" in steps["token"]["found"]
        code, steps = clinic.check(client=client + 'scope = "system/Patient.read system/Appointment.read"\n')
        assert (code, steps["token"]["code"]) == (1, "scope-narrow")
        assert "Coverage" in steps["token"]["to_do"] and "Patient," not in steps["token"]["to_do"]
        code, steps = clinic.check(client=client.replace("k1", "k2"))
        assert (code, steps["token"]["code"]) == (5, "token-refused")
        assert "read" in marks(steps, "untried")


@pytest.fixture
def secured(bridge: Any, endpoint: Any, tmp_path: Path) -> Callable[..., Any]:
    """An EHR behind TLS with an authority of its own; it may want a certificate of ours."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost", common_name="ehr.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    ours = authority.issue_cert("bridge.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "ours.pem")

    @contextlib.contextmanager
    def opened(*, mutual: bool = False) -> Iterator[Clinic]:
        client_ca = tmp_path / "ca.pem" if mutual else None
        ehr = FhirServerDouble(guard=Bearer("token"))
        with ehr.running_in_thread(Tls(tmp_path / "server.pem", tmp_path / "server.key", client_ca)):
            yield Clinic(bridge, ehr, endpoint().url)

    return opened


def test_a_certificate_is_shown_and_an_unknown_authority_told(secured: Any) -> None:
    """With OpenSSL's own words; trusted by network.ca_bundle it is fine."""
    with secured() as clinic:
        code, steps = clinic.check()
        assert (code, steps["tls"]["code"]) == (5, "tls")
        assert "unable to get local issuer certificate" in steps["tls"]["found"]
        assert "ca_bundle" in steps["tls"]["to_do"]
        code, steps = clinic.check(more='\n[network]\nca_bundle = "ca.pem"\n')
        assert steps["tls"]["mark"] == "ok" and "certificate of ehr.example until" in steps["tls"]["found"]


def test_a_client_certificate_is_shown_where_it_is_wanted(secured: Any) -> None:
    """Without it the server closes the connection."""
    network = '\n[network]\nca_bundle = "ca.pem"\n'
    with secured(mutual=True) as clinic:
        code, steps = clinic.check(more=network)
        assert code == 5 and steps["tls"]["mark"] == "fail"
        code, steps = clinic.check(client='bearer = "token"\ncertificate = "ours.pem"', more=network)
        assert steps["read"]["mark"] == "ok"
