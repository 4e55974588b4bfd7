"""How two versions of a model differ, as values. Pure; the SDK hands these to its users."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from interlock.model import Version


@dataclass(frozen=True, slots=True)
class FieldChange:
    """Something with a name that differs; "" where one side does not have it."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """An operator that one graph has more often than the other, or in another operator set."""

    domain: str
    op_type: str
    opset_before: int
    """0 where the graph does not have it."""
    opset_after: int
    count_before: int
    count_after: int


class TensorStatus(Enum):
    """What became of a weight tensor; bytes that are equal are stored and mapped once."""

    CHANGED = "CHANGED"
    ADDED = "ADDED"
    REMOVED = "REMOVED"
    RENAMED = "RENAMED"
    SHARED = "SHARED"


@dataclass(frozen=True, slots=True)
class TensorForm:
    """A tensor's datatype, as ONNX names it, its shape and its bytes."""

    dtype: str
    dims: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorFigures:
    """How far two tensors of equal shape are from each other."""

    elements: int
    changed: int
    """Elements that differ."""
    max_abs: float
    """The largest distance between two elements; infinite where only one of them is a finite number."""
    relative_l2: float
    """The norm of the difference over the norm of what was before; infinite where that was zero."""


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One weight tensor in both versions."""

    name: str
    status: TensorStatus
    before: TensorForm | None
    """None where it was added."""
    after: TensorForm | None
    """None where it was removed."""
    figures: TensorFigures | None = None
    """Of one that changed; None where `why` says."""
    why: str = ""
    """Why a tensor that changed has no figures."""
    renamed_from: str = ""


@dataclass(frozen=True, slots=True)
class TensorCount:
    """How many tensors had one thing happen to them, and how big they are together."""

    status: TensorStatus
    tensors: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What the artifacts take in the store; blobs that both have are there once."""

    before_bytes: int
    after_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class AnswerDifference:
    """One output in two sets of answers to the same inputs."""

    output: str
    rows: int
    """Rows compared: the first dimension, 1 where an output has none."""
    differing: int
    """Rows that are not equal."""
    max_abs: float
    relative_l2: float
    same_top: float | None
    """Share of the rows whose largest value is in the same place; None where the output is no vector of numbers."""
    within_tolerance: bool
    """No further apart than the golden samples of the first version allow."""
    before: tuple[str, ...]
    """The first few values of the first row."""
    after: tuple[str, ...]
    why: str = ""
    """What is wrong where the two cannot be compared: another shape, no such output."""


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """Two sets of answers to the same inputs, output by output."""

    samples: int
    """Golden samples compared; 0 where `why` says."""
    outputs: tuple[AnswerDifference, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Everything in which two versions of a model differ; what is equal is left out."""

    before: Version
    after: Version
    same_artifact: bool
    breaking: tuple[str, ...]
    """What breaks callers of the first version where the second one is served."""
    breaking_back: tuple[str, ...]
    """What breaks callers of the second version at a rollback to the first."""
    signature: tuple[FieldChange, ...]
    config: tuple[FieldChange, ...]
    metadata: tuple[FieldChange, ...]
    """Notes, tags, who registered it, what was proven."""
    environment: tuple[FieldChange, ...]
    """What trained and exported it: packages, operator sets, the file's own versions."""
    measured: tuple[FieldChange, ...]
    """What the model tool measured when it validated them: load and run time, memory."""
    operators: tuple[OperatorChange, ...]
    tensors: tuple[TensorChange, ...]
    """What changed most comes first, what is shared last; only the first ten thousand."""
    tensor_counts: tuple[TensorCount, ...]
    """Of all tensors, also those that `tensors` leaves out."""
    disk: DiskUse
    golden: AnswerComparison
    """The answers that came with the versions, where both have golden samples with the same inputs."""
    replayed: AnswerComparison
    """The golden samples of the first version, and what the second one answers to their inputs."""
