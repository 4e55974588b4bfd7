"""The child's job `diff`: how far the weights and the answers of two versions are from each other."""

from __future__ import annotations

from pathlib import Path

from interlock import golden
from interlock.golden import Golden

from interlock_registry.comparison import Measured
from interlock_registry.manifest import Manifest
from interlock_registry.tool.answers import own, replayed
from interlock_registry.tool.diff_job import DiffJob, DiffSide
from interlock_registry.tool.weights import measure


def diff(job: DiffJob) -> Measured:
    """Compare two versions; raises InvalidGolden, DataLoss, OSError where what is stored is damaged."""
    before, after = (Manifest.from_json(side.manifest.read_text()) for side in (job.before, job.after))
    figures, unmeasured = measure(job, before, after)
    first, second = _golden(job.folder, job.before), _golden(job.folder, job.after)
    return Measured(
        figures=figures,
        unmeasured=unmeasured,
        golden=own(job, first, second),
        replayed=replayed(job, first, after),
    )


def _golden(folder: Path, side: DiffSide) -> Golden | None:
    return golden.read(folder / side.golden) if side.golden else None
