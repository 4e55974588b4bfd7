"""The model tool: whatever touches an uploaded model runs in a sandboxed child, one per job, thrown away after it.

This package's parent half (`job`, `runner`, `child`, `probing`) imports neither onnx nor onnxruntime; the child does.
"""

from interlock_registry.tool.assemble_job import Assembled, AssembledFile, AssembleJob
from interlock_registry.tool.derive_job import DeriveJob, DeriveReport
from interlock_registry.tool.diff_job import DiffJob, DiffSide
from interlock_registry.tool.job import (
    DEFAULT_TOLERANCE_CAPS,
    PARTS,
    ModelLimits,
    SideFile,
    Validated,
    ValidateJob,
    ValidateReport,
)
from interlock_registry.tool.probing import Walls, probe
from interlock_registry.tool.quantize_job import GOLDEN, MODEL, QuantizeJob
from interlock_registry.tool.runner import assemble, derive, diff, quantize, validate
from interlock_registry.walls.limits import Sandbox, ToolLimits

__all__ = [
    "DEFAULT_TOLERANCE_CAPS",
    "GOLDEN",
    "MODEL",
    "PARTS",
    "AssembleJob",
    "Assembled",
    "AssembledFile",
    "DeriveJob",
    "DeriveReport",
    "DiffJob",
    "DiffSide",
    "ModelLimits",
    "QuantizeJob",
    "Sandbox",
    "SideFile",
    "ToolLimits",
    "ValidateJob",
    "ValidateReport",
    "Validated",
    "Walls",
    "assemble",
    "derive",
    "diff",
    "probe",
    "quantize",
    "validate",
]
