"""What the parent asks of a child that compares two versions, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from interlock.diff import AnswerComparison, AnswerDifference, TensorFigures
from interlock.golden import Tolerance

from interlock_registry.comparison import Measured
from interlock_registry.manifest import Blob, checked_digest
from interlock_registry.tool.job import ModelLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSide:
    """One of the versions."""

    version: int
    manifest: Path
    """The manifest of its artifact, as the registry has it."""
    golden: str
    """Digest of its golden samples, "" where it has none."""
    joinable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffJob:
    """The order to compare the weights and the answers of two versions."""

    folder: Path
    """Where the blobs are, named by their digests; nothing is written there."""
    before: DiffSide
    after: DiffSide
    tolerance: Tolerance
    """Of the first version's golden samples on the CPU."""
    weights_s: float
    """Weights that are not measured by then are left unmeasured."""
    answers_s: float
    """Golden samples that are not replayed by then are left out."""
    limits: ModelLimits = field(default_factory=ModelLimits)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        sides = {name: _side_json(side) for name, side in (("before", self.before), ("after", self.after))}
        return {**asdict(self), "folder": str(self.folder), **sides}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DiffJob:
        """Read a job."""
        return cls(
            folder=Path(data["folder"]),
            before=_side(data["before"]),
            after=_side(data["after"]),
            tolerance=Tolerance(**data["tolerance"]),
            weights_s=float(data["weights_s"]),
            answers_s=float(data["answers_s"]),
            limits=ModelLimits(**data["limits"]),
        )

    def path(self, blob: Blob) -> Path:
        """Return where a blob lies; raises InvalidArgument."""
        return self.folder / checked_digest(blob.digest)


def _side_json(side: DiffSide) -> dict[str, Any]:
    return {**asdict(side), "manifest": str(side.manifest)}


def _side(data: Mapping[str, Any]) -> DiffSide:
    golden = str(data["golden"])
    return DiffSide(
        version=int(data["version"]),
        manifest=Path(data["manifest"]),
        golden=checked_digest(golden) if golden else "",
        joinable=bool(data["joinable"]),
    )


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return what `read_measured` reads; infinite numbers are Python's `Infinity`, which is no JSON."""
    return {
        "figures": {name: asdict(each) for name, each in measured.figures.items()},
        "unmeasured": dict(measured.unmeasured),
        "golden": asdict(measured.golden),
        "replayed": asdict(measured.replayed),
    }


def read_measured(data: Mapping[str, Any]) -> Measured:
    """Read what a child answered; raises KeyError, TypeError, ValueError where it is not that."""
    return Measured(
        figures={str(name): _figures(each) for name, each in data["figures"].items()},
        unmeasured={str(name): str(why) for name, why in data["unmeasured"].items()},
        golden=_comparison(data["golden"]),
        replayed=_comparison(data["replayed"]),
    )


def _figures(data: Mapping[str, Any]) -> TensorFigures:
    return TensorFigures(
        elements=int(data["elements"]),
        changed=int(data["changed"]),
        max_abs=float(data["max_abs"]),
        relative_l2=float(data["relative_l2"]),
    )


def _comparison(data: Mapping[str, Any]) -> AnswerComparison:
    return AnswerComparison(
        samples=int(data["samples"]),
        outputs=tuple(
            AnswerDifference(
                output=str(each["output"]),
                rows=int(each["rows"]),
                differing=int(each["differing"]),
                max_abs=float(each["max_abs"]),
                relative_l2=float(each["relative_l2"]),
                same_top=None if each["same_top"] is None else float(each["same_top"]),
                within_tolerance=bool(each["within_tolerance"]),
                before=tuple(str(value) for value in each["before"]),
                after=tuple(str(value) for value in each["after"]),
                why=str(each["why"]),
            )
            for each in data["outputs"]
        ),
        why=str(data["why"]),
    )
