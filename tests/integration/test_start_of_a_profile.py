"""What a fresh process pays for its rules."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.settings import load_settings
load_settings(environ={})
load_profile(SourceFacts(jurisdiction="GB", vendor="epic"))
print(*sorted(sys.modules))
"""


def test_a_profile_costs_no_slow_parser_and_no_network(tmp_path: object) -> None:
    """`map` starts without ruamel.yaml, SQLAlchemy, httpx, structlog and fhir.resources (performance.md)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=str(tmp_path)
    )
    loaded = set(done.stdout.split())
    assert "yaml12" in loaded
    assert not loaded & {
        "ruamel.yaml",
        "sqlalchemy",
        "httpx",
        "structlog",
        "fhir.resources",
        "babel",
        "phonenumbers",
        "fhirpathpy",
        "antlr4",
    }
