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
from interlock_registry.tool.runner import validate
from interlock_registry.tool.sandbox import sandbox_layers

__all__ = [
    "DEFAULT_TOLERANCE_CAPS",
    "ModelLimits",
    "ToolLimits",
    "ValidateJob",
    "ValidateReport",
    "sandbox_layers",
    "validate",
]
