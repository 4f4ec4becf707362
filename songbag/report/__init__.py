"""One self-contained HTML page about a folder that a command wrote, from its files alone.

A page loads nothing from the network; every number on it is in a CSV or JSON file beside it.
Imports inference, metrics, data and what lies below them; never torch.
"""
