"""What tests of every level share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Third-party FHIR files to read (FHIR_BRIDGE_CORPORA, else ../shared/corpora beside the checkout)."""
    root = Path(__file__).parents[1]
    path = (root / os.environ.get("FHIR_BRIDGE_CORPORA", "../shared/corpora")).resolve()
    if not path.is_dir():
        pytest.skip("no corpora: set FHIR_BRIDGE_CORPORA to a folder of FHIR files")
    return path
