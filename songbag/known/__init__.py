"""Known data sets: facts with their sources, tables of folders that hold them, downloads.

Imports storage and what lies below it; no audio is part of it.
"""
