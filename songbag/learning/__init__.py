"""Bags to weights. torch lives here, and only here."""
