"""One task a file: training, evaluation, comparison, prediction, checking, packing, export.

Imports every room but the command line, the server and the Python interface.
"""
