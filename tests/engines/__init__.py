"""Another release of ONNX Runtime under the same data directory: `make engines`."""
