"""Pre-trained encoders: frames of a song in, rows of vectors out.

Imports onnx_runtime and what lies below it; never audio, which asks for rows, nor torch.
"""
