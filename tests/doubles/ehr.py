"""A whole EHR: SMART Backend Services, resources, Bulk Data, and a source in bridge.toml for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.jwk import ECKey
from starlette.requests import Request

from tests.doubles.bulk_data import BulkData
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.smart import SmartDouble

KEY = ECKey.generate_key("P-384")

SOURCE = """\
[sources.ehr]
base_url = "{url}"
timezone = "America/New_York"
{more}
[sources.ehr.client]
client_id = "bridge"
private_key = {{ file = "key.pem" }}
key_id = "k1"
rate = "1000/s"
[sources.ehr.export]
patience = "3s"
retry_after_cap = "20ms"
{export}
"""


@dataclass
class ShortLived:
    """Lets in whom `smart` does, with each token so many times (None: as often as they like)."""

    smart: SmartDouble
    requests: int | None = None
    _seen: Counter[str] = field(default_factory=Counter)

    def lets_in(self, request: Request) -> bool:
        """See Guard."""
        token = request.headers.get("authorization", "")
        self._seen[token] += 1
        ended = self.requests is not None and self._seen[token] > self.requests
        return not ended and self.smart.lets_in(request)


@dataclass
class Ehr:
    """`bulk.server` has the resources; a token is good for `token_requests` of them."""

    smart: SmartDouble = field(default_factory=SmartDouble)
    token_requests: int | None = None
    bulk: BulkData = field(init=False)

    def __post_init__(self) -> None:
        self.smart.register("bridge", KEY, "k1")
        guard = ShortLived(self.smart, self.token_requests)
        self.bulk = BulkData(FhirServerDouble(guard=guard, more=self.smart.routes()))

    def settings(self, folder: Path, *, more: str = "", export: str = "") -> None:
        """Write bridge.toml and the key it names."""
        (folder / "key.pem").write_bytes(KEY.as_pem(private=True))
        text = SOURCE.format(url=self.bulk.server.url, more=more, export=export)
        (folder / "bridge.toml").write_text(text)

    @contextmanager
    def running(self, folder: Path, *, more: str = "", export: str = "") -> Iterator[None]:
        """Within, it runs in threads, and bridge.toml in `folder` names it as the source `ehr`."""
        with self.bulk.running_in_thread():
            self.settings(folder, more=more, export=export)
            yield
