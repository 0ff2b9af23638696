"""Where layers and stories are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhir_bridge import shipped


def test_a_checkout_has_them_at_its_top() -> None:
    """The very folders, whatever the working folder is; a wheel has them in `_data`."""
    top = Path(__file__).parents[2]
    assert Path(str(shipped.mappings())) == top / "mappings"
    assert Path(str(shipped.fixtures())) == top / "fixtures"


def test_an_installed_package_has_them_beside_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the package wins over what lies beside it."""
    package = tmp_path / "installed_bridge"
    (package / "_data" / "mappings").mkdir(parents=True)
    (tmp_path / "mappings").mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(shipped, "PACKAGE", "installed_bridge")
    assert Path(str(shipped.mappings())) == package / "_data" / "mappings"
    with pytest.raises(FileNotFoundError, match="fixtures is in neither"):
        shipped.fixtures()
