"""What the house counts about itself, for Prometheus. Counting costs a dict access per call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read only when somebody asks."""

    held: Mapping[str, int]  # meter -> amount, over all tenants, today
    charged: Mapping[str, int]
    log_entries: int
    checkpoint_age_s: float
    upstreams: Mapping[str, bool]  # name -> healthy
    writable: bool
    updates: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> heard, passed


class Histogram:
    """Counts per bucket, and the sum, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def family(self, name: str, said: str) -> HistogramMetricFamily:
        buckets, total = [], 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(name, said, buckets=buckets, sum_value=self._sum_s)


@dataclass(slots=True)
class Metrics:
    calls: dict[tuple[str, str], int] = field(default_factory=dict)  # server, status
    refusals: dict[str, int] = field(default_factory=dict)  # refusal id
    overhead: Histogram = field(default_factory=Histogram)
    upstream: Histogram = field(default_factory=Histogram)

    def ended(self, server: str, status: str) -> None:
        """A subscription is over: how long it was open says nothing of how quick the house is."""
        key = (server, status)
        self.calls[key] = self.calls.get(key, 0) + 1

    def called(self, server: str, status: str, total_s: float, upstream_s: float) -> None:
        self.ended(server, status)
        self.overhead.observe(total_s - upstream_s)
        self.upstream.observe(upstream_s)

    def refused(self, refusal_id: str) -> None:
        self.refusals[refusal_id] = self.refusals.get(refusal_id, 0) + 1

    def render(self, gauges: Gauges) -> bytes:
        """The exposition text, format 0.0.4."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: self._families(gauges)))
        return generate_latest(registry)

    def _families(self, gauges: Gauges) -> Iterable[Metric]:
        calls = CounterMetricFamily(
            "customhouse_calls",
            "Calls that were admitted, by how they ended",
            labels=("server", "status"),
        )
        for (server, status), count in self.calls.items():
            calls.add_metric((server, status), count)
        refusals = CounterMetricFamily(
            "customhouse_refusals", "Requests that were refused, by reason", labels=("reason",)
        )
        for reason, count in self.refusals.items():
            refusals.add_metric((reason,), count)
        yield calls
        yield refusals
        yield self.overhead.family(
            "customhouse_overhead_seconds",
            "What the gateway added to a call, both commits included",
        )
        yield self.upstream.family("customhouse_upstream_seconds", "What the upstream took")
        yield from _gauges(gauges)


def _gauges(gauges: Gauges) -> Iterable[Metric]:
    for name, said, amounts in (
        ("customhouse_budget_held", "Held now, over all tenants", gauges.held),
        (
            "customhouse_budget_charged_today",
            "Charged today (UTC), over all tenants",
            gauges.charged,
        ),
    ):
        family = GaugeMetricFamily(name, said, labels=("meter",))
        for meter, amount in amounts.items():
            family.add_metric((meter,), amount)
        yield family
    yield GaugeMetricFamily("customhouse_log_entries", "Length of the log", gauges.log_entries)
    yield GaugeMetricFamily(
        "customhouse_checkpoint_age_seconds", "Since the last checkpoint", gauges.checkpoint_age_s
    )
    yield GaugeMetricFamily(
        "customhouse_log_writable", "1 when calls can be logged", gauges.writable
    )
    healthy = GaugeMetricFamily(
        "customhouse_upstream_healthy", "1 when the upstream answers", labels=("server",)
    )
    for name, is_healthy in gauges.upstreams.items():
        healthy.add_metric((name,), is_healthy)
    yield healthy
    updates = CounterMetricFamily(
        "customhouse_updates",
        "Words of servers that a resource changed: all, and bursts of them that were passed on",
        labels=("server", "fate"),
    )
    for name, (heard, passed) in gauges.updates.items():
        updates.add_metric((name, "heard"), heard)
        updates.add_metric((name, "passed"), passed)
    yield updates


class _Collector:
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()
