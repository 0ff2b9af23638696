"""Exports in object stores that we did not write, read over real sockets."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generator import NOW, Export
from fhir_bridge.errors import InputError
from fhir_bridge.intake.bulk import objects
from fhir_bridge.intake.bulk.lines import chunks
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.intake.bulk.workers import alone
from tests.stores.conftest import Store, signature

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
"""Forks of a process that tests run in; the command has one thread when it forks."""


def packed(names: list[Path]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in names:
            archive.write(path, path.name)
    return buffer.getvalue()


def test_a_migration_decides_as_on_the_same_files_in_a_folder(bridge: Any, store: Store) -> None:
    """Plain, gzip and zip, a folder within, a name that an address must quote; other endings are counted."""
    Export(40).write(bridge.folder / "export")
    plain, within, zipped = [], [], []
    for number, path in enumerate(sorted((bridge.folder / "export").iterdir())):
        (plain, within, zipped)[number % 3].append(path)
    for path in plain:
        store.put(path.name, path.read_bytes())
    for path in within:
        store.put(f"a b#c%20/{path.name}.gz", gzip.compress(path.read_bytes()))
    store.put("rest.zip", packed(zipped))
    store.put("notes.txt", b"?")
    there = bridge("migrate", store.url, "--out", "there", "--format", "ndjson", "--now", NOW.isoformat())
    here = bridge("migrate", "export", "--out", "here", "--format", "ndjson", "--now", NOW.isoformat())
    assert (there.code, here.code) == (0, 0), there.err
    calls = [sorted((bridge.folder / name).read_bytes().splitlines()) for name in ("there", "here")]
    assert calls[0] == calls[1]
    assert len(calls[0]) > 20
    assert there.out.splitlines()[0].startswith("200 appointments and orders among 644 resources in 9 files")


def test_many_objects_are_listed_page_by_page(store: Store) -> None:
    """More than the thousand that a page of S3 has."""
    if store.name == "az":
        pytest.skip("Azure has five thousand to a page: they take minutes to put there")
    for number in range(1001):
        store.put(f"many/{number:04}.ndjson", b"{}")
    found = find([f"{store.url}many/"])
    assert not found.problems
    assert [piece.path[-11:-7] for piece in found.pieces] == [f"{number:04}" for number in range(1001)]


def test_what_is_not_there_is_said(store: Store) -> None:
    """An object, and a folder without any."""
    found = find([f"{store.url}none.ndjson", f"{store.url}nothing/"])
    assert [error.code for error in found.problems] == ["no-file", "empty-folder"]
    assert "not there" in str(found.problems[0])


def test_a_key_that_is_not_taken_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its secret."""
    if store.refused is None:
        pytest.skip("this emulator looks at no key")
    for name, value in store.refused.items():
        monkeypatch.setenv(name, value)
    found = find([store.url])
    assert "refused" in str(found.problems[0])
    assert not any(value in str(found.problems[0]) for name, value in store.refused.items() if "KEY" in name)


def test_an_object_that_is_written_anew_meanwhile_is_an_error(store: Store) -> None:
    """Not half of each version."""
    if store.name == "gs":
        pytest.skip("fake-gcs-server does not look at If-Match")
    store.put("anew.ndjson", b'{"resourceType":"Patient"}\n')
    [piece] = find([f"{store.url}anew.ndjson"]).pieces
    store.put("anew.ndjson", b'{"resourceType":"Patient","id":"other"}\n')
    with pytest.raises(InputError, match="written anew"):
        alone(lambda: b"".join(chunks(piece)))


def test_a_shared_access_signature_of_azure_will_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the account's key."""
    if store.name != "az":
        pytest.skip("of Azure")
    store.put("signed.ndjson", b"{}\n")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature())
    [piece] = find([f"{store.url}signed.ndjson"]).pieces
    assert alone(lambda: b"".join(chunks(piece))) == b"{}\n"
    assert objects.is_url(piece.path)
