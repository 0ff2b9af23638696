"""Where one request stands, and so whether its first byte can have left (delivery).

Whether somebody may be phoned twice hangs on this, so it is never judged from an exception's class. The
transport is our own (`connections`, `connection`, `answer`) because that makes the proof short: the bytes of
a request are handed to the socket by one line of code, in `Connection.send`, and the line before it says so
here. Until then the request waits for a place, a connection, a handshake or a proxy's tunnel, and each of
these names itself before it begins. asyncio does the sockets and TLS, and llhttp, the parser of Node.js
(`httptools`), reads the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

EXTENSION = "fhir_bridge.progress"


class Stage(StrEnum):
    """How far a request has come."""

    UNPROVED = "unproved"
    POOL = "pool"
    CONNECT = "connect"
    TLS = "tls"
    PROXY = "proxy"
    REQUEST = "request"
    ANSWER = "answer"


_BEFORE_FIRST_BYTE = frozenset({Stage.POOL, Stage.CONNECT, Stage.TLS, Stage.PROXY})
_AFTER_FIRST_BYTE = frozenset({Stage.REQUEST, Stage.ANSWER})


@dataclass(slots=True)
class Progress:
    """Where one request stands; put into its extensions, kept up to date by the transport.

    A transport that does not report leaves it unproved: it can cost an in-doubt, never a second call.
    """

    stage: Stage = Stage.UNPROVED

    @property
    def before_first_byte(self) -> bool:
        """Whether it is proved that no byte of the request has left."""
        return self.stage in _BEFORE_FIRST_BYTE

    def reach(self, stage: Stage) -> None:
        """Say what begins now; once a byte may have left there is no way back."""
        if self.stage not in _AFTER_FIRST_BYTE or stage in _AFTER_FIRST_BYTE:
            self.stage = stage
