"""Model files and prediction with NumPy and ONNX Runtime, written as tables and graphs.

Imports data, encoders, metrics and what lies below them; never torch.
"""
