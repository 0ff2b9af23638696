"""What a FHIR server double does wrong on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Instead of the answer to requests whose `METHOD /path?query` matches: a status with a body and headers,
    `seconds` of silence before it. It happens `times` times (None: always)."""

    matching: str = ""
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    times: int | None = 1
    seen: int = 0

    def strikes(self, request: str) -> bool:
        """Whether it is this request's turn; counts it."""
        if self.times is not None and self.seen >= self.times:
            return False
        if not re.search(self.matching, request):
            return False
        self.seen += 1
        return True
