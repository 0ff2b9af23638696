"""docs/configuration.md names every setting with its default, every variable and every short name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from fhir_bridge.profiles.overrides import FACT_NAMES, RULE_NAMES
from fhir_bridge.settings import Settings, load_settings
from fhir_bridge.settings.load import CONFIG_VARIABLE, FALLBACKS, VARIABLES
from fhir_bridge.settings.problems import table_of
from fhir_bridge.settings.tables import SourceSettings
from fhir_bridge.settings.values import duration, rate

MANUAL = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def settings(model: type[BaseModel], table: str) -> Iterator[tuple[str, str, object]]:
    """Every setting: its table as headed in the manual, its key, its default."""
    for key, field in model.model_fields.items():
        inner = table_of(model, key)
        if key == "sources":
            yield from settings(SourceSettings, "sources.NAME")
        elif inner is not None:
            yield from settings(inner, f"{table}.{key}".removeprefix("."))
        elif not field.exclude:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield table, key, default


ALL = list(settings(Settings, ""))


def section(table: str) -> str:
    """The manual's text under a table's heading."""
    parts = re.split(rf"^#+ `\[{re.escape(table)}\]`.*$", MANUAL, flags=re.MULTILINE)
    assert len(parts) == 2, f"[{table}] has no heading of its own"
    return re.split(r"^#", parts[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("table", "key", "default"), ALL, ids=[f"{table}.{key}" for table, key, _ in ALL])
def test_every_setting_is_explained_with_its_default(table: str, key: str, default: object) -> None:
    """In a row of its table."""
    row = re.search(rf"^\| `{key}` \| (`(.+?)`|–) \| (.+) \|$", section(table), re.MULTILINE)
    assert row is not None, f"{table}.{key} has no row"
    written = row[2]
    if isinstance(default, timedelta):
        assert duration(written) == default
    elif isinstance(default, bool):
        assert written == str(default).lower()
    elif isinstance(default, float):
        assert rate(written) == default
    else:
        assert written == (str(default) if default not in (None, (), {}) else None)


def test_the_manual_names_no_setting_there_is_none_of() -> None:
    """A row that outlived its setting misleads."""
    tables = sorted({table for table, _, _ in ALL})
    written = {
        (table, key)
        for table in tables
        for key in re.findall(r"^\| `(\w+)` \|", section(table), re.MULTILINE)
    }
    assert written == {(table, key) for table, key, _ in ALL}


def test_every_variable_is_explained() -> None:
    """With the setting it stands for."""
    for name, path in {**VARIABLES, **FALLBACKS}.items():
        assert re.search(rf"^\| .*`{name}`.* \| `{'.'.join(path)}`", MANUAL, re.MULTILINE), name
    assert f"| `{CONFIG_VARIABLE}` |" in MANUAL


def test_every_short_name_is_explained() -> None:
    """With the key of the layers it sets."""
    for name, key in RULE_NAMES.items():
        assert f"| `{name}` | `{key}` |" in MANUAL
    assert all(f"`{name}`" in section("sources.NAME") for name in FACT_NAMES)


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL))
def test_every_example_is_read(example: str, tmp_path: Path) -> None:
    """As it stands."""
    (tmp_path / "bridge.toml").write_text(example, encoding="utf-8")
    environ = {"TASK_API_KEY": "k", "LEDGER_URL": "postgresql://bridge@db.example/fhir_bridge"}
    environ["EHR_KEY"] = "key"
    assert load_settings(environ=environ, working_folder=tmp_path).origins


def test_the_errors_shown_are_the_errors_given(tmp_path: Path) -> None:
    """The console example of the manual."""
    text = '[api]\nurl = "https://x.example"\nprojct_id = "x"\n\n[dispatch]\n\n\nmin_gap = "4 hours"\n'
    (tmp_path / "bridge.toml").write_text(text)
    with pytest.raises(Exception, match="no such setting") as error:
        load_settings(environ={}, working_folder=tmp_path)
    for line in str(error.value).splitlines():
        assert line.removeprefix(f"{tmp_path}/") in MANUAL
