"""A loop over ONNX Runtime with nothing around it: what a model can do on this machine."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
from interlock.types import Array


@dataclass(frozen=True, slots=True)
class Bare:
    """What a loop found."""

    how: str
    rate: float
    """Rows per second."""
    p50_ms: float
    """Of a run."""


_WAYS: Final = ((0, False), (1, False), (0, True))
"""Threads of the pool (0: as many as cores), and whether the callers share runs."""


def best(path: Path, x: Array, in_flight: int, seconds: float) -> Bare:
    """Return the best of the ways to run a model on so many inputs at a time; each has `seconds`."""
    return max((_bare(path, x, in_flight, seconds, *way) for way in _WAYS), key=lambda each: each.rate)


def _bare(path: Path, x: Array, in_flight: int, seconds: float, threads: int, joined: bool) -> Bare:
    """Run a model again and again in this process: by as many threads as are in flight, or all in one batch."""
    session = open_session(path, threads)
    rows = in_flight if joined else 1
    feed = {"x": np.repeat(x, rows, axis=0)}
    session.run(None, feed)
    times: list[float] = []
    until = time.monotonic() + seconds

    def loop() -> None:
        while (began := time.monotonic()) < until:
            session.run(None, feed)
            times.append(time.monotonic() - began)

    workers = [threading.Thread(target=loop) for _ in range(1 if joined else in_flight)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(times) * rows / (time.monotonic() - began)
    how = f"{threads or 'all'} threads{', one batch' if joined else ''}"
    return Bare(how, rate, float(np.median(times)) * 1e3)


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Load a model whose threads do not spin; 0 threads: as many as cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
