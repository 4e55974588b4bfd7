"""The model tool: whatever touches an uploaded model runs in a sandboxed child, one per job, thrown away after it.

This package's parent half (`job`, `runner`, `sandbox`) imports neither onnx nor onnxruntime; the child does.
"""

from interlock_registry.tool.job import (
    DEFAULT_TOLERANCE_CAPS,
    ModelLimits,
    ToolLimits,
    ValidateJob,
    ValidateReport,
)
from interlock_registry.tool.quantize_job import GOLDEN, MODEL, QuantizeJob
from interlock_registry.tool.runner import quantize, validate
from interlock_registry.tool.sandbox import sandbox_layers

__all__ = [
    "DEFAULT_TOLERANCE_CAPS",
    "GOLDEN",
    "MODEL",
    "ModelLimits",
    "QuantizeJob",
    "ToolLimits",
    "ValidateJob",
    "ValidateReport",
    "quantize",
    "sandbox_layers",
    "validate",
]
