"""Where answers go among a user's files: sorted folders, playlists, tags, and the way back.

Imports data, audio and storage; nothing here predicts, and every change has a line in a journal.
"""
