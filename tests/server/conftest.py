"""Medplum's FHIR router as a process of its own; `make test-server` brings it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
TOKEN = "token"


@dataclass(frozen=True)
class Medplum:
    """It at `base`, a FHIR base; all but `seed` is asked for as any client asks."""

    base: str

    def seed(self, *resources: dict[str, Any]) -> None:
        """Have it keep resources under the ids and instants they have."""
        self._control("seed", resources)

    def be_silent(self, silent: bool) -> None:
        """Whether changes are told to nobody."""
        self._control("silent", silent)

    @property
    def asked(self) -> list[str]:
        """What it was asked, each as `GET Patient/p1`."""
        return list(httpx.get(self._own("asked"), trust_env=False).json())

    def create(self, resource: dict[str, Any]) -> dict[str, Any]:
        """As it keeps it, under an id of its choosing."""
        return self._ask("POST", resource["resourceType"], resource)

    def update(self, resource: dict[str, Any]) -> dict[str, Any]:
        """In the place of the one there."""
        return self._ask("PUT", f"{resource['resourceType']}/{resource['id']}", resource)

    def delete(self, label: str) -> None:
        """`Type/id` is taken away."""
        self._ask("DELETE", label)

    def every(self, kind: str) -> list[dict[str, Any]]:
        """All of a type, a page of at most a thousand."""
        bundle = self._ask("GET", f"{kind}?_count=1000")
        return [entry["resource"] for entry in bundle.get("entry", [])]

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"}
        content = json.dumps(body) if body is not None else None
        told = httpx.request(method, self.base + path, headers=headers, content=content, trust_env=False)
        told.raise_for_status()
        answer: dict[str, Any] = told.json()
        return answer

    def _control(self, name: str, body: Any) -> None:
        httpx.post(self._own(name), content=json.dumps(body), trust_env=False).raise_for_status()

    def _own(self, name: str) -> str:
        return self.base.partition("/fhir/")[0] + f"/{name}"


@pytest.fixture
def medplum() -> Iterator[Medplum]:
    """It, empty. Skips where it was not brought."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").is_dir():
        pytest.skip("Medplum's packages are not here: `make test-server` brings them, with npm")
    command = [node, str(HERE / "medplum.mjs")]
    environment = {**os.environ, "PORT": "0", "TOKEN": TOKEN}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield Medplum(process.stdout.readline().strip())
        finally:
            process.kill()
