"""ONNX graphs: sessions with limits, checks of untrusted graphs, and building graphs.

Imports errors alone.
"""
