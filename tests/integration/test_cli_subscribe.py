"""`fhir-bridge subscribe` and `sources` against a FHIR server that keeps Subscriptions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fhir_bridge.subscriptions.offered import TOPIC_CANONICAL
from tests.conftest import Bridge
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.notifying import Notifier

TOPIC = "http://ehr.example/topic/appointments"
CODE = {"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}
BECAUSE = ("--because", "moved to another host")
ENDPOINT = "https://bridge.example/fhir/ehr"
SOURCE = """
[sources.ehr]
{more}
base_url = "{url}"
[sources.ehr.credentials]
bearer = "s3cret"
[sources.ehr.client]
bearer = "token"
rate = "1000/s"
[sources.ehr.subscription]
endpoint = "{endpoint}"
"""


@dataclass
class Ehr:
    """A server of this form, and how it is told of in bridge.toml."""

    bridge: Bridge
    server: FhirServerDouble
    notifier: Notifier

    def set(self, endpoint: str = ENDPOINT, more: str = "", source: str = "") -> None:
        """Write bridge.toml: `more` of the subscription, and of the source itself."""
        text = SOURCE.format(url=self.server.url, endpoint=endpoint, more=source)
        self.bridge.settings("http://127.0.0.1:9", text + more)

    @property
    def subscriptions(self) -> list[dict[str, Any]]:
        """What it keeps."""
        return list(self.server.records.of_type("Subscription"))


@pytest.fixture
def ehr(bridge: Bridge) -> Iterator[Any]:
    """Starts one; nobody answers at its endpoint unless a test says so."""
    with contextlib.ExitStack() as running:

        def start(form: str = "r4", version: str = "4.0.1", **given: Any) -> Ehr:
            server = FhirServerDouble(fhir_version=version, **given)
            notifier = Notifier(server, form, tries=1, delay=(0.0, 0.0))
            running.enter_context(server.running_in_thread())
            running.enter_context(notifier.running())
            made = Ehr(bridge, server, notifier)
            made.set()
            return made

        yield start


@dataclass
class Listener:
    """Answers every notification as `serve` does, and keeps what it was shown."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Listener]:
        """Within, it answers."""
        shown = self.headers

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                shown.append({name.lower(): value for name, value in self.headers.items()})
                body = b'{"resourceType":"OperationOutcome"}'
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            self.url = f"http://127.0.0.1:{http.server_address[1]}/fhir/ehr"
            thread = threading.Thread(target=http.serve_forever, args=(0.05,))
            thread.start()
            yield self
            http.shutdown()
            thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Somebody answers at its URL."""
    with Listener().running() as running:
        yield running


@contextlib.contextmanager
def freed_ledger(bridge: Bridge) -> Iterator[sqlite3.Connection]:
    """The ledger's own tables."""
    with contextlib.closing(sqlite3.connect(bridge.folder / "fhir-bridge.db")) as ledger:
        yield ledger
        ledger.commit()


def topics(*types: str) -> dict[str, Any]:
    """A CapabilityStatement of a server that names one topic by the backport's extension."""
    told = {"type": "Subscription", "extension": [{"url": TOPIC_CANONICAL, "valueCanonical": TOPIC}]}
    return {"rest": [{"mode": "server", "resource": [told, *({"type": name} for name in types)]}]}


def test_a_dry_run_shows_what_would_be_made_and_makes_nothing(bridge: Bridge, ehr: Any) -> None:
    """Whole, but for the secret."""
    at = ehr()
    ran = bridge("subscribe", "create", "--dry-run")
    assert ran.code == 0, ran.err
    built = ran.json
    assert [each["criteria"] for each in built] == ["Appointment?", "ServiceRequest?"]
    assert built[0]["channel"] == {
        "type": "rest-hook",
        "endpoint": ENDPOINT,
        "payload": "application/fhir+json",
        "header": ["Authorization: ***"],
    }
    assert "s3cret" not in ran.out + ran.err
    assert at.subscriptions == []


def test_what_is_missing_is_made_once(bridge: Bridge, ehr: Any) -> None:
    """The second call finds what the first made, also where the ledger was lost in between."""
    at = ehr()
    first = bridge("subscribe", "create")
    assert first.code == 0, first.err
    assert first.out.count("made: active") == 2
    assert at.subscriptions[0]["channel"]["header"] == ["Authorization: Bearer s3cret"]
    (bridge.folder / "fhir-bridge.db").unlink()
    again = bridge("subscribe", "create", "--json")
    assert [each["made"] for each in again.json] == [False, False]
    assert len(at.subscriptions) == 2
    assert "s3cret" not in again.out


def test_a_server_that_keeps_the_status_it_is_sent_is_sent_active(bridge: Bridge, ehr: Any) -> None:
    """Medplum makes none active, so a requested one tells nothing: said at once, and asked for otherwise."""
    at = ehr()
    at.notifier.activates = False
    made = bridge("subscribe", "create", "--wait", "0s")
    assert made.code == 1
    assert "asked_as" in made.err
    assert bridge("subscribe", "list").code == 1
    at.set(source='vendor = "medplum"')
    assert bridge("subscribe", "activate").code == 0
    assert {each["status"] for each in at.subscriptions} == {"active"}
    assert bridge("subscribe", "renew").code == 0
    assert {each["status"] for each in at.subscriptions} == {"active"}
    assert {each["status"] for each in bridge("subscribe", "create", "--dry-run").json} == {"active"}


def test_what_is_made_without_a_table_of_its_own_carries_our_secret_too(bridge: Bridge, ehr: Any) -> None:
    """All told on the command line: the vendor's layer and the credentials are the source's all the same."""
    at = ehr()
    at.set(source='vendor = "medplum"')
    settings = bridge.folder / "bridge.toml"
    settings.write_text(settings.read_text().partition("[sources.ehr.subscription]")[0])
    ran = bridge("subscribe", "create", "--endpoint", ENDPOINT)
    assert ran.code == 0, ran.err
    assert [each["channel"].get("header") for each in at.subscriptions] == [
        ["Authorization: Bearer s3cret"]
    ] * 2
    assert {each["status"] for each in at.subscriptions} == {"active"}


def test_another_address_or_another_criteria_is_another_subscription(bridge: Bridge, ehr: Any) -> None:
    """Those of others are left alone, and not listed."""
    at = ehr()
    bridge("subscribe", "create", "--endpoint", "https://other.example/fhir/ehr")
    bridge("subscribe", "create", "--criteria", "Appointment?location=Location/1")
    assert len(at.subscriptions) == 3
    listed = bridge("subscribe", "list", "--json").json
    assert {each["criteria"] for each in listed} >= {"Appointment?location=Location/1"}
    at.server.records.put(
        {"resourceType": "Subscription", "id": "x", "status": "active", "criteria": "Appointment?",
         "channel": {"type": "rest-hook", "endpoint": "https://somebody.example"}}
    )  # fmt: skip
    assert "Subscription/x" not in bridge("subscribe", "list").out


@pytest.mark.parametrize(
    ("form", "version", "statement", "expected"),
    [
        ("r4-backport", "4.0.1", topics(), "r4-backport"),
        ("r4b", "4.3.0", topics("SubscriptionTopic"), "r4b"),
        ("r5", "5.0.0", {}, "r5"),
    ],
)
def test_the_form_is_the_server_s(
    bridge: Bridge, ehr: Any, listener: Listener, form: str, version: str, statement: Any, expected: str
) -> None:
    """With its topic, found in its statement or among its topics; the handshake is answered, it is active."""
    types = ("Appointment", "Subscription", "SubscriptionTopic", "Basic")
    at = ehr(form, version, statement=statement, types=types)
    if form == "r5":
        at.server.records.put(
            {"resourceType": "SubscriptionTopic", "url": TOPIC, "status": "active",
             "resourceTrigger": [{"resource": "Appointment"}]}
        )  # fmt: skip
    at.set(listener.url)
    offered = bridge("subscribe", "list", "--offered", "--json").json
    assert (offered["form"], [each["url"] for each in offered["topics"]]) == (expected, [TOPIC])
    ran = bridge("subscribe", "create")
    assert ran.code == 0, ran.err
    assert "made: active" in ran.out
    assert [headers["authorization"] for headers in listener.headers] == ["Bearer s3cret"]
    (subscription,) = at.subscriptions
    assert TOPIC in (subscription.get("topic"), subscription.get("criteria"))
    assert "was there already" in bridge("subscribe", "create").out


def test_a_topic_in_a_basic_is_found(bridge: Bridge, ehr: Any) -> None:
    """R4 keeps topics so."""
    url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"
    trigger = [{"url": "resource", "valueUri": "http://hl7.org/fhir/StructureDefinition/Appointment"}]
    at = ehr("r4-backport", types=("Subscription", "Basic"))
    at.server.records.put(
        {"resourceType": "Basic", "code": {"coding": [CODE]},
         "extension": [{"url": f"{url}.url", "valueUri": TOPIC},
                       {"url": f"{url}.resourceTrigger", "extension": trigger}]}
    )  # fmt: skip
    (built,) = bridge("subscribe", "create", "--form", "r4-backport", "--dry-run").json
    assert built["criteria"] == TOPIC


def test_a_server_without_a_fitting_topic_says_which_there_are(bridge: Bridge, ehr: Any) -> None:
    """And what may be done."""
    at = ehr("r5", "5.0.0", types=("Subscription", "SubscriptionTopic"))
    trigger = [{"resource": "Encounter"}]
    at.server.records.put({"resourceType": "SubscriptionTopic", "url": TOPIC, "resourceTrigger": trigger})
    ran = bridge("subscribe", "create")
    assert (ran.code, TOPIC in ran.err, "--topic" in ran.err) == (2, True, True)


def test_a_server_without_subscriptions_says_so(bridge: Bridge, ehr: Any) -> None:
    """Before anything is tried."""
    at = ehr(types=("Appointment",))
    ran = bridge("subscribe", "create")
    assert (ran.code, "no Subscriptions" in ran.err) == (2, True)
    assert at.server.lines("POST") == []


def test_a_server_that_cannot_list_now_gets_no_second_one(bridge: Bridge, ehr: Any) -> None:
    """The first may be there; one that never lists is asked about those we know."""
    at = ehr()
    bridge("subscribe", "create")
    at.server.faults.append(Fault(r"GET Subscription\?", status=500, times=None))
    assert bridge("subscribe", "create").code == 5
    at.server.faults[-1].status = 405
    assert bridge("subscribe", "create").out.count("was there already") == 2
    assert len(at.subscriptions) == 2


def test_a_status_in_the_criteria_is_refused(bridge: Bridge, ehr: Any) -> None:
    """What leaves it would be told to nobody: the appointment that is cancelled."""
    ehr()
    ran = bridge("subscribe", "create", "--criteria", "Appointment?status=booked")
    assert (ran.code, "status" in ran.err) == (2, True)


def test_nobody_at_the_endpoint_is_told(bridge: Bridge, ehr: Any) -> None:
    """The handshake fails, the server says error, and so do we."""
    at = ehr("r5", "5.0.0")
    at.set("http://127.0.0.1:9/fhir/ehr")
    ran = bridge("subscribe", "create", "--topic", TOPIC)
    assert (ran.code, "error" in ran.out, "subscribe activate" in ran.err) == (1, True, True)
    told = bridge("sources")
    assert (told.code, "subscription-error" in told.out) == (0, True)  # it will be asked for again by itself


def test_what_was_given_up_is_activated(bridge: Bridge, ehr: Any, listener: Listener) -> None:
    """Asked for again, with the secret that the server no longer shows."""
    at = ehr("r5", "5.0.0")
    at.set("http://127.0.0.1:9/fhir/ehr")
    bridge("subscribe", "create", "--topic", TOPIC)
    (subscription,) = at.subscriptions
    at.server.records.change(f"Subscription/{subscription['id']}", endpoint=listener.url, parameter=None)
    at.set(listener.url)
    ran = bridge("subscribe", "activate")
    assert (ran.code, "asked for again: active" in ran.out) == (0, True)
    assert listener.headers[0]["authorization"] == "Bearer s3cret"
    assert "none to ask for" in bridge("subscribe", "activate").out


def test_a_subscription_gets_a_new_end(bridge: Bridge, ehr: Any) -> None:
    """From now on, or none."""
    at = ehr()
    bridge("subscribe", "create", "--lifetime", "1d", "--criteria", "Appointment?")
    before = at.subscriptions[0]["end"]
    at.set(more='lifetime = "30d"\n')
    ran = bridge("subscribe", "renew", at.subscriptions[0]["id"])
    assert (ran.code, "until" in ran.out) == (0, True)
    assert at.subscriptions[0]["end"] > before
    at.set()
    bridge("subscribe", "renew")
    assert "end" not in at.subscriptions[0]


def test_only_ours_is_taken_away_and_only_when_named(bridge: Bridge, ehr: Any) -> None:
    """A dry run first; the audit keeps why."""
    at = ehr()
    bridge("subscribe", "create")
    names = [each["id"] for each in at.subscriptions]
    assert bridge("subscribe", "delete", *BECAUSE).code == 2
    assert bridge("subscribe", "delete", "nobody", *BECAUSE).code == 2
    assert bridge("subscribe", "delete", "--all", "--dry-run", *BECAUSE).code == 0
    assert len(at.subscriptions) == 2
    assert bridge("subscribe", "delete", names[0], *BECAUSE).code == 0
    assert [each["id"] for each in at.subscriptions] == names[1:]
    assert bridge("subscribe", "delete", "--all", *BECAUSE).code == 0
    assert at.subscriptions == []
    assert "there is none" in bridge("subscribe", "list").out


def test_a_source_without_a_server_is_told_what_to_set(bridge: Bridge) -> None:
    """Exit code 3: it is the settings."""
    bridge.settings("http://127.0.0.1:9", "[sources.ehr]\n[sources.ehr.subscription]\n")
    ran = bridge("subscribe", "create")
    assert (ran.code, "base_url" in ran.err) == (3, True)


def test_a_server_that_is_out_of_reach_is_exit_code_5(bridge: Bridge) -> None:
    """As for every command that needs it."""
    text = SOURCE.format(url="http://127.0.0.1:9/fhir", endpoint=ENDPOINT, more="")
    bridge.settings("http://127.0.0.1:9", text)
    assert bridge("subscribe", "list").code == 5


def test_a_silent_source_is_in_the_status(bridge: Bridge, ehr: Any) -> None:
    """With what is wrong, and an exit code that a monitor sees; `sources` says what to do."""
    at = ehr()
    at.set(more='silence_alarm = "1s"\nclinic_hours = "00:00-24:00"\n')
    bridge("subscribe", "create")
    told = bridge("status", "--json")
    assert (told.code, told.json["sources"]) == (0, {})
    with freed_ledger(bridge) as ledger:
        ledger.execute("INSERT INTO watches (source, began_at) VALUES ('ehr', 0)")
    told = bridge("status", "--json")
    assert (told.code, told.json["sources"]) == (1, {"ehr": ["never-heard"]})
    assert "never-heard" in bridge("status").out
    shown = bridge("sources")
    assert (shown.code, "! ehr: never-heard" in shown.out) == (1, True)


def test_sources_shows_each_and_what_to_do(bridge: Bridge, ehr: Any) -> None:
    """One that tells nothing by Subscriptions is no alarm."""
    at = ehr()
    at.set(more="[sources.files]\n")
    bridge("subscribe", "create", "--source", "ehr")
    ran = bridge("sources")
    assert ran.code == 0, ran.out
    assert "never" in ran.out
    told = {each["source"]: each for each in bridge("sources", "--json").json}
    assert [each["state"] for each in told["ehr"]["subscriptions"]] == ["active", "active"]
    assert (told["ehr"]["missed"], told["ehr"]["waiting"], told["files"]["tells"]) == (0, 0, False)
    assert [each["source"] for each in bridge("sources", "--source", "files", "--json").json] == ["files"]
    assert bridge("sources", "--source", "nobody").code == 2
