"""Recipes: named sets of settings, written as TOML in this folder, and what reads them.

Imports settings, parts and errors alone.
"""
