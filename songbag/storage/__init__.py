"""Files written whole, CSV files, and paths in object stores.

Imports errors alone.
"""
