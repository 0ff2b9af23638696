"""bridge.toml, the environment and flags: which wins, and what is said of one that is wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge.errors import SettingsError, UsageError
from fhir_bridge.profiles.overrides import RULE_NAMES
from fhir_bridge.settings import Loaded, effective, load_settings
from fhir_bridge.settings.load import VARIABLES
from fhir_bridge.settings.toml_lines import key_lines, line_of

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
SMALLEST = f"""
[api]                                  # or FHIR_BRIDGE_API_URL, _KEY, _PROJECT_ID
url = "https://api.example"
project_id = "{PROJECT}"
key = {{ env = "TASK_API_KEY" }}

[dispatch]
calling_hours = "08:00-21:00"          # or "off"

[sources.ehr]
base_url = "https://ehr.example/fhir"
jurisdiction = "US"
vendor = "epic"
timezone = "America/New_York"
hold = "60s"
[sources.ehr.credentials]
bearer = {{ env = "EHR_WEBHOOK_TOKEN" }}
[sources.ehr.client]
client_id = "bridge"
private_key = {{ file = "key.pem" }}
"""
SECRETS = {"TASK_API_KEY": "api-secret", "EHR_WEBHOOK_TOKEN": "hook-secret"}

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a bridge.toml of this text in a folder of its own."""

    def make(
        text: str | None = None, /, need_secrets: bool = True, flags: object = None, **environ: str
    ) -> Loaded:
        if text is not None:
            (tmp_path / "bridge.toml").write_text(text, encoding="utf-8")
        assert flags is None or isinstance(flags, dict)
        return load_settings(environ=environ, flags=flags, working_folder=tmp_path, need_secrets=need_secrets)

    return make


def problem(load: Load, text: str, /, **environ: str) -> str:
    """What is said of a bridge.toml."""
    with pytest.raises(SettingsError) as error:
        load(text, **environ)
    assert error.value.exit_code == 3
    return str(error.value)


def test_the_smallest_useful_file_is_read(load: Load, tmp_path: Path) -> None:
    """Every name of intake, section 3."""
    (tmp_path / "key.pem").write_text("pem-secret\n")
    settings = load(SMALLEST, **SECRETS).settings
    assert settings.endpoint().url == "https://api.example"
    assert settings.endpoint().key.get_secret_value() == "api-secret"
    assert settings.endpoint().project_id == PROJECT
    source = settings.source()
    assert (source.name, source.settings.hold) == ("ehr", timedelta(seconds=60))
    assert source.facts.zone == ZoneInfo("America/New_York")
    assert source.settings.credentials is not None and source.settings.client is not None
    key = source.settings.client.private_key
    assert key is not None and key.get_secret_value() == "pem-secret"


def test_without_a_file_everything_has_its_default(load: Load, tmp_path: Path) -> None:
    """`map` and `migrate` need no settings."""
    settings = load().settings
    source = settings.source()
    assert (source.name, source.facts.jurisdiction, source.facts.zone) == ("default", "US", ZoneInfo("UTC"))
    assert settings.ledger_url() == f"sqlite+aiosqlite:///{tmp_path / 'fhir-bridge.db'}"
    assert settings.dispatch.min_gap == timedelta(hours=4)
    assert settings.dispatch.retry.deadline == timedelta(hours=24)


def test_a_flag_beats_the_environment_which_beats_the_file(load: Load) -> None:
    """And each says so."""
    file = '[api]\nurl = "https://file.example"\n'
    assert load(file).settings.api.url == "https://file.example"
    environ = {"FHIR_BRIDGE_API_URL": "https://environment.example"}
    assert load(file, **environ).settings.api.url == "https://environment.example"
    loaded = load(file, flags={"api.url": "https://flag.example", "api.timeout": None}, **environ)
    assert loaded.settings.api.url == "https://flag.example"
    assert loaded.origins["api", "url"] == "command line"


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_sets_its_key(load: Load, variable: str) -> None:
    """An empty one sets nothing."""
    value = {"FHIR_BRIDGE_API_URL": "https://x.example", "FHIR_BRIDGE_PROJECT_ID": PROJECT}.get(
        variable, "value"
    )
    loaded = load(**{variable: value})
    assert loaded.origins[VARIABLES[variable]] == f"environment {variable}"
    assert not load(**{variable: ""}).origins


def test_the_usual_proxy_variables_are_defaults(load: Load) -> None:
    """bridge.toml beats them (intake, "Reading from a FHIR server")."""
    proxy = load(HTTPS_PROXY="http://proxy.example:3128").settings.network.proxy
    assert proxy is not None and proxy.get_secret_value() == "http://proxy.example:3128"
    own = load(
        '[network]\nproxy = "http://own.example"\n', HTTPS_PROXY="http://proxy.example"
    ).settings.network.proxy
    assert own is not None and own.get_secret_value() == "http://own.example"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """By flag or by variable; the flag wins."""
    with pytest.raises(SettingsError, match=r"gone\.toml: there is no such file \(--config names it\)"):
        load_settings(tmp_path / "gone.toml", environ={})
    with pytest.raises(SettingsError, match=r"other\.toml: .*FHIR_BRIDGE_CONFIG"):
        load_settings(environ={"FHIR_BRIDGE_CONFIG": str(tmp_path / "other.toml")})
    (tmp_path / "here.toml").write_text('[retention]\npayloads = "1d"\n')
    environ = {"FHIR_BRIDGE_CONFIG": str(tmp_path / "other.toml")}
    loaded = load_settings(tmp_path / "here.toml", environ=environ)
    assert loaded.settings.retention.payloads == timedelta(days=1)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data/ledger.db", "sqlite+aiosqlite:///{folder}/data/ledger.db"),
        ("/var/ledger.db", "sqlite+aiosqlite:////var/ledger.db"),
        ("sqlite:////var/l.db", "sqlite+aiosqlite:////var/l.db"),
        ("postgresql://u:p@db/bridge", "postgresql+psycopg://u:p@db/bridge"),
        ("postgresql+asyncpg://db/bridge", "postgresql+asyncpg://db/bridge"),
    ],
)
def test_a_ledger_is_a_url_or_a_path(load: Load, tmp_path: Path, url: str, expected: str) -> None:
    """A relative path counts from bridge.toml."""
    loaded = load(f'[ledger]\nurl = "{url}"\n')
    assert loaded.settings.ledger_url() == expected.format(folder=tmp_path)


def test_paths_count_from_the_file_or_from_the_shell(tmp_path: Path) -> None:
    """A path in the environment is the shell's."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "bridge.toml").write_text('[network]\nca_bundle = "ca.pem"\n')
    config = tmp_path / "etc" / "bridge.toml"
    environ = {"FHIR_BRIDGE_LEDGER": "here.db"}
    settings = load_settings(config, environ=environ, working_folder=tmp_path).settings
    assert settings.network.ca_bundle == tmp_path / "etc" / "ca.pem"
    assert settings.ledger_url() == f"sqlite+aiosqlite:///{tmp_path / 'here.db'}"


def test_a_secret_that_is_missing_names_its_key_and_line(load: Load) -> None:
    """Each of them, at once."""
    said = problem(load, SMALLEST)
    assert "bridge.toml:5: api.key: the environment variable TASK_API_KEY is not set" in said
    assert (
        "bridge.toml:17: sources.ehr.credentials.bearer: the environment variable EHR_WEBHOOK_TOKEN" in said
    )
    assert "bridge.toml:20: sources.ehr.client.private_key: the file" in said


def test_a_command_that_sends_nothing_does_without_secrets(load: Load) -> None:
    """`map` in a checkout of somebody else's bridge.toml works; a malformed secret is still an error."""
    settings = load(SMALLEST, need_secrets=False).settings
    assert settings.api.key is None
    with pytest.raises(SettingsError, match=r"missing: api\.key \(FHIR_BRIDGE_API_KEY\)"):
        settings.endpoint()
    with pytest.raises(SettingsError, match=r"bridge\.toml:2: api\.key: a secret is a text"):
        load('[api]\nkey = { environment = "X" }\n', need_secrets=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[api]\nprojct_id = "x"\n', "2: api.projct_id: there is no such setting (did you mean project_id?)"),
        ("\n[apj]\nx = 1\n", "2: apj: there is no such setting (did you mean api?)"),
        ("api = 5\n", "1: api: a table belongs here"),
        ('folder = "/"\n', "1: folder: there is no such setting"),
        ('[api]\nproject_id = "5"\n', "2: api.project_id: not a UUID"),
        ('[dispatch]\nmin_gap = "4 hours"\n', "2: dispatch.min_gap: not a duration"),
        ("[dispatch]\n\nmax_in_flight = 0\n", "3: dispatch.max_in_flight: Input should be greater than or"),
        ("[dispatch]\nmax_in_flight = true\n", "2: dispatch.max_in_flight: a whole number belongs here"),
        (f"[dispatch]\nmax_in_flight = 1{'0' * 30}\n", "2: dispatch.max_in_flight: Input should be less"),
        ('[dispatch]\npilot = "+12125550100"\n', "2: dispatch.pilot: a list belongs here"),
        ("[sources.ehr]\nbase_url = 5\n", "2: sources.ehr.base_url: a text belongs here"),
        ('[sources.ehr.subscription]\nkeep_active = "never"\n', "keep_active: true or false belongs here"),
        ('[[sources]]\nname = "ehr"\n', "1: sources: a table belongs here"),
        ('[api]\ntimeout = "0s"\n', "2: api.timeout: must be longer than 0"),
        ("[dispatch.retry]\nbase = 1\n", "2: dispatch.retry.base: not a duration"),
        ("[dispatch]\nretry.base = 1\n", "2: dispatch.retry.base: not a duration"),
        ('[dispatch]\nretry = { base = "1s", cap = 5 }\n', "2: dispatch.retry.cap: not a duration"),
        (
            "[dispatch]\nretry_statuses = [500, 429]\n",
            "2: dispatch.retry_statuses.1: Input should be greater",
        ),
        ('[dispatch]\npilot = ["555"]\n', "2: dispatch.pilot.0: not a phone number"),
        ('[dispatch]\nidempotency_header = "a b"\n', "2: dispatch.idempotency_header: not the name"),
        ('[dispatch]\ncalling_hours = "9-5"\n', "2: dispatch.calling_hours: not hours"),
        ('[dispatch.calling_hours]\nweekday = "x"\n', "1: dispatch.calling_hours: weekday: not hours"),
        ('[sources.ehr]\njurisdiction = "usa"\n', "2: sources.ehr.jurisdiction: not an ISO 3166-1"),
        ('[sources.ehr]\ntimezone = "New York"\n', "2: sources.ehr.timezone: none of the IANA"),
        ('[sources.ehr]\nbase_url = "http://ehr.example"\n', "2: sources.ehr.base_url: plain http"),
        ('[sources.ehr]\nphone_chek = "valid"\n', "did you mean phone_check?"),
        ('[sources.ehr]\nvalidation = "hard"\n', "2: sources.ehr.validation: Input should be 'off'"),
        ('[sources."e h r"]\n', "1: sources: a source's name"),
        ('[api]\ntimeout = "3m"\n', "dispatch.lease must be longer than api.timeout"),
        ('["sources"."ehr"]\nhold = 5\n', "2: sources.ehr.hold: not a duration"),
    ],
)
def test_a_wrong_setting_names_file_line_and_key(
    load: Load, tmp_path: Path, text: str, expected: str
) -> None:
    """And, where it can, what was meant."""
    said = problem(load, text)
    assert said.startswith(f"{tmp_path / 'bridge.toml'}:")
    assert expected in said


@pytest.mark.parametrize(
    ("text", "line"),
    [("[api]\nkey = canary x\n", 2), ("[api\n", 1), ('a = 1\na = "canary"\n', 2), ("a = [1,\n", 2)],
)
def test_what_is_no_toml_names_the_line_where_the_parser_does(load: Load, text: str, line: int) -> None:
    """And quotes nothing of it."""
    said = problem(load, text)
    assert "not TOML" in said and "canary" not in said
    assert f"bridge.toml:{line}:" in said or "bridge.toml: not TOML" in said


def test_a_file_that_is_no_text_is_said_so(load: Load, tmp_path: Path) -> None:
    """A Windows editor's UTF-8 mark is none of its business."""
    (tmp_path / "bridge.toml").write_bytes(b"[api]\n# caf\xe9\n")
    with pytest.raises(SettingsError, match=r"bridge\.toml: not UTF-8"):
        load()
    (tmp_path / "bridge.toml").write_bytes(b'\xef\xbb\xbf[retention]\npayloads = "2d"\n')
    assert load().settings.retention.payloads == timedelta(days=2)


def test_a_wrong_variable_is_named_instead_of_the_file(load: Load) -> None:
    """For the file is right."""
    said = problem(load, "[api]\n", FHIR_BRIDGE_PROJECT_ID="canary")
    assert said.startswith("environment FHIR_BRIDGE_PROJECT_ID: api.project_id: not a UUID")
    assert "canary" not in said


def test_no_value_shows_in_an_error(load: Load) -> None:
    """Whatever the type of a setting, and whatever stands in it."""
    texts = [
        '[api]\nkey = { file = "x", env = "canary" }',
        '[api]\nurl = "http://canary.example"',
        '[api]\nproject_id = "canary"',
        '[api]\ntimeout = "canary"',
        '[dispatch]\npilot = ["canary"]',
        '[dispatch]\nrate = "canary"',
        '[dispatch]\nmax_in_flight = "canary"',
        '[dispatch]\ncalling_hours = "canary"',
        '[dispatch]\nidempotency_header = "can ary"',
        '[sources.ehr]\nvalidation = "canary"',
        '[sources.ehr]\ncredentials = "canary"',
        '[sources.ehr.credentials]\nbearer = [["canary"]]',
        '[ledger]\nurl = ["canary"]',
    ]
    for text in texts:
        assert "canary" not in problem(load, text)
        assert "can ary" not in problem(load, text)


def test_secrets_never_show_in_the_settings_themselves(load: Load, tmp_path: Path) -> None:
    """Neither in repr nor in `config show`."""
    (tmp_path / "key.pem").write_text("pem-secret")
    loaded = load(SMALLEST + '[ledger]\nurl = "postgresql://u:db-secret@db/x"\n', **SECRETS)
    shown = repr(loaded) + repr(effective(loaded))
    assert not any(secret in shown for secret in ("api-secret", "hook-secret", "pem-secret", "db-secret"))
    assert "***" in shown


def test_config_show_says_where_each_setting_came_from(load: Load, tmp_path: Path) -> None:
    """File and line, environment, command line, or default; every setting once."""
    loaded = load(
        '[api]\nurl = "https://a.example"\n[sources.ehr]\nphone_check = "valid"\nhold = "5m"\n',
        flags={"dispatch.max_in_flight": 2},
        FHIR_BRIDGE_API_KEY="k",
    )
    rows = {row.key: row for row in effective(loaded)}
    file = tmp_path / "bridge.toml"
    assert (rows["api.url"].value, rows["api.url"].origin) == ("https://a.example", f"{file}:2")
    assert (rows["api.key"].value, rows["api.key"].origin) == ("***", "environment FHIR_BRIDGE_API_KEY")
    assert (rows["dispatch.max_in_flight"].value, rows["dispatch.max_in_flight"].origin) == (
        "2",
        "command line",
    )
    assert (rows["dispatch.retry.cap"].value, rows["dispatch.retry.cap"].origin) == ("5m", "default")
    assert (rows["sources.ehr.hold"].value, rows["sources.ehr.hold"].origin) == ("5m", f"{file}:5")
    assert rows["sources.ehr.rules.phone_check"].origin == f"{file}:4"
    assert len(rows) == len(effective(loaded))


def test_several_sources_must_be_told_apart(load: Load) -> None:
    """The source is part of an intent's key (intake, section 3)."""
    settings = load("[sources.a]\n[sources.b]\n").settings
    assert settings.source("b").name == "b"
    assert settings.source().name == "default"
    with pytest.raises(UsageError, match="several sources are set: say which with --source") as error:
        settings.source(demand=True)
    assert error.value.hint == "there are a, b"
    with pytest.raises(UsageError, match="there is no source 'default'"):
        settings.source("default")


def test_a_source_that_is_not_set_is_a_usage_error(load: Load) -> None:
    """With no sources set there is `default`."""
    settings = load().settings
    assert settings.source("default", demand=True).name == "default"
    with pytest.raises(UsageError, match="there is no source 'ehr'") as raised:
        settings.source("ehr")
    assert "leave --source out" in str(raised.value.hint)


def test_any_short_name_may_stand_in_a_sources_table(load: Load) -> None:
    """Beside `rules`, which also takes the layers' own keys."""
    names = "".join(f'{name} = "1"\n' for name in RULE_NAMES)
    text = f'[sources.ehr]\n{names}[sources.ehr.rules]\n"context.limit" = 500\n'
    assert dict(load(text).settings.source().settings.rules) == {
        **dict.fromkeys(RULE_NAMES, "1"),
        "context.limit": 500,
    }


def test_settings_cannot_be_changed(load: Load) -> None:
    """Read once, frozen."""
    settings = load().settings
    with pytest.raises(Exception, match="frozen"):
        settings.api.url = "https://other.example"


def test_the_line_of_a_key_is_not_confused_by_long_texts() -> None:
    """A key inside a text is none; quoted and dotted keys are keys."""
    text = 'a = """\n[b]\nc = 1\n"""\n[b]\n"c d".e = 1 # x\n[b.f] # y\ng = [\n  1,\n]\n'
    lines = key_lines(text)
    assert lines == {("a",): 1, ("b",): 5, ("b", "c d", "e"): 6, ("b", "f"): 7, ("b", "f", "g"): 8}
    assert line_of(lines, ("b", "f", "g", "0")) == 8
    assert line_of(lines, ("z",)) is None


@pytest.mark.parametrize("period", ["0s", "23h"])
def test_payloads_are_kept_for_a_day_at_least(tmp_path: Path, period: str) -> None:
    """Four times the period must outlast a weekend, or what waits for Monday is lost."""
    (tmp_path / "bridge.toml").write_text(f'[retention]\npayloads = "{period}"\n')
    with pytest.raises(SettingsError, match=r"bridge\.toml:2: retention\.payloads: must be at least 1d"):
        load_settings(environ={}, working_folder=tmp_path)


def test_the_key_that_writes_comes_first_and_none_is_printed(tmp_path: Path) -> None:
    """From the environment, a file or the text; `config show` has no part of them."""
    keys = [b64encode(bytes([number]) * 32).decode() for number in range(3)]
    (tmp_path / "old.key").write_text(keys[1] + "\n")
    (tmp_path / "bridge.toml").write_text(
        '[ledger]\nencryption_key = { env = "LEDGER_KEY" }\naudit_key = "our own"\n'
        f'old_encryption_keys = [{{ file = "old.key" }}, "{keys[2]}"]\n'
    )
    loaded = load_settings(environ={"LEDGER_KEY": keys[0]}, working_folder=tmp_path)
    assert loaded.settings.encryption_keys() == keys
    shown = repr(loaded) + "".join(str(row) for row in effective(loaded))
    assert not any(key in shown for key in (*keys, "our own"))
