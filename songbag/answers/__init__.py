"""Frames to answers and figures, with numpy and ONNX Runtime; never torch."""
