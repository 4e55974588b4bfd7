"""What the control process counts; the workers' text is put behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from interlock_server.access.counting import RefusedCalls
from interlock_server.process import logs


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at each scrape."""

    ready: bool
    registry_up: bool
    epoch: int
    workers_reachable: int
    worker_restarts: int


class ControlMetrics:
    """The control process's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._mutations = Counter(
            "interlock_mutations",
            "Changes asked for, by outcome; code is the gRPC status.",
            ["action", "code"],
            registry=self._registry,
        )
        self._prepare_s = Histogram(
            "interlock_prepare_seconds", "PREPARE of a promote or rollback.", registry=self._registry
        )
        self._commit_s = Histogram(
            "interlock_commit_seconds",
            "COMMIT of a promote or rollback, until every worker has switched.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
            registry=self._registry,
        )
        self._derived = Counter(
            "interlock_derived_forms_made",
            "Derived forms that were to be made, by outcome: made, refused (the artifact is loaded instead), failed.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("made", "refused", "failed"):
            self._derived.labels(outcome)
        self._derive_s = Histogram(
            "interlock_derive_seconds",
            "Making one derived form.",
            buckets=(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
            registry=self._registry,
        )
        self._forms = Gauge("interlock_derived_forms", "Derived forms on disk.", registry=self._registry)
        self._form_bytes = Gauge("interlock_derived_bytes", "What derived forms take on disk.", registry=self._registry)
        self._evicted = Counter(
            "interlock_derived_forms_evicted",
            "Derived forms dropped for room (setting derived_cache_bytes).",
            registry=self._registry,
        )
        self._upload_bytes = Counter("interlock_upload_bytes", "Bytes of uploads received.", registry=self._registry)

        self._scrubbed = Counter(
            "interlock_scrub_blobs",
            "Blobs that the background scrub has read; outcome is whole, damaged or unread.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("whole", "damaged", "unread"):
            self._scrubbed.labels(outcome)
        self._scrubbed_bytes = Counter(
            "interlock_scrub_bytes", "Bytes that the background scrub has read.", registry=self._registry
        )
        self._damaged = Gauge("interlock_damaged_blobs", "Blobs that are known to be damaged.", registry=self._registry)

    def watch(self, read: Callable[[], Gauges]) -> None:
        """Export what `read` returns at each scrape."""
        self._registry.register(_Gauges(read))

    def watch_gate(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Export what `read` returns at each scrape: calls on the admin and the HTTP port that were not let in."""
        text = "Calls on the admin and HTTP ports that were not let in, by reason."
        self._registry.register(RefusedCalls("interlock_refused_calls", text, read))

    def mutation(self, action: str, code: str) -> None:
        """Count a change."""
        self._mutations.labels(action, code).inc()

    def switched(self, prepare_s: float, commit_s: float) -> None:
        """Note how long a switch took."""
        self._prepare_s.observe(prepare_s)
        self._commit_s.observe(commit_s)

    def derived(self, outcome: str, duration_s: float) -> None:
        """Note what came of making a derived form."""
        self._derived.labels(outcome).inc()
        self._derive_s.observe(duration_s)

    def derived_held(self, forms: int, size_bytes: int) -> None:
        """Note what there is of derived forms."""
        self._forms.set(forms)
        self._form_bytes.set(size_bytes)

    def evicted(self, count: int) -> None:
        """Count derived forms dropped for room."""
        self._evicted.inc(count)

    def uploaded(self, count: int) -> None:
        """Count bytes of an upload."""
        self._upload_bytes.inc(count)

    def scrubbed(self, outcome: str) -> None:
        """Count a blob that was scrubbed."""
        self._scrubbed.labels(outcome).inc()

    def scrubbed_bytes(self, count: int) -> None:
        """Count bytes that were scrubbed."""
        self._scrubbed_bytes.inc(count)

    def damaged(self, count: int) -> None:
        """Note how many blobs are known to be damaged."""
        self._damaged.set(count)

    def text(self) -> bytes:
        """Return everything in Prometheus's text form."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Gauges]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        now = self._read()
        yield GaugeMetricFamily("interlock_ready", "1 while the replica is ready.", value=now.ready)
        yield GaugeMetricFamily("interlock_registry_up", "1 while the registry answers.", value=now.registry_up)
        yield GaugeMetricFamily("interlock_registry_epoch", "Epoch of the desired state.", value=now.epoch)
        yield GaugeMetricFamily("interlock_workers_reachable", "Workers that answer.", value=now.workers_reachable)
        yield CounterMetricFamily(
            "interlock_worker_restarts", "Workers that came back as a new process.", value=now.worker_restarts
        )
        yield CounterMetricFamily(
            "interlock_control_log_lines_dropped",
            "Log lines of the control process that were lost, since they could not be written or nobody read them.",
            value=logs.dropped(),
        )
