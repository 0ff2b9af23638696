"""What is counted, for Prometheus: numbers and codes, never a source's name, for anybody may ask."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fhir_bridge.ledger.messages import InboxLag

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fhir_bridge_webhook_requests",
            "Requests answered, by HTTP status and code of refusal.",
            ("status", "code"),
            registry=self._registry,
        )
        self._children: dict[tuple[int, str], Counter] = {}
        self._kept = Counter(
            "fhir_bridge_webhook_messages", "Messages committed to the inbox.", registry=self._registry
        )
        self._batch = Histogram(
            "fhir_bridge_webhook_batch",
            "Messages in one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fhir_bridge_webhook_seconds",
            "Seconds from a request's headers to its answer.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._inbox = Gauge(
            "fhir_bridge_inbox_messages", "Messages by state.", ("state",), registry=self._registry
        )
        self._outdated = Gauge(
            "fhir_bridge_outdated_versions",
            "Versions that came after a newer one and were left aside.",
            registry=self._registry,
        )
        self._age = Gauge(
            "fhir_bridge_inbox_oldest_seconds",
            "Age of the oldest message that waits to be processed.",
            registry=self._registry,
        )

    def answered(self, status: int, code: str, seconds: float) -> None:
        """One more request."""
        child = self._children.get((status, code))
        if child is None:
            child = self._children[status, code] = self._requests.labels(str(status), code)
        child.inc()
        self._seconds.observe(seconds)

    def kept(self, count: int) -> None:
        """One more commit, of so many messages."""
        self._kept.inc(count)
        self._batch.observe(count)

    def text(self, lag: InboxLag | None, age: float) -> bytes:
        """All of it in Prometheus' text form; `age` of the oldest message in seconds."""
        if lag is not None:
            self._inbox.labels("received").set(lag.received)
            self._inbox.labels("failed").set(lag.failed)
            self._age.set(age)
            self._outdated.set(lag.outdated)
        return generate_latest(self._registry)
