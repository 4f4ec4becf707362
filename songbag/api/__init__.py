"""Songbag in Python: what people call by name, with DataFrames in and out.

It may import all but the command line and the server.
"""
