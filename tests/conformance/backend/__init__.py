"""ONNX's own backend tests through the wire: what ONNX Runtime answers in process, Interlock answers bit for bit."""
