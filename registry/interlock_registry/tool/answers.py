"""What two versions answer to the same inputs: their own golden samples, and one replayed by the other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from interlock import golden
from interlock.diff import AnswerComparison, AnswerDifference
from interlock.errors import InterlockError
from interlock.golden import Golden, Sample, Tolerance
from interlock.tensors import encode_raw
from interlock.types import Array, DType, Signature

from interlock_registry.manifest import Manifest
from interlock_registry.tool import batches
from interlock_registry.tool.diff_job import DiffJob
from interlock_registry.tool.runtime import Session
from interlock_registry.tool.weights import Float64, apart_by, relative, square_sum

_SHOWN: Final = 8
"""Values of an output that are shown."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Outputs by name, with their datatypes."""

    tensors: Mapping[str, Array]
    dtypes: Mapping[str, DType]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sets of answers to one sample."""

    before: Answers
    after: Answers


def own(job: DiffJob, before: Golden | None, after: Golden | None) -> AnswerComparison:
    """Compare the answers that came with the two versions, for samples whose inputs both have."""
    for side, found in ((job.before, before), (job.after, after)):
        if found is None:
            return AnswerComparison(0, why=f"version {side.version} has no golden samples")
    assert before is not None and after is not None
    theirs = {_fingerprint(each.inputs, after.dtypes): each for each in after.samples}
    twins = ((each, theirs.get(_fingerprint(each.inputs, before.dtypes))) for each in before.samples)
    pairs = [
        Pair(_golden_answers(mine, before), _golden_answers(other, after)) for mine, other in twins if other is not None
    ]
    if not pairs:
        return AnswerComparison(0, why="no golden sample of one has the inputs of one of the other")
    return _compare(pairs, job.tolerance)


def replayed(job: DiffJob, before: Golden | None, after: Manifest) -> AnswerComparison:
    """Compare the first version's golden answers with those that the second one gives to the same inputs."""
    if before is None:
        return AnswerComparison(0, why=f"version {job.before.version} has no golden samples")
    try:
        session = Session(job.path(after.graph), job.limits)
        why = _misfit(job, session.signature, before)
        if why:
            return AnswerComparison(0, why=why)
        deadline = time.monotonic() + job.answers_s
        found = _compare(_replay(job, session, before, deadline), job.tolerance)
    except InterlockError as error:
        return AnswerComparison(0, why=f"version {job.after.version} does not run on them: {error.message}")
    if found.samples < len(before.samples):
        late = f"only {found.samples} of {len(before.samples)} samples: the time for it ({job.answers_s:g} s) was over"
        return AnswerComparison(found.samples, found.outputs, late)
    return found


def _replay(job: DiffJob, session: Session, before: Golden, deadline: float) -> Iterator[Pair]:
    dtypes = {spec.name: spec.dtype for spec in session.signature.outputs}
    wanted = [spec.name for spec in session.signature.inputs]
    for number, sample in enumerate(before.samples):
        if number and time.monotonic() > deadline:
            return
        inputs = {name: sample.inputs[name] for name in wanted}
        yield Pair(_golden_answers(sample, before), Answers(_run(session, inputs, job.after.joinable), dtypes))


def _run(session: Session, inputs: Mapping[str, Array], joinable: bool) -> Mapping[str, Array]:
    """Run a sample, in slices where rows are independent: as it was validated, and as it is served."""
    rows = batches.common_rows(inputs)
    if not joinable or rows is None or rows <= batches.SLICE:
        return session.run(inputs)
    parts = [session.run(batches.rows(inputs, at, at + batches.SLICE)) for at in range(0, rows, batches.SLICE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _misfit(job: DiffJob, signature: Signature, before: Golden) -> str:
    """Say why a version cannot be asked what the other one's golden samples ask."""
    for spec in signature.inputs:
        found = before.dtypes.get(f"in/{spec.name}")
        if found is None:
            return f"version {job.after.version} takes the input {spec.name!r}, which they do not have"
        if found is not spec.dtype:
            return f"version {job.after.version} takes {spec}, and they have {found.value}"
        for sample in before.samples:
            if not batches.fits(spec, sample.inputs[spec.name]):
                return f"version {job.after.version} takes {spec}, and they have {list(sample.inputs[spec.name].shape)}"
    return ""


def _golden_answers(sample: Sample, found: Golden) -> Answers:
    return Answers(sample.outputs, {name: found.dtypes[f"out/{name}"] for name in sample.outputs})


def _fingerprint(inputs: Mapping[str, Array], dtypes: Mapping[str, DType]) -> str:
    hasher = hashlib.sha256()
    for name in sorted(inputs):
        array, dtype = inputs[name], dtypes[f"in/{name}"]
        hasher.update(f"{len(name)}:{name}:{dtype.value}:{array.shape}:".encode())
        hasher.update(encode_raw(array, dtype))
    return hasher.hexdigest()


# --- comparing ---


def _compare(pairs: Iterable[Pair], tolerance: Tolerance) -> AnswerComparison:
    tallies: dict[str, _Tally] = {}
    samples = 0
    for pair in pairs:
        samples += 1
        for name in (*pair.before.tensors, *(each for each in pair.after.tensors if each not in pair.before.tensors)):
            tallies.setdefault(name, _Tally(name, tolerance)).add(pair)
    return AnswerComparison(samples, tuple(tally.result() for tally in tallies.values()))


class _Tally:
    """What is known of one output so far."""

    def __init__(self, name: str, tolerance: Tolerance) -> None:
        self._name = name
        self._tolerance = tolerance
        self._why = ""
        self._shown: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._rows = self._differing = self._vectors = self._same_top = 0
        self._largest = self._squares = self._norm = 0.0
        self._within = True

    def add(self, pair: Pair) -> None:
        """Take one more sample into account."""
        before, after = pair.before.tensors.get(self._name), pair.after.tensors.get(self._name)
        if before is None or after is None:
            self._why = "it is new" if before is None else "it is gone"
            return
        was, now = pair.before.dtypes[self._name], pair.after.dtypes[self._name]
        if self._shown is None:
            self._shown = (_preview(before, was), _preview(after, now))
        if before.shape != after.shape:
            self._why = f"its shape was {list(before.shape)} and is {list(after.shape)}"
        elif (was is DType.BYTES) != (now is DType.BYTES):
            self._why = f"it was {was.value} and is {now.value}"
        elif was is DType.BYTES:
            differs = np.asarray(_texts(before) != _texts(after), dtype=np.bool_)
            self._count_rows(before.shape, differs)
            self._within &= not differs.any()
        else:
            self._add_numbers(golden.numbers(before, was), golden.numbers(after, now), was)

    def _add_numbers(self, x: Float64, y: Float64, dtype: DType) -> None:
        apart = apart_by(x, y)
        self._count_rows(x.shape, apart != 0.0)
        is_exact = dtype is DType.BOOL or (dtype.numpy.kind in "iu" and dtype is not DType.BF16)
        allowed = np.zeros_like(x) if is_exact else self._tolerance.atol + self._tolerance.rtol * np.abs(x)
        self._within &= bool(np.all((apart == 0.0) | (apart <= np.where(np.isfinite(allowed), allowed, 0.0))))
        self._largest = max(self._largest, float(np.max(apart, initial=0.0)))
        self._squares += square_sum(apart)
        self._norm += square_sum(np.where(np.isfinite(x), x, 0.0))
        if not is_exact and x.ndim >= 2 and x.shape[-1] >= 2 and x.size:
            tops = np.argmax(x, axis=-1) == np.argmax(y, axis=-1)
            self._vectors += tops.size
            self._same_top += int(np.count_nonzero(tops))

    def _count_rows(self, shape: tuple[int, ...], differs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        rows = shape[0] if shape else 1
        self._rows += rows
        self._differing += int(np.count_nonzero(differs.reshape(rows, -1).any(axis=1))) if differs.size else 0

    def result(self) -> AnswerDifference:
        """Return what was found."""
        before, after = self._shown or ((), ())
        return AnswerDifference(
            output=self._name,
            rows=self._rows,
            differing=self._differing,
            max_abs=self._largest,
            relative_l2=relative(self._squares, self._norm),
            same_top=self._same_top / self._vectors if self._vectors else None,
            within_tolerance=self._within and not self._why,
            before=before,
            after=after,
            why=self._why,
        )


def _texts(array: Array) -> Array:
    texts = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in array.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(array.shape)


def _preview(array: Array, dtype: DType) -> tuple[str, ...]:
    first = (array[:1] if array.ndim else array).ravel()[:_SHOWN]
    if dtype is DType.BYTES:
        return tuple(str(each)[:40] for each in _texts(first))
    return tuple(f"{value:.6g}" for value in golden.numbers(first, dtype))
