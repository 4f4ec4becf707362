"""The way from samples to a song's answer, written as one ONNX graph."""
