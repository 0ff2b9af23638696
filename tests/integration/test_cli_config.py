"""Settings: `config show`, what beats what, and what a bad one is told."""

from __future__ import annotations

from typing import Any

import pytest

BAD = {
    "unknown-key": ('[api]\n\nprojct_id = "x"\n', 3, "api.projct_id: there is no such", "mean project_id"),
    "unknown-table": ("[dispach]\n", 1, "dispach: there is no such setting", "did you mean dispatch"),
    "unknown-in-source": ('[sources.ehr]\ntimezon = "UTC"\n', 2, "sources.ehr.timezon", "mean timezone"),
    "wrong-type": ('\n[dispatch]\nmax_in_flight = "many"\n', 3, "dispatch.max_in_flight", "whole number"),
    "no-duration": ('[dispatch]\nmin_gap = "soon"\n', 2, "dispatch.min_gap", '"4h"'),
    "no-address": ('[api]\nurl = "http://api.example"\n', 2, "api.url", "use https"),
    "no-zone": ('[sources.ehr]\ntimezone = "Mars/Base"\n', 2, "sources.ehr.timezone", "America/New_York"),
    "a-value-for-a-table": ("api = 5\n", 1, "api", "a table belongs here"),
    "bad-toml": ('[api]\nurl = "https://api.example\n', 2, "not TOML", ""),
    "no-value": ("[api]\nurl =\n", 2, "not TOML", ""),
    "key-twice": ('[api]\nurl = "https://a.example"\nurl = "https://b.example"\n', 3, "not TOML", ""),
}  # fmt: skip
"""What bridge.toml says, the line to be named, and what is said of it."""


def rows(bridge: Any, *arguments: str) -> dict[str, dict[str, Any]]:
    """`config show --json` by key."""
    ran = bridge(*arguments, "config", "show", "--json")
    assert ran.code == 0, ran.err
    return {row["key"]: row for row in ran.json}


def test_each_setting_is_shown_with_where_it_was_given(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment beats the file; secrets never show."""
    bridge.settings("https://api.example", key="very-secret")
    monkeypatch.setenv("FHIR_BRIDGE_API_URL", "https://other.example")
    found = rows(bridge)
    assert (found["api.url"]["value"], found["api.url"]["origin"]) == (
        "https://other.example",
        "environment FHIR_BRIDGE_API_URL",
    )
    assert found["api.key"] == {"key": "api.key", "value": "***", "origin": "bridge.toml:4"}
    ran = bridge("config", "show")
    assert "very-secret" not in ran.out + ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "…" not in ran.out, "no value may be cut: it is there to be copied"


def test_a_secret_that_is_not_there_is_told(bridge: Any) -> None:
    """What sends would not start; who looks at the settings before learns it here."""
    (bridge.folder / "bridge.toml").write_text('[api]\nkey = { env = "NOWHERE" }\n')
    ran = bridge("config", "show")
    assert (ran.code, "bridge.toml:2: api.key: the secret is not there" in ran.err) == (0, True)


def test_defaults_show_on_demand(bridge: Any) -> None:
    """--all lists the rest, and without it their number is said."""
    assert "--all shows them" in bridge("config", "show").err
    assert "dispatch.min_gap" in bridge("config", "show", "--all").out


def test_the_flag_beats_the_variable_beats_the_folder(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, FHIR_BRIDGE_CONFIG, ./bridge.toml: the first there is."""
    for name in ("bridge", "variable", "flag"):
        (bridge.folder / f"{name}.toml").write_text(f'[api]\nurl = "https://{name}.example"\n')
    assert rows(bridge)["api.url"]["value"] == "https://bridge.example"
    monkeypatch.setenv("FHIR_BRIDGE_CONFIG", "variable.toml")
    assert rows(bridge)["api.url"]["value"] == "https://variable.example"
    assert rows(bridge, "--config", "flag.toml")["api.url"]["value"] == "https://flag.example"


def test_a_flag_of_a_run_beats_the_source_s_own_rule(bridge: Any, hospital: Any) -> None:
    """--set over the file."""
    bridge.settings("https://api.example", '[sources.ehr]\nincomplete_address = "reject"\n')
    file = hospital.proposed(address=[])
    strict = bridge("map", file, "--format", "decisions").lines[0]
    loose = bridge("map", file, "--set", "incomplete_address=omit", "--format", "decisions").lines[0]
    assert (strict["reason"], loose["decision"]) == ("address-incomplete", "call")


def test_the_ledger_is_named_by_the_environment(
    bridge: Any, hospital: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FHIR_BRIDGE_LEDGER is a path or a URL; the file beside bridge.toml is not made then."""
    bridge.settings(endpoint().url)
    monkeypatch.setenv("FHIR_BRIDGE_LEDGER", "elsewhere.db")
    assert bridge("submit", hospital.proposed()).code == 0
    assert (bridge.folder / "elsewhere.db").is_file()
    assert not (bridge.folder / "fhir-bridge.db").exists()
    monkeypatch.setenv("FHIR_BRIDGE_LEDGER", f"sqlite:///{bridge.folder}/elsewhere.db")
    assert bridge("status", "--json").json["states"] == {"sent": 1}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_setting_is_named_with_file_line_and_key(bridge: Any, hospital: Any, name: str) -> None:
    """Exit code 3 for every command that reads settings, before it does anything."""
    text, line, words, more = BAD[name]
    (bridge.folder / "bridge.toml").write_text(text)
    for command in (["config", "show"], ["map", hospital.proposed()], ["status"], ["worker", "--drain"]):
        ran = bridge(*command)
        assert (ran.code, ran.out) == (3, ""), command
        assert ran.err.startswith(f"error: bridge.toml:{line}: "), ran.err
        assert words in ran.err
        assert more in ran.err
    assert not list(bridge.folder.glob("*.db"))


def test_every_mistake_is_said_at_once(bridge: Any) -> None:
    """One line each."""
    (bridge.folder / "bridge.toml").write_text('[api]\nurl = "x"\nkye = "y"\n[dispatch]\nmin_gap = "z"\n')
    ran = bridge("config", "show")
    assert len(ran.err.splitlines()) == 3
    for place in ("bridge.toml:2: api.url", "bridge.toml:3: api.kye", "bridge.toml:5: dispatch.min_gap"):
        assert place in ran.err


def test_a_file_of_settings_that_is_not_there_is_named(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whom it was named, too."""
    ran = bridge("--config", "nowhere.toml", "status")
    assert ran.code == 3
    assert "nowhere.toml: there is no such file (--config names it)" in ran.err
    monkeypatch.setenv("FHIR_BRIDGE_CONFIG", "neither.toml")
    assert "(FHIR_BRIDGE_CONFIG names it)" in bridge("map", "x.json").err


def test_a_secret_that_cannot_be_found_stops_what_sends(bridge: Any, hospital: Any) -> None:
    """Naming key and place; looking needs no secrets."""
    bridge.settings("https://api.example")
    text = (bridge.folder / "bridge.toml").read_text()
    (bridge.folder / "bridge.toml").write_text(text.replace('key = "key"', 'key = { file = "no.key" }'))
    for command in (["submit", hospital.proposed()], ["worker", "--drain"]):
        ran = bridge(*command)
        assert ran.code == 3
        assert "bridge.toml:4: api.key" in ran.err
    assert bridge("status").code == 0
    assert bridge("submit", hospital.proposed(), "--dry-run").code == 0
