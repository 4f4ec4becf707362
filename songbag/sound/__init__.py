"""File to frames: decoding, features, windows, and their cache."""
