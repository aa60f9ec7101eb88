"""ONNX models that kdcompress did not export."""
