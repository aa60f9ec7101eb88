"""ONNX graphs become smaller ONNX graphs (onnx and onnxruntime; no torch)."""
