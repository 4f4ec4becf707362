"""Audio files to frames: decoding in a sandbox, features, windows, and the cache of frames.

Imports encoders, storage, parallel and settings; nothing here knows labels, networks or
predictions.
"""
