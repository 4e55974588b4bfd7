"""The job `quantize`: which model, to what form, within what; values and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from interlock.quantization import Form

from interlock_registry.tool.job import ModelLimits

MODEL: Final = "model.onnx"
"""What the child writes into `out`: the new model, whole."""
GOLDEN: Final = "golden.npz"
"""And the parent's golden samples with the tolerance that the new model is held to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeJob:
    """The order to make a narrower form of a model and to hold it against the one that it is made of."""

    model: Path
    """The parent's graph, its tensors beside it."""
    golden: Path
    out: Path
    """An empty directory."""
    form: Form
    parent: int
    """Its version's number, for the report."""
    parent_bytes: int
    max_share: float
    """How much of the largest golden output a tolerance may be."""
    atol: float | None = None
    """The form's where it is not stated, like rtol."""
    rtol: float | None = None
    limits: ModelLimits = field(default_factory=ModelLimits)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        paths = {"model": str(self.model), "golden": str(self.golden), "out": str(self.out)}
        return {**asdict(self), **paths, "form": self.form.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QuantizeJob:
        """Read a job."""
        return cls(
            model=Path(data["model"]),
            golden=Path(data["golden"]),
            out=Path(data["out"]),
            form=Form(data["form"]),
            parent=int(data["parent"]),
            parent_bytes=int(data["parent_bytes"]),
            max_share=float(data["max_share"]),
            atol=data["atol"],
            rtol=data["rtol"],
            limits=ModelLimits(**data["limits"]),
        )
