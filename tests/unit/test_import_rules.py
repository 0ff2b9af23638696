"""Who may import whom (architecture, rule 1), and what loads with what (performance)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fhir_bridge

PACKAGE = Path(fhir_bridge.__file__).parent
CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
FOLDERS = sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")
MAPPING = sorted((PACKAGE / "mapping").glob("*.py"))

OWN_ALLOWED = (
    "fhir_bridge.mapping",
    "fhir_bridge.case.case",
    "fhir_bridge.case.chain",
    "fhir_bridge.case.links",
    "fhir_bridge.case.once",
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
        "inspect",
        "itertools",
    }
    | {"operator", "re", "string", "typing", "unicodedata", "zoneinfo"}
)
"""Of the standard library: nothing that reads a clock by itself, a file, the environment, or rolls dice."""


@cache
def imports(module: Path) -> list[str]:
    """The full names a module imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


HOMES = {
    "aiohappyeyeballs": {"task_api"},
    "aiosqlite": {"ledger"},
    "alembic": {"ledger"},
    "click": {"cli"},
    "cryptography": {"ledger"},
    "fhirpathpy": {"profiles"},
    "httptools": {"task_api"},
    "httpx": {"cli", "fhir_client", "network", "sandbox", "task_api"},
    "joserfc": {"fhir_client"},
    "lz4": {"ledger"},
    "obstore": {"intake"},
    "psycopg": {"ledger"},
    "pyarrow": {"cluster", "migration"},
    "pyspark": {"cluster"},
    "rich": {"cli"},
    "sqlalchemy": {"ledger"},
    "prometheus_client": {"webhook"},
    "starlette": {"http_server", "sandbox", "webhook"},
    "structlog": {"cli", "dispatch", "logs", "processing", "subscriptions", "webhook"},
    "uvicorn": {"http_server", "sandbox", "webhook"},
    "uvloop": {"cli"},
}
"""Libraries that these parts alone know, so that another may take their place."""


OUTERMOST = ("app", "cli")
"""Folders that put the others together; `app` comes before `cli`."""


def allowed() -> dict[str, set[str]]:
    """What CONTRIBUTING lets each folder import, but for those that may import everything."""
    rows = re.findall(r"^\| `(\w+)/` \|.*\| (.*) \|$", CONTRIBUTING.read_text(), re.MULTILINE)
    return {folder: set(re.findall(r"`(\w+)`", cell)) for folder, cell in rows if folder not in OUTERMOST}


def own_imports(folder: str) -> set[tuple[str, str]]:
    """The parts of the bridge that a folder's modules import, each with the module that does."""
    return {
        (name.split(".")[1], file.relative_to(PACKAGE).as_posix())
        for file in (PACKAGE / folder).rglob("*.py")
        for name in imports(file)
        if name.startswith("fhir_bridge.") and name.split(".")[1] != folder
    }


def test_contributing_describes_every_folder_and_module() -> None:
    """A part that nobody wrote down is a part nobody finds."""
    assert sorted([*allowed(), *OUTERMOST]) == FOLDERS
    text = CONTRIBUTING.read_text()
    assert [name for name in MODULES if f"`{name}.py`" not in text] == []


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name not in OUTERMOST])
def test_a_folder_imports_what_contributing_lets_it(folder: str) -> None:
    """The third column of the table, to the letter."""
    may = allowed()[folder]
    assert [(part, module) for part, module in sorted(own_imports(folder)) if part not in may] == []


def test_the_wiring_knows_no_command() -> None:
    """Whoever starts the bridge from other code than the command line uses it as it is."""
    assert not [module for part, module in own_imports("app") if part == "cli"]


def test_no_folder_leads_back_to_itself() -> None:
    """What CONTRIBUTING allows has no circle; `static_order` raises CycleError for one."""
    order = list(TopologicalSorter(allowed()).static_order())
    assert order.index("fhir") < order.index("mapping") < order.index("ledger") < order.index("dispatch")


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_library_stays_where_it_belongs(library: str) -> None:
    """No SQL outside the ledger, no terminal outside the command line."""
    users = {
        file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for file in PACKAGE.rglob("*.py")
        if any(name.partition(".")[0] == library for name in imports(file))
    }
    assert users <= HOMES[library]


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
    """The tests of every module would pass over an empty folder."""
    assert len(MAPPING) > 30
