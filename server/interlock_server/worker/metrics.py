"""What a worker counts. Labels are bounded: unknown names are counted under an empty model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Final

from interlock.errors import Overloaded, QueueFull
from interlock.model import ServableState
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from interlock_server.access.counting import RefusedCalls
from interlock_server.process import logs
from interlock_server.snapshot import VersionKey
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.finiteness import SIDES
from interlock_server.worker.servable import Servable
from interlock_server.worker.statistics import NOTHING, ROWS, SECONDS, Distribution, Distributions

_OK: Final = "OK"
_REFUSALS: Final = (Overloaded.reason.lower(), QueueFull.reason.lower())
_VERSION: Final = ("model", "version")
MOST_PAST: Final = 256
"""Versions whose counts are kept after they were unloaded: a server that runs for years sees any number of them."""


class WorkerMetrics:
    """The worker's Prometheus metrics. Requests that were answered are read from the servables' own statistics."""

    def __init__(self, catalog: Catalog) -> None:
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._watched: set[Servable] = set()
        self._past: dict[VersionKey, Distributions] = {}
        self._failed: dict[tuple[str, str, str, str], int] = {}
        self._refused: dict[tuple[str, str, str], int] = {}
        self._non_finite: dict[tuple[str, str, str], int] = {}
        self._registry.register(_Requests(self))
        self._registry.register(_ServableGauges(catalog))
        self._registry.register(_Log())

    def watch(self, servable: Servable) -> None:
        """Count what a servable answers; cheap when that is done already."""
        if servable not in self._watched:
            with self._lock:
                self._sweep()
                self._watched.add(servable)
                if servable.screen is not None:
                    for side in SIDES:
                        # From 0 on: the first one must be a rise.
                        self._non_finite.setdefault((servable.spec.model, servable.wire_version, side), 0)

    def watch_gate(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Export what `read` returns at each scrape: calls that were not let in."""
        text = "Calls on the inference port that were not let in, by reason."
        self._registry.register(RefusedCalls("interlock_inference_refused_calls", text, read))

    def failed(self, model: str, version: str, alias: str, code: str) -> None:
        """Count a request that failed; model and version are "" where they are not known to exist."""
        key = (model, version, alias, code)
        with self._lock:
            self._failed[key] = self._failed.get(key, 0) + 1

    def refused(self, model: str, version: str, reason: str) -> None:
        """Count a request that a limit has refused, by the reason of its error."""
        key = (model, version, reason.lower())
        with self._lock:
            self._refused[key] = self._refused.get(key, 0) + 1

    def non_finite(self, version: VersionKey, side: str) -> None:
        """Count a request of a version that had NaN or infinity on a side."""
        key = (version.model, str(version.version), side)
        with self._lock:
            self._non_finite[key] = self._non_finite.get(key, 0) + 1

    def answered(self) -> dict[VersionKey, Distributions]:
        """Return what each version has answered since the worker began, in all of its servables.

        Of those that are not loaded any more, only the last ones are told.
        """
        with self._lock:
            self._sweep()
            total = dict(self._past)
            for servable in self._watched:
                total[servable.spec.key] = total.get(servable.spec.key, NOTHING) + servable.statistics.distributions()
        return total

    def _sweep(self) -> None:
        """Keep the counts of what was unloaded, and nothing else of it; of too many versions forget the oldest."""
        for servable in [each for each in self._watched if each.state is ServableState.UNLOADED]:
            self._watched.remove(servable)
            known = self._past.pop(servable.spec.key, NOTHING)
            self._past[servable.spec.key] = known + servable.statistics.distributions()
        loaded = {servable.spec.key for servable in self._watched}
        for key in [each for each in self._past if each not in loaded][:-MOST_PAST]:
            del self._past[key]
            named = (key.model, str(key.version))
            self._failed = {each: count for each, count in self._failed.items() if each[:2] != named}
            self._refused = {each: count for each, count in self._refused.items() if each[:2] != named}
            self._non_finite = {each: count for each, count in self._non_finite.items() if each[:2] != named}

    def failures(self) -> dict[tuple[str, str, str, str], int]:
        """Return the number of failed requests by model, version, alias and code."""
        with self._lock:
            return dict(self._failed)

    def refusals(self) -> dict[tuple[str, str, str], int]:
        """Return the number of requests that limits have refused, by model, version and reason."""
        with self._lock:
            return dict(self._refused)

    def non_finites(self) -> dict[tuple[str, str, str], int]:
        """Return the number of requests with NaN or infinity by model, version and side."""
        with self._lock:
            return dict(self._non_finite)

    def text(self) -> bytes:
        """Return everything in Prometheus's text form."""
        return generate_latest(self._registry)


class _Requests(Collector):
    """Adds up what was counted when it is scraped."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "interlock_inference_requests",
            "Inference requests by outcome; code is the gRPC status.",
            labels=(*_VERSION, "alias", "code"),
        )
        request_s = HistogramMetricFamily(
            "interlock_inference_seconds", "Time in the server, receipt to answer.", labels=_VERSION
        )
        queue_s = HistogramMetricFamily("interlock_inference_queue_seconds", "Time in the queue.", labels=_VERSION)
        run_s = HistogramMetricFamily(
            "interlock_inference_run_seconds", "Time of the run that answered.", labels=_VERSION
        )
        rows = HistogramMetricFamily(
            "interlock_inference_batch_rows", "Rows of the run that answered.", labels=_VERSION
        )
        answered = self._metrics.answered()
        for key, found in sorted(answered.items()):
            labels = (key.model, str(key.version))
            for alias, count in sorted(found.by_alias.items()):
                requests.add_metric((*labels, alias, _OK), count)
            _add(request_s, labels, SECONDS, found.request_s)
            _add(queue_s, labels, SECONDS, found.queue_s)
            _add(run_s, labels, SECONDS, found.run_s)
            _add(rows, labels, ROWS, found.rows)
        for labels_, count in sorted(self._metrics.failures().items()):
            requests.add_metric(labels_, count)
        refused = CounterMetricFamily(
            "interlock_inference_refused",
            "Inference requests that a limit of their version's queue has refused: queue_full or overloaded.",
            labels=(*_VERSION, "reason"),
        )
        refusals = self._metrics.refusals()
        # From 0 on: the first refusal must be a rise.
        known = {(each.model, str(each.version), reason) for each in answered for reason in _REFUSALS}
        for labels__ in sorted(known | refusals.keys()):
            refused.add_metric(labels__, refusals.get(labels__, 0))
        non_finite = CounterMetricFamily(
            "interlock_inference_non_finite",
            "Inference requests with NaN or infinity among their inputs or outputs, of versions that look for them.",
            labels=(*_VERSION, "side"),
        )
        for labels___, count in sorted(self._metrics.non_finites().items()):
            non_finite.add_metric(labels___, count)
        yield from (requests, refused, non_finite, request_s, queue_s, run_s, rows)


def _add(
    family: HistogramMetricFamily, labels: tuple[str, str], bounds: tuple[float, ...], found: Distribution
) -> None:
    sums = accumulate(found.counts)
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    family.add_metric(labels, list(zip(names, sums, strict=True)), found.total)


class _ServableGauges(Collector):
    """Reads the catalog when it is scraped, so that an unloaded version's series end with it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterable[GaugeMetricFamily]:
        labels = ["model", "version"]
        in_flight = GaugeMetricFamily("interlock_inference_in_flight", "Requests not yet answered.", labels=labels)
        waiting = GaugeMetricFamily("interlock_queue_depth", "Requests that wait.", labels=labels)
        limit = GaugeMetricFamily("interlock_queue_limit", "Requests that may wait.", labels=labels)
        state = GaugeMetricFamily(
            "interlock_servable_state", "Workers that have the version in that state.", labels=[*labels, "state"]
        )
        for servable in self._catalog.servables():
            status = servable.status()
            key = [status.model, str(status.version)]
            in_flight.add_metric(key, status.in_flight)
            waiting.add_metric(key, servable.queue_depth)
            limit.add_metric(key, servable.spec.config.max_queue_size)
            state.add_metric([*key, status.state.value], 1)
        yield from (in_flight, waiting, limit, state)


class _Log(Collector):
    """What of the log was lost."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(
            "interlock_worker_log_lines_dropped",
            "Log lines of workers that were lost, since they could not be written or nobody read them.",
            value=logs.dropped(),
        )
