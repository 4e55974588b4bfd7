"""How far weight tensors are from each other, a piece at a time: a tensor may be bigger than the memory."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import onnx
from interlock.diff import TensorChange, TensorFigures, TensorForm, TensorStatus
from interlock.types import Array
from onnx import TensorProto, helper

from interlock_registry.comparison import match_tensors
from interlock_registry.manifest import Manifest
from interlock_registry.tool.diff_job import DiffJob
from interlock_registry.tool.elements import content, sites
from interlock_registry.tool.external import SideFiles

_PIECE: Final = 1 << 18
"""Elements that are compared at a time."""
_MAX_MEASURED: Final = 10_000

Float64 = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Weights:
    """The tensors of one artifact, opened one at a time."""

    def __init__(self, job: DiffJob, manifest: Manifest) -> None:
        self._job = job
        self._graph = manifest.graph
        self._blobs = {each.name: each.blob for each in manifest.tensors}
        self._inline: Mapping[str, bytes] | None = None

    def has(self, name: str) -> bool:
        """Tell whether a tensor's elements can be found."""
        return name in self._blobs or name in self._inside()

    def open(self, name: str) -> BinaryIO:
        """Open a tensor's elements; raises OSError, KeyError for one that cannot be found."""
        if name in self._blobs:
            return self._job.path(self._blobs[name]).open("rb")
        return io.BytesIO(self._inside()[name])

    def _inside(self) -> Mapping[str, bytes]:
        if self._inline is None:
            self._inline = dict(_inline(self._job.path(self._graph)))
        return self._inline


def measure(job: DiffJob, before: Manifest, after: Manifest) -> tuple[dict[str, TensorFigures], dict[str, str]]:
    """Return the figures of tensors that changed by name, and why others have none; stops when time is up."""
    deadline = time.monotonic() + job.weights_s
    figures: dict[str, TensorFigures] = {}
    unmeasured: dict[str, str] = {}
    old, new = Weights(job, before), Weights(job, after)
    # The smallest first: if time runs out, it is a few big ones that lack figures.
    for each in sorted(_changed(before, after), key=lambda change: change.after.size_bytes if change.after else 0):
        why = _obstacle(each)
        if not why and len(figures) == _MAX_MEASURED:
            why = f"{_MAX_MEASURED} others were measured, which is the limit"
        if not why and not (old.has(each.name) and new.has(each.name)):
            why = "its elements are not in the graph"
        found = None if why else _figures(each, old, new, deadline)
        if found is not None:
            figures[each.name] = found
        else:
            unmeasured[each.name] = why or f"the time for comparing weights ({job.weights_s:g} s) was over"
    return figures, unmeasured


def _changed(before: Manifest, after: Manifest) -> Iterator[TensorChange]:
    return (each for each in match_tensors(before, after) if each.status is TensorStatus.CHANGED)


def _obstacle(change: TensorChange) -> str:
    before, after = change.before, change.after
    assert before is not None and after is not None  # of one that changed there are both
    if before.dims != after.dims:
        return f"its shape was {list(before.dims)} and is {list(after.dims)}"
    for form in (before, after):
        if _numpy(form) is None:
            return f"no numbers are made of {form.dtype}"
    return ""


def _figures(change: TensorChange, old: Weights, new: Weights, deadline: float) -> TensorFigures | None:
    before, after = change.before, change.after
    assert before is not None and after is not None
    was, now = _numpy(before), _numpy(after)
    assert was is not None and now is not None
    with old.open(change.name) as first, new.open(change.name) as second:
        return distance(first, was, second, now, math.prod(before.dims), deadline=deadline)


def distance(
    first: BinaryIO,
    was: np.dtype[np.generic],
    second: BinaryIO,
    now: np.dtype[np.generic],
    elements: int,
    *,
    deadline: float = math.inf,
) -> TensorFigures | None:
    """Compare two tensors of as many elements; None where the monotonic clock passes `deadline` first.

    Two NaN are no distance apart, a number and anything that is none an infinite one. Raises EOFError.
    """
    changed, largest, squares, norm = 0, 0.0, 0.0, 0.0
    for start in range(0, elements, _PIECE):
        if time.monotonic() > deadline:
            return None
        count = min(_PIECE, elements - start)
        a, b = _read(first, was, count), _read(second, now, count)
        x, y = a.astype(np.float64), b.astype(np.float64)
        norm += square_sum(np.where(np.isfinite(x), x, 0.0))
        differs = _bits(a) != _bits(b) if was == now else (x != y) & ~(np.isnan(x) & np.isnan(y))
        here = int(np.count_nonzero(differs))
        if not here:
            continue
        changed += here
        apart = apart_by(x, y)
        largest = max(largest, float(np.max(apart)))
        squares += square_sum(apart)
    return TensorFigures(elements, changed, largest, relative(squares, norm))


def apart_by(x: Float64, y: Float64) -> Float64:
    """Return how far numbers are apart: 0 for two NaN, infinite where one of two is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(x - y)
    apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart)


def square_sum(x: Float64) -> float:
    """Return the sum of squares, infinite where it is too big for a float."""
    with np.errstate(over="ignore"):
        return float(np.sum(np.square(x)))


def relative(squares: float, norm: float) -> float:
    """Return a norm over another, given their squares: infinite where the second is 0, 0 where both are."""
    if squares == 0.0:
        return 0.0
    found = math.sqrt(squares) / math.sqrt(norm) if norm else math.inf
    return found if math.isfinite(found) else math.inf


def _bits(
    array: Array,
) -> Array:
    return array.view(np.dtype(f"u{array.dtype.itemsize}")) if array.dtype.itemsize in (1, 2, 4, 8) else array


def _read(stream: BinaryIO, dtype: np.dtype[np.generic], count: int) -> Array:
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise EOFError("a tensor's file is shorter than its shape says")
    return np.frombuffer(data, dtype)


def _numpy(form: TensorForm) -> np.dtype[np.generic] | None:
    """Return the numpy datatype of elements that are numbers of whole bytes."""
    if form.dtype in ("STRING", "COMPLEX64", "COMPLEX128"):
        return None
    try:
        found = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(form.dtype)))
    except (KeyError, ValueError):
        return None
    return found if form.size_bytes == math.prod(form.dims) * found.itemsize else None


def _inline(graph: Path) -> Iterable[tuple[str, bytes]]:
    """Yield the elements of the tensors inside a graph, its subgraphs and functions, by the manifest's names."""
    for site in sites(onnx.load(str(graph), load_external_data=False)):
        if site.tensor.data_location != TensorProto.EXTERNAL:
            yield site.name, bytes(content(site, SideFiles(())))
