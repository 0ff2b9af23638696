"""What is counted, for Prometheus: numbers and codes, never a source's name, for anybody may ask."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fhir_bridge.ledger.sources.messages import InboxLag

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Alarms:
    """What a person must see to of all sources: how many alarms by code, and how many events are missed."""

    codes: Mapping[str, int]
    missed: int


class _Answers(Collector):
    """Requests answered. Counted here and shown when somebody asks: prometheus_client's own counts lock and
    look through all buckets, which took a tenth of a request's time."""

    def __init__(self) -> None:
        self.count: Counter[tuple[int, str]] = Counter()
        self.within = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants them: each bucket with all that are below it."""
        requests = CounterMetricFamily(
            "fhir_bridge_webhook_requests",
            "Requests answered, by HTTP status and code of refusal.",
            labels=("status", "code"),
        )
        for (status, code), count in self.count.items():
            requests.add_metric((str(status), code), count)
        names = (*map(str, BUCKETS), "+Inf")
        yield requests
        yield HistogramMetricFamily(
            "fhir_bridge_webhook_seconds",
            "Seconds from a request's headers to its answer.",
            buckets=list(zip(names, accumulate(self.within), strict=True)),
            sum_value=self.seconds,
        )


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = _Answers()
        self._registry.register(self._answers)
        self._kept = PrometheusCounter(
            "fhir_bridge_webhook_messages", "Messages committed to the inbox.", registry=self._registry
        )
        self._batch = Histogram(
            "fhir_bridge_webhook_batch",
            "Messages in one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
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

        self._alarms = Gauge(
            "fhir_bridge_source_alarms",
            "What `fhir-bridge sources` marks with !, by code, of all sources together.",
            ("code",),
            registry=self._registry,
        )
        self._missed = Gauge(
            "fhir_bridge_events_missed",
            "Events that sources numbered and never told, and that were not fetched yet.",
            registry=self._registry,
        )

    def answered(self, status: int, code: str, seconds: float) -> None:
        """One more request."""
        answers = self._answers
        answers.count[status, code] += 1
        answers.within[bisect_left(BUCKETS, seconds)] += 1
        answers.seconds += seconds

    def kept(self, count: int) -> None:
        """One more commit, of so many messages."""
        self._kept.inc(count)
        self._batch.observe(count)

    def text(self, lag: InboxLag | None, age: float, alarms: Alarms | None = None) -> bytes:
        """All of it in Prometheus' text form; `age` of the oldest message in seconds."""
        if alarms is not None:
            self._alarms.clear()  # what is over is shown no more
            for code, count in alarms.codes.items():
                self._alarms.labels(code).set(count)
            self._missed.set(alarms.missed)
        if lag is not None:
            self._inbox.labels("received").set(lag.received)
            self._inbox.labels("failed").set(lag.failed)
            self._age.set(age)
            self._outdated.set(lag.outdated)
        return generate_latest(self._registry)
