"""A trained student becomes an ONNX bundle that other people's runtimes load (torch, onnx, onnxruntime)."""
