"""The child's job `validate`: from a file nobody has looked at to a report, or the first reason to refuse it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import onnx.checker
from interlock import golden
from interlock.errors import GoldenMismatch, InvalidGolden, InvalidModel
from interlock.golden import DEFAULT_TOLERANCES, Golden, Sample, Tolerance
from interlock.types import Array, Signature, TensorSpec

from interlock_registry.manifest import Manifest
from interlock_registry.tool import batches
from interlock_registry.tool.external import SideFiles
from interlock_registry.tool.job import Validated, ValidateJob, ValidateReport
from interlock_registry.tool.original import check_same, is_equal, resolve
from interlock_registry.tool.runtime import RUNTIME_VERSION, Session, check_versions
from interlock_registry.tool.splitting import take_apart
from interlock_registry.tool.stripping import strip
from interlock_registry.tool.structure import Structure, examine, parse

_OLDEST_OPSET: Final = 7


def validate(job: ValidateJob) -> Validated:
    """Check a model from its bytes to its answers, and take it apart: what is tried is what would be served.

    Raises InvalidModel, InvalidGolden, GoldenMismatch, MemoryError, OSError.
    """
    taken = _take_apart(job)
    structure = taken.structure
    session = Session(job.parts / taken.manifest.graph.digest, job.limits)
    signature = session.signature
    samples = None if job.golden is None else _read_golden(job.golden, signature)
    tolerances = _effective(job.tolerance_caps, samples)
    warnings = [*taken.remarks, *_remarks(structure, signature, samples)]
    trial = _Trial(session, structure, tolerances["CPU"])
    inputs = _trial_inputs(signature, samples)
    runs = inputs is not None
    if inputs is None:
        warnings.append("its inputs are too big to make up, so it was not tried out; add golden samples")
    elif samples is None:
        runs = trial.smoke(inputs, warnings)
    if inputs is not None and runs:
        trial.check_determinism(inputs)
    joinable = runs and trial.is_joinable(samples, warnings)
    max_abs = 0.0 if samples is None else trial.replay(samples, joinable)
    report = ValidateReport(
        signature=signature,
        joinable=joinable,
        proven=samples is not None,
        golden_samples=0 if samples is None else len(samples.samples),
        tolerances=tolerances,
        max_abs=max_abs,
        load_s=session.load_s,
        run_s=session.run_s,
        memory_bytes=session.memory_bytes,
        opset=structure.opset,
        ir_version=structure.ir_version,
        producer=structure.producer,
        runtime_version=RUNTIME_VERSION,
        environment={} if samples is None else samples.environment,
        warnings=tuple(warnings),
    )
    answers = trial.answers
    del session, trial  # a big model is never loaded twice at once
    if inputs is not None and answers is not None:
        # Of these inputs alone is it known that answers repeat to the last bit; the stored form, which is what serves,
        # has met every golden sample above, and a second load that runs them all would double what a proof takes.
        check_same(taken.original, job.limits, inputs, answers)
    return Validated(report, taken.manifest)


@dataclass(frozen=True, slots=True)
class _Taken:
    structure: Structure
    manifest: Manifest
    original: Path
    """The model as it came, for ONNX Runtime to load."""
    remarks: tuple[str, ...]


def _take_apart(job: ValidateJob) -> _Taken:
    model = parse(job.model)
    check_versions(model.ir_version, _opsets(model))
    structure = examine(model, job.limits)
    job.parts.mkdir(mode=0o700, exist_ok=True)
    with SideFiles(job.files) as files:
        # ONNX Runtime is shown nothing of what only training needs, which was not looked at.
        rewritten = job.files or len(model.training_info)
        original = resolve(model, job.files, job.original) if rewritten else job.model
        remarks = strip(model)
        manifest = take_apart(model, structure, files, job.parts)
    del model  # the checker reads the graph again
    try:
        onnx.checker.check_model(str(job.parts / manifest.graph.digest))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:600]
        raise InvalidModel(f"the ONNX checker refuses the model: {text}", check="checker") from error
    return _Taken(structure, manifest, original, remarks)


def _opsets(model: onnx.ModelProto) -> Mapping[str, int]:
    """Return the operator sets that ONNX Runtime has; domains of model-local functions are nobody's but the model's."""
    known = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml", "com.microsoft": "com.microsoft"}
    return {known[each.domain]: each.version for each in model.opset_import if each.domain in known}


def _read_golden(path: Path, signature: Signature) -> Golden:
    try:
        found = golden.read(path, is_new=True)
    except (InvalidGolden, MemoryError):
        raise
    except Exception as error:
        raise InvalidGolden(f"{path.name} is not a golden file (an npz without pickle): {error}") from error
    for side, specs in (("in", signature.inputs), ("out", signature.outputs)):
        _match(path, side, specs, found)
    for provider, tolerance in found.tolerances.items():
        if not all(math.isfinite(value) and value >= 0 for value in (tolerance.atol, tolerance.rtol)):
            raise InvalidGolden(f"{path.name}: the tolerance for {provider} is {tolerance}; it must be finite and >= 0")
    if not any(array.size for sample in found.samples for array in sample.outputs.values()):
        raise InvalidGolden(f"{path.name}: every golden output is empty, so nothing could be compared")
    return found


def _match(path: Path, side: str, specs: tuple[TensorSpec, ...], found: Golden) -> None:
    word = {"in": "inputs", "out": "outputs"}[side]
    theirs = {key.partition("/")[2] for key in found.dtypes if key.startswith(f"{side}/")}
    ours = {spec.name for spec in specs}
    if theirs != ours:
        raise InvalidGolden(f"{path.name} has {word} {sorted(theirs)}, the model {sorted(ours)}: they must be equal")
    for spec in specs:
        dtype = found.dtypes[f"{side}/{spec.name}"]
        if dtype is not spec.dtype:
            raise InvalidGolden(
                f"{path.name}: {spec.name!r} is {dtype.value}, but {spec.dtype.value} in the model; "
                "write the samples with the datatypes that the model has"
            )
        for index, sample in enumerate(found.samples):
            array = (sample.inputs if side == "in" else sample.outputs)[spec.name]
            if side == "in" and not batches.fits(spec, array):
                raise InvalidGolden(f"{path.name}: sample {index} of {spec} has shape {list(array.shape)}")


def _effective(caps: Mapping[str, Tolerance], samples: Golden | None) -> Mapping[str, Tolerance]:
    wanted = dict(DEFAULT_TOLERANCES) | dict(samples.tolerances if samples else {})
    return {
        provider: Tolerance(
            atol=min(tolerance.atol, caps[provider].atol), rtol=min(tolerance.rtol, caps[provider].rtol)
        )
        for provider, tolerance in wanted.items()
        if provider in caps
    }


def _remarks(structure: Structure, signature: Signature, samples: Golden | None) -> list[str]:
    found: list[str] = []
    if samples is None:
        found.append("no golden samples: its answers were compared with nothing")
    if structure.opset < _OLDEST_OPSET:
        found.append(f"opset {structure.opset} is older than ONNX Runtime warrants ({_OLDEST_OPSET}); export it again")
    for spec in signature.inputs:
        if spec.shape and isinstance(spec.shape[0], int):
            found.append(f"input {spec} has a fixed first dimension: requests cannot share a run")
    return found


def _trial_inputs(signature: Signature, samples: Golden | None) -> Mapping[str, Array] | None:
    if samples is None:
        return batches.make_up(signature, rows=2, seed=0)
    first = samples.samples[0].inputs
    rows = batches.common_rows(first)
    # Without knowing yet whether rows are independent, a small batch is taken whole and a big one cut.
    small = rows is None or rows <= batches.SLICE or not batches.may_join(signature)
    return first if small else batches.rows(first, 0, batches.SLICE)


class _Trial:
    """What a loaded model does when it is run."""

    def __init__(self, session: Session, structure: Structure, tolerance: Tolerance) -> None:
        self._session = session
        self._structure = structure
        self._tolerance = tolerance
        self.answers: Mapping[str, Array] | None = None
        """To the inputs of `check_determinism`, where they are always the same to the last bit."""

    def smoke(self, inputs: Mapping[str, Array], warnings: list[str]) -> bool:
        """Say whether made-up inputs run; that they do not is no proof against the model."""
        try:
            self._session.run(inputs)
        except InvalidModel as error:
            warnings.append(f"a run on made-up inputs failed, which golden samples would settle: {error.message[:300]}")
            return False
        return True

    def check_determinism(self, inputs: Mapping[str, Array]) -> None:
        """Run the same inputs twice; raises InvalidModel where the answers differ."""
        first, second = self._session.run(inputs), self._session.run(inputs)
        self.answers = first if is_equal(first, second) else None
        why = self._difference(first, second)
        if why:
            dropout = "it holds Dropout" if self._structure.has("Dropout") else "it may hold random operators"
            raise InvalidModel(
                f"the same inputs give different answers: {why.replace('the golden sample', 'its first answer')}; "
                f"{dropout}. Call model.eval() before the export",
                check="determinism",
            )

    def is_joinable(self, samples: Golden | None, warnings: list[str]) -> bool:
        """Say whether a batch of two distinct rows answers as the two rows alone do."""
        signature = self._session.signature
        if not batches.may_join(signature):
            return False
        pair = batches.pair(signature, samples)
        if pair is None:
            warnings.append("no two rows to compare were found: requests will not share a run")
            return False
        try:
            together = self._session.run(pair)
            alone = [self._session.run(batches.rows(pair, index, index + 1)) for index in range(2)]
        except InvalidModel as error:
            warnings.append(
                f"it does not run in batches of 1 and 2, requests will not share a run: {error.message[:300]}"
            )
            return False
        if any(batches.common_rows(run) != count for run, count in ((together, 2), (alone[0], 1), (alone[1], 1))):
            warnings.append("its outputs do not have one row for each row of the inputs: requests will not share a run")
            return False
        for index in range(2):
            why = self._difference(batches.rows(together, index, index + 1), alone[index])
            if why:
                warnings.append(f"a row's answer depends on its neighbours, so requests will not share a run: {why}")
                return False
        return True

    def replay(self, samples: Golden, joinable: bool) -> float:
        """Hold the model against every golden sample, in slices where it may; return the largest distance."""
        largest = 0.0
        for index, sample in enumerate(samples.samples):
            for part in _slices(sample) if joinable else (sample,):
                largest = max(largest, self._hold(index, part))
        return largest

    def _hold(self, index: int, sample: Sample) -> float:
        answers = self._session.run(sample.inputs)
        largest = 0.0
        for spec in self._session.signature.outputs:
            found = golden.compare(
                spec.name, spec.dtype, answers[spec.name], sample.outputs[spec.name], self._tolerance
            )
            if not found.within:
                raise GoldenMismatch(f"golden sample {index}: {found.why}", output=spec.name, max_abs=found.max_abs)
            largest = max(largest, found.max_abs)
        return largest

    def _difference(self, actual: Mapping[str, Array], expected: Mapping[str, Array]) -> str:
        for spec in self._session.signature.outputs:
            found = golden.compare(spec.name, spec.dtype, actual[spec.name], expected[spec.name], self._tolerance)
            if not found.within:
                return found.why
        return ""


def _slices(sample: Sample) -> list[Sample]:
    rows = batches.common_rows(sample.inputs)
    if rows is None or rows <= batches.SLICE or batches.common_rows(sample.outputs) != rows:
        return [sample]
    cuts = [(at, at + batches.SLICE) for at in range(0, rows, batches.SLICE)]
    return [Sample(batches.rows(sample.inputs, *cut), batches.rows(sample.outputs, *cut)) for cut in cuts]
