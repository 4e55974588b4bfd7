"""The child's job `derive`: the graph as ONNX Runtime optimises it, its tensors outside, its answers the same."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from interlock import golden
from interlock.errors import InvalidModel
from interlock.types import Array, Signature
from onnx import GraphProto, TensorProto

from interlock_registry.derived_store import MADE
from interlock_registry.manifest import Blob
from interlock_registry.tool import batches
from interlock_registry.tool.derive_job import DeriveJob, DeriveReport
from interlock_registry.tool.job import ModelLimits
from interlock_registry.tool.runtime import Session, refusal, session_options

_MIN_OUTSIDE: Final = 4096
"""Bytes from which a tensor is kept outside of the graph."""
_ALIGNMENT: Final = 4096
"""Of what lies behind a tensor in its file: kernels may want it at a cache line's beginning."""
_MAX_RUNS: Final = 4
_WORTH_PACKING: Final = 0.25
_CHUNK: Final = 4 << 20


def derive(job: DeriveJob) -> DeriveReport:
    """Make a derived form; raises InvalidModel where it cannot be made or answers otherwise, MemoryError."""
    plain = Session(job.model, job.limits)
    runs = _runs(job, plain.signature)
    expected = [plain.run(inputs) for inputs in runs]
    signature, plain_load_s = plain.signature, plain.load_s
    del plain  # a big model is never here twice
    parts = _take_apart(_optimise(job.model, job.folder, job.limits), job)
    derived = Session(job.graph, job.limits, optimised=True)
    _hold(signature, derived, runs, expected)
    return DeriveReport(
        graph=parts.graph,
        own=parts.own,
        shared=parts.shared,
        is_packed=parts.is_packed,
        compared=len(runs),
        plain_load_s=plain_load_s,
        load_s=derived.load_s,
    )


# --- the comparison ---


def _runs(job: DeriveJob, signature: Signature) -> list[Mapping[str, Array]]:
    if job.golden is None:
        made_up = batches.make_up(signature, rows=2, seed=0)
        if made_up is None:
            raise InvalidModel("its inputs are too big to make up, so nothing could be compared", check="derived")
        return [made_up]
    samples = golden.read(job.golden).samples
    slices = (part for sample in samples for part in _slices(sample.inputs, job.joinable))
    return list(islice(slices, _MAX_RUNS))


def _slices(inputs: Mapping[str, Array], joinable: bool) -> Iterator[Mapping[str, Array]]:
    rows = batches.common_rows(inputs)
    if rows is None or not joinable or rows <= batches.SLICE:
        yield inputs
        return
    for start in range(0, rows, batches.SLICE):
        yield batches.rows(inputs, start, start + batches.SLICE)


def _hold(
    signature: Signature,
    derived: Session,
    runs: Sequence[Mapping[str, Array]],
    expected: Sequence[Mapping[str, Array]],
) -> None:
    """Compare bit by bit: the same kernels run in both, so there is nothing to tolerate."""
    if _interface(derived.signature) != _interface(signature):
        raise InvalidModel("the optimised graph has other inputs or outputs", check="derived")
    for inputs, answers in zip(runs, expected, strict=True):
        for name, array in derived.run(inputs).items():
            if not _same(array, answers[name]):
                raise InvalidModel(f"the optimised graph gives another {name!r}", check="derived")


def _interface(signature: Signature) -> tuple[tuple[str, str], ...]:
    return tuple((spec.name, spec.dtype.value) for spec in (*signature.inputs, *signature.outputs))


def _same(one: Array, other: Array) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool(np.array_equal(one, other))
    return one.tobytes() == other.tobytes()  # so that a NaN equals itself, and 0 is not -0


# --- the graph ---


@dataclass(frozen=True, slots=True)
class _Optimised:
    graph: Path
    weights: Path


def _optimise(model: Path, folder: Path, limits: ModelLimits) -> _Optimised:
    found = _Optimised(folder / "optimised.onnx", folder / "weights.bin")
    options = session_options(limits)
    options.optimized_model_filepath = str(found.graph)
    for name, value in (
        ("session.optimized_model_external_initializers_file_name", found.weights.name),
        ("session.optimized_model_external_initializers_min_size_in_bytes", str(_MIN_OUTSIDE)),
        ("session.save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(name, value)
    try:
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise refusal(error, "optimising", "derived") from error
    return found


@dataclass(frozen=True, slots=True)
class _Parts:
    graph: Blob
    own: tuple[Blob, ...]
    shared: tuple[Blob, ...]
    is_packed: bool


@dataclass(frozen=True, slots=True)
class _Segment:
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class _Packed:
    """What one kind of kernel made of a tensor."""

    key: str
    buffers: tuple[_Segment, ...]


@dataclass(frozen=True, slots=True)
class _External:
    """Where ONNX Runtime wrote a tensor, and what kernels made of it, in its one file of weights."""

    data: _Segment
    packed: tuple[_Packed, ...]

    @property
    def packed_bytes(self) -> int:
        return sum(segment.length for each in self.packed for segment in each.buffers)


def _take_apart(optimised: _Optimised, job: DeriveJob) -> _Parts:
    model = onnx.load(optimised.graph, load_external_data=False)
    tensors = [(tensor, _external(tensor)) for tensor in _outside(model.graph)]
    # Packed weights double a file, but sessions of several versions and processes share them; without them each
    # session packs its own into memory. They are kept where that memory would be a good part of the model's.
    is_packed = sum(each.packed_bytes for _, each in tensors) >= _WORTH_PACKING * sum(
        each.data.length for _, each in tensors
    ) and any(each.packed for _, each in tensors)
    own: dict[str, Blob] = {}
    shared: dict[str, Blob] = {}
    artifact = _artifact(job)
    if tensors:
        with optimised.weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as weights:
            for tensor, external in tensors:
                packed = external.packed if is_packed else ()
                layout = _layout(external.data, packed)
                digest, size = _digest(weights, layout)
                if job.shared is not None and digest in artifact:
                    shared[digest] = artifact[digest]
                    _point(tensor, f"{job.shared.name}/{digest}", external.data, ())
                else:
                    own[digest] = Blob(digest, size)
                    _write_once(job, digest, weights, layout)
                    _point(tensor, f"{job.own.name}/{digest}", external.data, packed)
    data = model.SerializeToString(deterministic=True)
    (job.folder / MADE).write_bytes(data)
    graph = Blob(hashlib.sha256(data).hexdigest(), len(data))
    _write_trial(job, model)
    return _Parts(graph, tuple(own.values()), tuple(shared.values()), is_packed)


def _write_trial(job: DeriveJob, model: onnx.ModelProto) -> None:
    """Write the graph with its new tensors where they are now, and not where they will be."""
    for tensor in _outside(model.graph):
        for entry in tensor.external_data:
            folder, _, name = entry.value.partition("/")
            if entry.key == "location" and folder == job.own.name and (job.folder / name).exists():
                entry.value = f"{job.own.name}/{job.folder.name}/{name}"
    job.graph.write_bytes(model.SerializeToString())


def _artifact(job: DeriveJob) -> Mapping[str, Blob]:
    """Return the artifact's own tensors, and no other's: those stay as long as the artifact does."""
    if job.shared is None:
        return {}
    model = onnx.load(job.model, load_external_data=False)
    names = {
        entry.value for tensor in _outside(model.graph) for entry in tensor.external_data if entry.key == "location"
    }
    paths = (job.shared / Path(name).name for name in names)
    return {path.name: Blob(path.name, path.stat().st_size) for path in paths if path.is_file()}


def _outside(graph: GraphProto) -> Iterator[TensorProto]:
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]:
                if tensor.data_location == TensorProto.EXTERNAL:
                    yield tensor
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _outside(inner)


def _external(tensor: TensorProto) -> _External:
    """Read ONNX Runtime's entries; those of packed weights are `key|offset;length;checksum|...`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    packed: list[_Packed] = []
    for name, value in sorted(entries.items()):
        if name.startswith("prepacked_"):
            key, *buffers = value.split("|")
            packed.append(_Packed(key, tuple(_segment(*each.split(";")[:2]) for each in buffers)))
    return _External(_segment(entries.get("offset", "0"), entries["length"]), tuple(packed))


def _segment(offset: str, length: str) -> _Segment:
    return _Segment(int(offset), int(length))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of the file of weights, and where they go in a file of their own."""

    source: _Segment
    at: int


def _layout(data: _Segment, packed: Sequence[_Packed]) -> tuple[_Piece, ...]:
    pieces = [_Piece(data, 0)]
    end = data.length
    for each in packed:
        for segment in each.buffers:
            at = -(-end // _ALIGNMENT) * _ALIGNMENT
            pieces.append(_Piece(segment, at))
            end = at + segment.length
    return tuple(pieces)


def _point(tensor: TensorProto, location: str, data: _Segment, packed: Sequence[_Packed]) -> None:
    """Say where a tensor lies now."""
    places = iter(_layout(data, packed)[1:])
    entries = {"location": location, "offset": "0", "length": str(data.length)}
    for index, each in enumerate(packed):
        buffers = (f"{next(places).at};{segment.length};0" for segment in each.buffers)
        entries[f"prepacked_{index}"] = "|".join([each.key, *buffers])
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def _bytes(weights: mmap.mmap, layout: Sequence[_Piece]) -> Iterator[bytes]:
    end = 0
    for piece in layout:
        yield bytes(piece.at - end)
        stop = piece.source.offset + piece.source.length
        for start in range(piece.source.offset, stop, _CHUNK):
            yield weights[start : min(start + _CHUNK, stop)]
        end = piece.at + piece.source.length


def _digest(weights: mmap.mmap, layout: Sequence[_Piece]) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    for chunk in _bytes(weights, layout):
        hasher.update(chunk)
        size += len(chunk)
    return hasher.hexdigest(), size


def _write_once(job: DeriveJob, digest: str, weights: mmap.mmap, layout: Sequence[_Piece]) -> None:
    """Write a tensor's file under its digest, unless another form has it and it is whole."""
    known, path = job.own / digest, job.folder / digest
    if path.exists() or (known.is_file() and _hash_file(known) == digest):
        return
    with path.open("xb") as file:
        for chunk in _bytes(weights, layout):
            file.write(chunk)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
