"""Which songs are the same recording, without comparing every song with every other.

Codes of the first half minute of sound of every song go into one sorted index. Two songs
that share two equal codes at the same distance in time are candidates; only candidates are
compared (`songbag.sound.fingerprints.compare`). A copy trimmed by 5 s still shares 25 s of
what is indexed, so the index of a song does not grow with its length.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from songbag.sound.fingerprints import STEP_SECONDS, Codes, Match, compare

MAX_SHIFT_SECONDS = 5.0
_MAX_SHIFT = round((MAX_SHIFT_SECONDS + 0.2) / STEP_SECONDS)
_INDEXED = round(30 / STEP_SECONDS)  # codes of a song in the index
_SHORTEST = round(3 / STEP_SECONDS)  # codes; shorter songs are compared by their bytes only
_CROWD = 64  # codes equal to so many neighbours say nothing: held tones, hum
_HITS = 2  # equal codes at one distance in time

Pairs = NDArray[np.int64]  # (pairs, 3): first song, second song, offset in steps
Counts = NDArray[np.int32]
Read = Callable[[int], Codes]  # the fingerprint of a song, by its place


def same_recordings(songs: int, read: Read) -> Iterator[tuple[int, int, Match]]:
    """Yield (first, second, match) for songs that are the same, wholly or for 10 s or more.

    A match that is ``whole`` but shifted by more than 5 s is another excerpt of the same
    recording (see `is_copy`). Fingerprints are read when they are needed: all of a large
    collection would not fit into memory.
    """
    for first, second, offset in candidates(songs, read).tolist():
        match = compare(read(first), read(second), offset)
        if match.whole or match.end > match.start:
            yield first, second, match


def is_copy(match: Match) -> bool:
    """Tell whether a match is one recording twice, shifted by 5 s at most."""
    return match.whole and abs(match.offset) <= _MAX_SHIFT


def candidates(count: int, read: Read) -> Pairs:
    """Return the pairs worth comparing, each with the offset that most codes agree on."""
    codes, songs, times = _index(count, read)
    found: list[Pairs] = [np.zeros((0, 3), dtype=np.int64)]
    for step in range(1, _CROWD):
        near = np.flatnonzero(codes[step:] == codes[:-step])
        if not len(near):
            break
        near = near[songs[near] != songs[near + step]]
        offsets = times[near] - times[near + step]
        found.append(np.stack([songs[near], songs[near + step], offsets], axis=1).astype(np.int64))
    return _agreed(np.concatenate(found), count)


def _index(count: int, read: Read) -> tuple[Codes, Counts, Counts]:
    """Return code, song and time of everything in the index, sorted by code.

    Codes that stand in it too often are left out.
    """
    codes = [np.zeros(0, dtype=np.uint32)]
    times = [np.zeros(0, dtype=np.int32)]
    for song in range(count):
        one = read(song)
        place = np.flatnonzero(one)[:_INDEXED] if len(one) >= _SHORTEST else np.zeros(0, np.int64)
        codes.append(one[place])
        times.append(place.astype(np.int32))
    lengths = [len(one) for one in codes[1:]]
    joined = np.concatenate(codes)
    order = np.argsort(joined, kind="stable")
    joined = joined[order]
    first = np.flatnonzero(np.diff(joined, prepend=joined[:1] + np.uint32(1)))
    crowd = np.diff(first, append=len(joined))
    rare = np.repeat(crowd <= _CROWD, crowd)
    order = order[rare]
    songs = np.repeat(np.arange(count, dtype=np.int32), lengths)[order]
    return joined[rare], songs, np.concatenate(times)[order]


def _agreed(hits: Pairs, songs: int) -> Pairs:
    """Keep of every pair the offset with the most hits, if there are enough of them."""
    wide = 2 * int(np.abs(hits[:, 2]).max(initial=0)) + 1
    keys = (hits[:, 0] * songs + hits[:, 1]) * wide + hits[:, 2] + wide // 2
    distinct, count = np.unique(keys, return_counts=True)
    distinct, count = distinct[count >= _HITS], count[count >= _HITS]
    best = np.lexsort((-count, distinct // wide))  # per pair, the most hits first
    pairs, first = np.unique(distinct[best] // wide, return_index=True)
    offsets = distinct[best][first] % wide - wide // 2
    return np.stack([pairs // songs, pairs % songs, offsets], axis=1)
