"""Songs with labels and groups, their bags of windows, splits, and packed collections.

Imports audio and what lies below it; nothing here knows networks or predictions.
"""
