"""A decision's JSON as the ledger keeps it: packed by LZ4, for a lineage says the same words many times over.

SQLite writes a row anew as a whole whenever its state changes: packed, a call sends half as many bytes to the
disk.
"""

from __future__ import annotations

import lz4.block

WORTH_PACKING = 512
"""Bytes. What is shorter says little twice."""

# No JSON begins so.
_MARK = b"\0LZ4"


def packed(content: bytes) -> bytes:
    """What is kept of it."""
    if len(content) < WORTH_PACKING:
        return content
    shorter: bytes = lz4.block.compress(content)
    return _MARK + shorter


def unpacked(kept: bytes) -> bytes:
    """The JSON; what an earlier release kept as it was is so still."""
    if not kept.startswith(_MARK):
        return kept
    content: bytes = lz4.block.decompress(memoryview(kept)[len(_MARK) :])
    return content
