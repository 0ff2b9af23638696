import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fhir_bridge

PACKAGE = Path(fhir_bridge.__file__).parent
MAPPING = sorted((PACKAGE / "mapping").glob("*.py"))

OWN_ALLOWED = (
    "fhir_bridge.mapping",
    "fhir_bridge.case.case",
    "fhir_bridge.case.chain",
    "fhir_bridge.case.links",
    "fhir_bridge.case.people",
    "fhir_bridge.errors",
    "fhir_bridge.fhir.datatypes",
    "fhir_bridge.fhir.dates",
    "fhir_bridge.fhir.references",
    "fhir_bridge.fhir.resource",
    "fhir_bridge.fhir.views",
    "fhir_bridge.task_api.models",
)
"""What the mapping may know of the rest: what a case is made of, and what the endpoint wants."""

LIBRARIES = frozenset({"babel", "jinja2", "markupsafe", "msgspec", "phonenumbers", "stdnum"})
"""Libraries without I/O of their own."""

STANDARD = frozenset(
    {
        "__future__",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "html",
        "itertools",
    }
    | {"operator", "re", "string", "typing", "unicodedata", "zoneinfo"}
)
"""Of the standard library: nothing that reads a clock by itself, a file, the environment, or rolls dice."""


def imports(module: Path) -> Iterator[str]:
    """The full names a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MAPPING, ids=lambda module: module.stem)
def test_mapping_imports_inward_only(module: Path) -> None:
    """architecture, rule 1: views, wire models, errors and pure libraries."""
    strangers = [
        name
        for name in imports(module)
        if not name.startswith(OWN_ALLOWED) and name.partition(".")[0] not in LIBRARIES | STANDARD
    ]
    assert strangers == []


@pytest.mark.parametrize("module", MAPPING, ids=lambda module: module.stem)
def test_mapping_asks_no_clock_and_no_dice(module: Path) -> None:
    """`now` is an argument; a call of now(), today() or utcnow() would make two answers of one question."""
    calls = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
    asked = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute)]
    assert not {"now", "today", "utcnow", "getenv"} & set(asked)
    assert not {"print", "open", "input"} & {
        call.func.id for call in calls if isinstance(call.func, ast.Name)
    }


def _loaded_after(code: str) -> set[str]:
    """The modules a fresh interpreter holds after running some code."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


HEAVY = {"sqlalchemy", "httpx", "structlog", "fhir.resources", "alembic", "uvicorn", "starlette"}


def test_mapping_a_file_loads_nothing_it_does_not_need() -> None:
    """performance, start of the CLI: `map` imports no SQLAlchemy, httpx, structlog, fhir.resources."""
    assert not HEAVY & _loaded_after("import fhir_bridge.cli.map")


def test_deciding_loads_nothing_it_does_not_need() -> None:
    """Nor does the mapping by itself; babel comes with the first country that is written out."""
    assert not (HEAVY | {"fhirpathpy"}) & _loaded_after("import fhir_bridge.mapping.decide")


def test_the_package_has_its_mapping() -> None:
    """The two tests above would pass over an empty folder."""
    assert len(MAPPING) > 30
