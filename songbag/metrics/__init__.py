"""Figures and their uncertainty, computed from arrays of truths and probabilities.

Imports NumPy alone: no songs, files or models.
"""
