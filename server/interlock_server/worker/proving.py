"""Proving a session: warm it up, hold it against its golden samples, and measure how quick its runs are."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

import numpy as np
from interlock import golden
from interlock.errors import GoldenMismatch, InternalError
from interlock.golden import Golden
from interlock.types import Array, DType, Signature, TensorSpec

from interlock_server.snapshot import VersionSpec
from interlock_server.worker.engine import Run, Session, for_engine
from interlock_server.worker.pace import QUICK_S, Pace

log = logging.getLogger("interlock.loader")

_GOLDEN_ROWS: Final = 8
"""Golden samples are replayed in slices of so many rows: a large one must not need a large run."""
_TIMED_RUNS: Final = 8
_NOT_QUICK_S: Final = 10 * QUICK_S


class Timed:
    """Runs a session and keeps the shortest time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.shortest_s = math.inf

    def run(self, inputs: list[Array]) -> list[Array]:
        """Return the outputs for arrays in the signature's order; raises as `Session.run`."""
        began = time.monotonic()
        outputs = self._session.run(inputs, Run())
        self.shortest_s = min(self.shortest_s, time.monotonic() - began)
        return outputs


def check_golden(samples: Golden, spec: VersionSpec, session: Timed, tolerance: golden.Tolerance) -> None:
    """Replay golden samples; raises GoldenMismatch."""
    for sample in samples.samples:
        inputs = [sample.inputs[each.name] for each in spec.signature.inputs]
        actual = _replay(inputs, spec, session)
        for each, array in zip(spec.signature.outputs, actual, strict=True):
            difference = golden.compare(each.name, each.dtype, array, sample.outputs[each.name], tolerance)
            if not difference.within:
                raise GoldenMismatch(f"golden check: {difference.why}", output=each.name, max_abs=difference.max_abs)


def _replay(inputs: list[Array], spec: VersionSpec, session: Timed) -> list[Array]:
    inputs = [for_engine(each, array) for each, array in zip(spec.signature.inputs, inputs, strict=True)]
    rows = inputs[0].shape[0] if inputs and inputs[0].ndim else 0
    if not spec.joinable or rows <= _GOLDEN_ROWS:
        return session.run(inputs)
    slices = [
        session.run([array[start : start + _GOLDEN_ROWS] for array in inputs]) for start in range(0, rows, _GOLDEN_ROWS)
    ]
    return [np.concatenate(parts) for parts in zip(*slices, strict=True)]


def warm(signature: Signature, session: Timed) -> None:
    """Run once on zeros with every dynamic size 1; a model that cannot run on zeros is warmed by its first request."""
    inputs = [_zeros(spec) for spec in signature.inputs]
    try:
        session.run(inputs)
    except InternalError as error:
        log.warning("warm-up on zeros failed: %s", error.message)


def measure(spec: VersionSpec, session: Session, pace: Pace) -> None:
    """Time the smallest run, again where it is quick: the first ones are slow, and so is a thread that gives way."""
    if not pace.may_be_quick:
        return
    inputs = [_zeros(each) for each in spec.signature.inputs]
    size = sum(array.nbytes for array in inputs)
    for _ in range(_TIMED_RUNS):
        began = time.monotonic()
        try:
            session.run(inputs, Run())
        except InternalError:
            break  # it cannot run on zeros: its first requests will tell
        run_s = time.monotonic() - began
        pace.ran(size, run_s)
        if run_s > _NOT_QUICK_S or pace.limit >= size:
            break


def _zeros(spec: TensorSpec) -> Array:
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if spec.dtype is DType.BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, spec.dtype.numpy)
