"""What is wrong with a collection: damaged files, copies, doubtful labels, shortcuts.

Imports data, audio and metrics; nothing here trains or predicts.
"""
