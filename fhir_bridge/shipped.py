"""Where the layers and stories are that ship with the bridge: the wheel's `_data`, or a checkout's top."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PACKAGE = "fhir_bridge"


def mappings() -> Traversable:
    """The folder of layers: base.yaml, jurisdictions/, vendors/, concept-maps/. Raises FileNotFoundError."""
    return _folder("mappings")


def fixtures() -> Traversable:
    """The folder of the made-up hospital's stories. Raises FileNotFoundError."""
    return _folder("fixtures")


def _folder(name: str) -> Traversable:
    package = files(PACKAGE)
    installed = package / "_data" / name
    if installed.is_dir():
        return installed
    checkout = Path(str(package)).parent / name
    if checkout.is_dir():
        return checkout
    raise FileNotFoundError(f"{name} is in neither {installed} nor {checkout}: the installation is broken")
