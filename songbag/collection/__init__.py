"""Where answers go among a user's files, and the way back; vectors that say what is alike.

Imports data, audio and storage; nothing here predicts, and every change has a line in a journal.
"""
