"""Files that are there whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fhir_bridge.errors import UsageError


@contextlib.contextmanager
def whole_file(name: str) -> Iterator[TextIO]:
    """A text file to write, for its owner only, as it may name patients; `-` is standard output.

    Where writing fails the file that was there before stays; a link stays one. A device or a pipe is written
    to and never replaced: /dev/null must stay what it is. Raises UsageError where it cannot be written.
    """
    path = Path(name)
    if name == "-":
        yield sys.stdout
        return
    if path.exists() and not path.is_file():
        try:
            with path.open("w", encoding="utf-8", newline="") as stream:
                yield stream
        except OSError as error:
            raise _unwritable(name, error) from None
        return
    path = path.resolve()
    beside = path.with_name(f"{path.name}.tmp")
    try:
        descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    except OSError as error:
        raise _unwritable(name, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _unwritable(name, error) from None
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _unwritable(name: str, error: OSError) -> UsageError:
    return UsageError(f"{name} cannot be written: {error.strerror}", hint="Make room, or name another place.")
