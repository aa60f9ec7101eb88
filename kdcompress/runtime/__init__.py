"""A bundle turns audio into text (numpy and onnxruntime; no torch)."""
