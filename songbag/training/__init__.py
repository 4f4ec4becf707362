"""Songs to a fitted, calibrated network: the trainer, checkpoints, folds and the export to ONNX.

Imports models, inference and what lies below them; prediction never imports it.
"""
