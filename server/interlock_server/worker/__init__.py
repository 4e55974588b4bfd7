"""A serving worker: routes, batchers and ONNX Runtime sessions. Knows only what the control process tells it."""
