from pathlib import Path

import pytest

from fhir_bridge.errors import SettingsError
from fhir_bridge.sandbox.faults import Fault, FaultPlayer, FaultScript


def struck(script: FaultScript, requests: int, method: str = "POST", path: str = "/v1/task") -> list[int]:
    """The numbers, from 1, of the requests that a fault strikes."""
    player = FaultPlayer(script)
    return [number for number in range(1, requests + 1) if player.on_request(method, path)[1] is not None]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("drop-after", [1, 2, 3, 4, 5, 6, 7]),
        ("drop-after POST /v1/task", [1, 2, 3, 4, 5, 6, 7]),
        ("drop-after * /v1/*", [1, 2, 3, 4, 5, 6, 7]),
        ("drop-after GET", []),
        ("drop-after POST /v1/patient", []),
        ("drop-after nth=2", [2]),
        ("drop-after nth=1,4-6", [1, 4, 5, 6]),
        ("drop-after times=2", [1, 2]),
        ("drop-after nth=3-9 times=2", [3, 4]),
        ("drop-after share=0", []),
    ],
)
def test_a_rule_strikes_the_requests_it_names(rule: str, expected: list[int]) -> None:
    """Method, path, ordinal numbers, number of times, chance."""
    assert struck(FaultScript.parse([rule]), 7) == expected


def test_a_chance_is_drawn_from_the_seed() -> None:
    """The same script plays the same way again; another seed another way; about as often as it says."""
    runs = [struck(FaultScript.parse(["drop-after share=0.3"], seed), 1000) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert 240 < len(runs[0]) < 360


def test_the_first_rule_that_fires_wins_and_latency_adds_up() -> None:
    """Waiting goes with any other fault; two other faults cannot both strike one request."""
    lines = [
        "latency seconds=1",
        "drop-after nth=1",
        "garbage",
        "latency GET seconds=9",
        "latency seconds=0.5",
    ]
    player = FaultPlayer(FaultScript.parse(lines))
    strikes = [player.on_request("POST", "/v1/task") for _ in range(2)]
    assert [delay for delay, _ in strikes] == [1.5, 1.5]
    assert [rule and rule.fault for _, rule in strikes] == [Fault.DROP_AFTER, Fault.GARBAGE]


def test_nth_counts_requests_not_leftovers() -> None:
    """A rule counts also the requests that an earlier rule strikes."""
    script = FaultScript.parse(["drop-after nth=1", "garbage nth=2"])
    assert struck(script, 3) == [1, 2]


def test_refuse_counts_connections() -> None:
    """A refused connection never shows what it was going to ask."""
    player = FaultPlayer(FaultScript.parse(["refuse nth=2"]))
    assert [player.on_connection() for _ in range(3)] == [False, True, False]
    assert player.on_request("POST", "/v1/task") == (0.0, None)


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_says_whether_the_request_was_processed(fault: Fault) -> None:
    """What a test of in-doubt outcomes is about."""
    processed = {"drop-after", "reset-after", "hang-after", "status-after", "garbage", "truncated"}
    assert fault.is_processed == (fault.value in processed)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "begins with none of"),
        ("explode POST", "begins with none of"),
        ("drop-after POST /v1/task extra", "expected FAULT"),
        ("refuse POST", "refuse takes no METHOD"),
        ("drop-after post", "METHOD is in capitals"),
        ("drop-after POST v1/task", "PATH begins with"),
        ("latency", "latency needs seconds="),
        ("drop-after when=now", "unknown key when"),
        ("drop-after nth=second", "nth is a whole number"),
        ("drop-after nth=", "nth is a whole number"),
        ("drop-after share=2", "share is a number from 0 to 1"),
        ("drop-after share=nan", "share is a number from 0 to 1"),
        ("drop-after times=-1", "times is a whole number"),
        ("status-before code=42", "code is an HTTP status"),
        ("latency seconds=soon", "seconds is a number"),
    ],
)
def test_a_rule_that_cannot_be_read_is_named_by_its_number(rule: str, words: str) -> None:
    """A fault that silently never comes would make its test pass for nothing."""
    with pytest.raises(SettingsError, match=f"rule 2: .*{words}"):
        FaultScript.parse(["garbage", rule])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.yaml", "- garbage\n- drop-after nth=2\n"),
        ("seeded.yaml", "seed: 7\nrules:\n  - garbage\n  - drop-after nth=2\n"),
        ("seeded.json", '{"seed": 7, "rules": ["garbage", "drop-after nth=2"]}'),
    ],
)
def test_a_script_is_read_from_yaml_or_json(tmp_path: Path, name: str, content: str) -> None:
    """A list of rules, or a seed and the rules."""
    path = tmp_path / name
    path.write_text(content)
    seed = 7 if "seed" in content else 0
    assert FaultScript.read(path) == FaultScript.parse(["garbage", "drop-after nth=2"], seed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- garbage\n- explode\n", "rule 2"),
        ("- garbage\n- [\n", "line"),
        ("rules: garbage\n", "list of texts"),
        ("rules: [1]\n", "list of texts"),
        ("seed: x\nrules: []\n", "seed is a whole number"),
        ("faults: []\n", "expected a list of rules"),
        ("", "expected a list of rules"),
    ],
)
def test_a_file_that_is_no_script_is_named(tmp_path: Path, content: str, words: str) -> None:
    """File, and rule or line."""
    path = tmp_path / "faults.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        FaultScript.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(SettingsError, match=r"none\.yaml"):
        FaultScript.read(tmp_path / "none.yaml")


MANUAL = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", Fault)
def test_the_manual_has_every_fault(fault: Fault) -> None:
    """A fault nobody can find is never played."""
    assert f"`{fault.value}`" in MANUAL


def test_the_manuals_script_can_be_played(tmp_path: Path) -> None:
    """What the manual shows is read and does what its comments say."""
    path = tmp_path / "faults.yaml"
    path.write_text(MANUAL.partition("```yaml\n")[2].partition("```")[0])
    script = FaultScript.read(path)
    player = FaultPlayer(script)
    strikes = [player.on_request("POST", "/v1/task") for _ in range(6)]
    assert script.seed == 7
    assert [delay for delay, _ in strikes] == [0.2] * 6
    assert strikes[1][1] == script.rules[0]
    assert [number for number, (_, rule) in enumerate(strikes, 1) if rule and rule.code == 429] == [3, 4, 5]
