"""Files that are written whole, journals, CSV, and paths in object stores.

Imports errors alone.
"""
