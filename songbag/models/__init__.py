"""Networks, poolings and losses in torch, and what combines and solves them.

Imports data, metrics and what lies below them; only models, training and keras import torch.
"""
