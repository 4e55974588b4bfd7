"""What one servable has answered since it was loaded: the numbers behind ModelStatistics."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from interlock_server.worker.batcher import Timing


@dataclass(frozen=True, slots=True)
class Duration:
    """So many occasions, and the time that they took together."""

    count: int
    total_s: float


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The runs of one size."""

    rows: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class ServableStatistics:
    """A servable's numbers at one moment; durations count requests."""

    last_inference: float
    """Seconds since 1970; 0 where there was none."""
    rows: int
    executions: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: tuple[BatchStatistics, ...]
    """By rows, ascending."""


@dataclass(slots=True)
class _Batch:
    runs: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0


class Statistics:
    """Counts what a servable answers. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0.0
        self._rows = self._success = self._fail = 0
        self._success_s = self._fail_s = self._queue_s = self._input_s = self._infer_s = self._output_s = 0.0
        self._batches: dict[int, _Batch] = {}

    def answered(self, total_s: float, timing: Timing, output_s: float, rows: int) -> None:
        """Count a request of so many rows that was answered `total_s` after it came."""
        with self._lock:
            self._last = time.time()
            self._rows += rows
            self._success += 1
            self._success_s += total_s
            self._queue_s += timing.queue_s
            self._input_s += timing.input_s
            self._infer_s += timing.run_s
            self._output_s += output_s
            batch = self._batches.get(timing.rows)
            if batch is None:
                batch = self._batches[timing.rows] = _Batch()
            batch.output_s += output_s
            if timing.first:
                batch.runs += 1
                batch.input_s += timing.input_s
                batch.infer_s += timing.run_s

    def failed(self, total_s: float) -> None:
        """Count a request that failed `total_s` after it came."""
        with self._lock:
            self._fail += 1
            self._fail_s += total_s

    def snapshot(self) -> ServableStatistics:
        """Return the numbers as they are now."""
        with self._lock:
            batches = tuple(
                BatchStatistics(
                    rows,
                    Duration(batch.runs, batch.input_s),
                    Duration(batch.runs, batch.infer_s),
                    Duration(batch.runs, batch.output_s),
                )
                for rows, batch in sorted(self._batches.items())
            )
            return ServableStatistics(
                last_inference=self._last,
                rows=self._rows,
                executions=sum(batch.compute_infer.count for batch in batches),
                success=Duration(self._success, self._success_s),
                fail=Duration(self._fail, self._fail_s),
                queue=Duration(self._success, self._queue_s),
                compute_input=Duration(self._success, self._input_s),
                compute_infer=Duration(self._success, self._infer_s),
                compute_output=Duration(self._success, self._output_s),
                batches=batches,
            )
