"""Pre-trained encoders that turn a window's samples into a vector.

Imports audio, onnx_runtime and what lies below them; never torch.
"""
