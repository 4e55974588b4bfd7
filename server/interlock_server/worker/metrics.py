"""What a worker counts. Labels are bounded: unknown names are counted under an empty model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from interlock_server.worker.batcher import Timing
from interlock_server.worker.catalog import Catalog

_SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


@dataclass(frozen=True, slots=True)
class _Series:
    """The series of one version asked through one alias: finding them by their labels costs more than counting."""

    requests: Counter
    request_s: Histogram
    queue_s: Histogram
    run_s: Histogram
    rows: Histogram


class WorkerMetrics:
    """The worker's Prometheus metrics, in a registry of their own."""

    def __init__(self, catalog: Catalog) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "interlock_inference_requests",
            "Inference requests by outcome; code is the gRPC status.",
            ["model", "version", "alias", "code"],
            registry=self._registry,
        )
        self._request_s = self._histogram("interlock_inference_seconds", "Time in the server, receipt to answer.")
        self._queue_s = self._histogram("interlock_inference_queue_seconds", "Time in the queue.")
        self._run_s = self._histogram("interlock_inference_run_seconds", "Time of the run that answered.")
        self._rows = Histogram(
            "interlock_inference_batch_rows",
            "Rows of the run that answered.",
            ["model", "version"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self._registry,
        )
        self._registry.register(_ServableGauges(catalog))
        self._series: dict[tuple[str, str, str], _Series] = {}

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ["model", "version"], buckets=_SECONDS, registry=self._registry)

    def answered(self, model: str, version: str, alias: str, total_s: float, timing: Timing) -> None:
        """Count a request that was answered."""
        key = (model, version, alias)
        series = self._series.get(key) or self._series.setdefault(key, self._find(model, version, alias))
        series.requests.inc()
        series.request_s.observe(total_s)
        series.queue_s.observe(timing.queue_s)
        series.run_s.observe(timing.run_s)
        series.rows.observe(timing.rows)

    def _find(self, model: str, version: str, alias: str) -> _Series:
        return _Series(
            requests=self._requests.labels(model, version, alias, "OK"),
            request_s=self._request_s.labels(model, version),
            queue_s=self._queue_s.labels(model, version),
            run_s=self._run_s.labels(model, version),
            rows=self._rows.labels(model, version),
        )

    def failed(self, model: str, version: str, alias: str, code: str) -> None:
        """Count a request that failed; model and version are "" where they are not known to exist."""
        self._requests.labels(model, version, alias, code).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus's text form."""
        return generate_latest(self._registry)


class _ServableGauges(Collector):
    """Reads the catalog when it is scraped, so that an unloaded version's series end with it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterable[GaugeMetricFamily]:
        labels = ["model", "version"]
        in_flight = GaugeMetricFamily("interlock_inference_in_flight", "Requests not yet answered.", labels=labels)
        waiting = GaugeMetricFamily("interlock_queue_depth", "Requests that wait.", labels=labels)
        limit = GaugeMetricFamily("interlock_queue_limit", "Requests that may wait.", labels=labels)
        state = GaugeMetricFamily("interlock_servable_state", "1 for the state it is in.", labels=[*labels, "state"])
        for servable in self._catalog.servables():
            status = servable.status()
            key = [status.model, str(status.version)]
            in_flight.add_metric(key, status.in_flight)
            waiting.add_metric(key, servable.queue_depth)
            limit.add_metric(key, servable.spec.config.max_queue_size)
            state.add_metric([*key, status.state.value], 1)
        yield from (in_flight, waiting, limit, state)
