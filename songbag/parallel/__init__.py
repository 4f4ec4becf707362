"""Work on many songs in several processes of this machine, or on a Dask cluster.

Imports errors and settings alone.
"""
