"""Why a message failed or waits, besides the codes of what cannot be read."""

from __future__ import annotations

NOTHING_TO_READ_FROM = "nothing-to-read-from"
"""It names what changed without bringing it, and nothing says where to read it."""

NO_SUCH_SOURCE = "no-such-source"
"""Its source is not in the settings any more."""

SOURCE_UNREACHABLE = "source-unreachable"
"""What it names could not be read from the source's FHIR server."""

NOT_FOUND = "not-found"
"""The source's server does not know what it names."""

FOREIGN_REFERENCE = "foreign-reference"
"""It names something on another server than the source's: never fetched."""

GIVEN_UP = "given-up"
"""Whoever processed it ended each time."""

PAYLOADS_CLEARED = "payloads-cleared"
"""Retention has cleared its body before it was processed."""

FAULT = "fault"
"""A fault of fhir-bridge itself; the log says where."""
