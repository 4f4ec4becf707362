"""What is wrong with a collection: damaged files, copies, label noise, shortcuts.

Imports data, audio and metrics; nothing here trains or predicts.
"""
