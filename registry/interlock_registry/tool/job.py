"""What the parent asks of a model tool child, what it allows it, and what comes back: values and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from interlock.golden import Tolerance
from interlock.types import DType, Signature, TensorSpec

from interlock_registry.derived import MAX_FOLDED_BYTES
from interlock_registry.manifest import Manifest

PARTS: Final = "parts"
"""The folder beside the model where a child writes the blobs that it takes the model apart into."""
_ORIGINAL: Final = "original.onnx"

DEFAULT_TOLERANCE_CAPS: Final[Mapping[str, Tolerance]] = {
    "CPU": Tolerance(atol=2e-2, rtol=2e-2),
    "CUDA": Tolerance(atol=5e-2, rtol=5e-2),
}
"""The widest tolerance that a golden file is believed: enough for FP16, too little for a wrong model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """How big a graph may be; counted before ONNX Runtime sees it."""

    max_nodes: int = 200_000
    """Nodes after every model-local function is expanded."""
    max_tensors: int = 200_000
    max_nesting: int = 32
    """Subgraphs inside subgraphs, and functions inside functions."""
    max_folded_bytes: int = MAX_FOLDED_BYTES
    """The largest constant that the optimiser may compute ahead."""


@dataclass(frozen=True, slots=True)
class SideFile:
    """A file that a model keeps data in."""

    location: str
    """What the model calls it; never used as a path."""
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateJob:
    """The question whether a file is a model that we can serve and does what its golden samples say.

    A model that is one is taken apart on the way: its blobs are then in the folder `parts` beside it.
    """

    model: Path
    golden: Path | None = None
    files: tuple[SideFile, ...] = ()
    """In the model's directory."""
    tolerance_caps: Mapping[str, Tolerance] = field(default_factory=lambda: DEFAULT_TOLERANCE_CAPS)
    """By provider."""
    limits: ModelLimits = field(default_factory=ModelLimits)

    @property
    def parts(self) -> Path:
        """Where the blobs are written."""
        return self.model.parent / PARTS

    @property
    def original(self) -> Path:
        """Where a model of several files is written with the names that these have here; beside them, as it must."""
        return self.model.with_name(_ORIGINAL)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "model": str(self.model),
            "golden": None if self.golden is None else str(self.golden),
            "files": [[each.location, str(each.path)] for each in self.files],
            "tolerance_caps": {name: asdict(cap) for name, cap in self.tolerance_caps.items()},
            "limits": asdict(self.limits),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ValidateJob:
        """Read a job."""
        golden = data["golden"]
        return cls(
            model=Path(data["model"]),
            golden=None if golden is None else Path(golden),
            files=tuple(SideFile(str(location), Path(path)) for location, path in data["files"]),
            tolerance_caps=_tolerances(data["tolerance_caps"]),
            limits=ModelLimits(**data["limits"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateReport:
    """What the child measured and decided about a model that it found good."""

    signature: Signature
    joinable: bool
    """A batch of two equals two singles: requests may share a run."""
    proven: bool
    """Golden samples were replayed and agreed."""
    golden_samples: int
    tolerances: Mapping[str, Tolerance]
    """By provider, after the cap: what PREPARE holds the version to."""
    max_abs: float
    """The largest distance from a golden output; 0 without golden samples."""
    load_s: float
    run_s: float
    """The median of the runs made here; 0 where none succeeded."""
    memory_bytes: int
    """Resident memory that loading and running it added."""
    opset: int
    ir_version: int
    producer: str
    runtime_version: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Where the golden samples come from, as their file says."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "signature": {
                "inputs": [_spec(spec) for spec in self.signature.inputs],
                "outputs": [_spec(spec) for spec in self.signature.outputs],
                "optional": [_spec(spec) for spec in self.signature.optional],
            },
            "joinable": self.joinable,
            "proven": self.proven,
            "golden_samples": self.golden_samples,
            "tolerances": {name: asdict(tolerance) for name, tolerance in self.tolerances.items()},
            "max_abs": self.max_abs,
            "load_s": self.load_s,
            "run_s": self.run_s,
            "memory_bytes": self.memory_bytes,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "producer": self.producer,
            "runtime_version": self.runtime_version,
            "environment": dict(self.environment),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ValidateReport:
        """Read a report; raises KeyError, TypeError, ValueError where it is not one."""
        signature = data["signature"]
        return cls(
            signature=Signature(
                tuple(_from_spec(spec) for spec in signature["inputs"]),
                tuple(_from_spec(spec) for spec in signature["outputs"]),
                tuple(_from_spec(spec) for spec in signature["optional"]),
            ),
            joinable=bool(data["joinable"]),
            proven=bool(data["proven"]),
            golden_samples=int(data["golden_samples"]),
            tolerances=_tolerances(data["tolerances"]),
            max_abs=float(data["max_abs"]),
            load_s=float(data["load_s"]),
            run_s=float(data["run_s"]),
            memory_bytes=int(data["memory_bytes"]),
            opset=int(data["opset"]),
            ir_version=int(data["ir_version"]),
            producer=str(data["producer"]),
            runtime_version=str(data["runtime_version"]),
            environment={str(key): str(value) for key, value in data["environment"].items()},
            warnings=tuple(str(text) for text in data["warnings"]),
        )


@dataclass(frozen=True, slots=True)
class Validated:
    """A model that was found good, and what it was taken apart into; the manifest's sources are left empty."""

    report: ValidateReport
    manifest: Manifest

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"report": self.report.to_json(), "manifest": self.manifest.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Validated:
        """Read what a child answered; raises KeyError, TypeError, ValueError, DataLoss where it is not that."""
        return cls(ValidateReport.from_json(data["report"]), Manifest.from_json(str(data["manifest"])))


def _tolerances(data: Mapping[str, Any]) -> Mapping[str, Tolerance]:
    return {str(name): Tolerance(atol=float(entry["atol"]), rtol=float(entry["rtol"])) for name, entry in data.items()}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)}


def _from_spec(data: Mapping[str, Any]) -> TensorSpec:
    shape = data["shape"]
    if not all(dim is None or isinstance(dim, int | str) for dim in shape):
        raise ValueError(f"not a shape: {shape!r}")
    return TensorSpec(str(data["name"]), DType(data["dtype"]), tuple(shape))
