"""A serving worker: routes, batchers and ONNX Runtime sessions. Knows only what the control process tells it."""

import os

# ONNX Runtime's wheels report their use to their maker from the moment they are imported; what is served is the
# operator's own business. Who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
