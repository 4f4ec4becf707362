"""Songs to a fitted, calibrated model: the trainer, checkpoints, folds and the ONNX export."""
