"""Find songs that are the same recording, choose the best copy, and report each pair.

Songs of equal sound have the same hash of their decoded samples. Other copies (re-encoded,
trimmed, louder) are recognised by fingerprint, without comparing every song with every other:
codes of the first half minute of sound of every song go into one sorted index. Two songs
that share two equal codes at the same distance in time are candidates; only candidates are
compared (`songbag.audio.fingerprint.compare`). A copy trimmed by 5 s still shares 25 s of
what is indexed, so the index of a song does not grow with its length.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.audio.fingerprint import STEP_SECONDS, Codes, Match, compare
from songbag.data.song import Song
from songbag.quality.file_facts import Facts, lossless, read_codes
from songbag.quality.findings import Finding
from songbag.quality.table_checks import names_differ
from songbag.storage.remote import AnyPath

_MAX_SHIFT = round(5.2 / STEP_SECONDS)  # 5 s, and what a fingerprint may be off
_INDEXED = round(30 / STEP_SECONDS)  # codes of a song in the index
_SHORTEST = round(3 / STEP_SECONDS)  # codes; shorter songs are compared by their bytes only
_CROWD = 64  # codes equal to so many neighbours say nothing: held tones, hum
_HITS = 2  # equal codes at one distance in time

Offsets = NDArray[np.int64]  # (pairs, 3): first song, second song, offset in steps
Counts = NDArray[np.int32]
ReadCodes = Callable[[int], Codes]  # the fingerprint of a song, by its place


@dataclass(frozen=True)
class Pair:
    """Two songs, by their places, that are one recording or share a part of one.

    ``match`` says how their fingerprints agree; None where the decoded sound is the same.
    """

    first: int
    second: int
    match: Match | None = None

    @property
    def is_copy(self) -> bool:
        """Whether they are one recording twice, shifted by 5 s at most: one is enough."""
        match = self.match
        return match is None or (match.whole and abs(match.offset) <= _MAX_SHIFT)

    def describe(self, swapped: bool = False) -> str:
        """Return how the pair agrees, as seen from its second song (``swapped``: its first).

        >>> Pair(0, 1, Match(21, bit_error_rate=0.1, whole=True, start=0, end=500)).describe()
        'the same recording (10 % of the fingerprint differ), begins 1.0 s later'
        """
        match = self.match
        if match is None:
            return "the same sound, sample by sample"
        if not self.is_copy:
            length = (match.end - match.start) * STEP_SECONDS
            starts = [match.start * STEP_SECONDS, (match.start - match.offset) * STEP_SECONDS]
            own, other = starts if swapped else reversed(starts)
            return f"{length:.0f} s are one recording (from {own:.1f} s; there from {other:.1f} s)"
        # Code t of the second lies under t + offset of the first: the second begins later.
        later = (-match.offset if swapped else match.offset) * STEP_SECONDS
        shift = f", begins {abs(later):.1f} s {'later' if later > 0 else 'earlier'}"
        rate = f"{100 * match.bit_error_rate:.0f} % of the fingerprint differ"
        return f"the same recording ({rate}){shift if abs(later) >= 0.1 else ''}"


def find_pairs(facts: Sequence[Facts], prints: Sequence[AnyPath | None]) -> list[Pair]:
    """Return the pairs of songs of the same sound, and of different songs those that match.

    ``prints`` names every song's file of its fingerprint. Silent and unreadable songs have
    no copies.
    """
    same_sound: dict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        if fact.status == "ok" and not fact.sound.silent:
            same_sound[fact.audio_hash].append(place)
    different = [places[0] for places in same_sound.values()]
    pairs = [Pair(places[0], place) for places in same_sound.values() for place in places[1:]]
    for pair in matching_pairs(
        len(different), lambda number: read_codes(prints[different[number]])
    ):
        pairs.append(Pair(different[pair.first], different[pair.second], pair.match))
    return pairs


def matching_pairs(count: int, read: ReadCodes) -> Iterator[Pair]:
    """Yield the pairs of ``count`` songs that are the same, wholly or for 10 s or more.

    A match that is ``whole`` but shifted by more than 5 s is another excerpt of the same
    recording (see `Pair.is_copy`). Fingerprints are read when they are needed: all of a
    large collection would not fit into memory.
    """
    for first, second, offset in candidates(count, read).tolist():
        match = compare(read(first), read(second), offset)
        if match.whole or match.end > match.start:
            yield Pair(first, second, match)


def candidates(count: int, read: ReadCodes) -> Offsets:
    """Return the pairs worth comparing, each with the offset that most codes agree on."""
    codes, songs, times = _sorted_index(count, read)
    hits: list[Offsets] = [np.zeros((0, 3), dtype=np.int64)]
    for step in range(1, _CROWD):
        near = np.flatnonzero(codes[step:] == codes[:-step])
        if not len(near):
            break
        near = near[songs[near] != songs[near + step]]
        offsets = times[near] - times[near + step]
        hits.append(np.stack([songs[near], songs[near + step], offsets], axis=1).astype(np.int64))
    return _best_offsets(np.concatenate(hits), count)


def _sorted_index(count: int, read: ReadCodes) -> tuple[Codes, Counts, Counts]:
    """Return code, song and time of everything in the index, sorted by code.

    Codes that stand in it too often are left out.
    """
    codes = [np.zeros(0, dtype=np.uint32)]
    times = [np.zeros(0, dtype=np.int32)]
    for song in range(count):
        song_codes = read(song)
        place = np.flatnonzero(song_codes)[:_INDEXED]
        if len(song_codes) < _SHORTEST:
            place = place[:0]
        codes.append(song_codes[place])
        times.append(place.astype(np.int32))
    songs = np.repeat(np.arange(count, dtype=np.int32), [len(part) for part in codes[1:]])
    joined = np.concatenate(codes)
    order = np.argsort(joined, kind="stable")
    joined = joined[order]
    first = np.flatnonzero(np.diff(joined, prepend=joined[:1] + np.uint32(1)))
    crowd = np.diff(first, append=len(joined))
    rare = np.repeat(crowd <= _CROWD, crowd)
    order = order[rare]
    return joined[rare], songs[order], np.concatenate(times)[order]


def _best_offsets(hits: Offsets, songs: int) -> Offsets:
    """Return of every pair the offset with the most hits, if there are enough of them."""
    wide = 2 * int(np.abs(hits[:, 2]).max(initial=0)) + 1
    keys = (hits[:, 0] * songs + hits[:, 1]) * wide + hits[:, 2] + wide // 2
    distinct, count = np.unique(keys, return_counts=True)
    distinct, count = distinct[count >= _HITS], count[count >= _HITS]
    best = np.lexsort((-count, distinct // wide))  # per pair, the most hits first
    pairs, first = np.unique(distinct[best] // wide, return_index=True)
    offsets = distinct[best][first] % wide - wide // 2
    return np.stack([pairs // songs, pairs % songs, offsets], axis=1)


def best_copies(
    pairs: Sequence[Pair], facts: Sequence[Facts], songs: Sequence[Song]
) -> dict[int, int]:
    """Return for every song that is in the collection several times the best of its copies.

    Both are places. The best is a labelled copy; undamaged, lossless, longest, of most kHz
    and kbit/s; of a known group; the first.
    """
    copies: dict[int, set[int]] = {}  # each place to one set with all its copies
    for pair in pairs:
        if pair.is_copy:
            ours = copies.setdefault(pair.first, {pair.first})
            theirs = copies.setdefault(pair.second, {pair.second})
            if ours is not theirs:
                ours |= theirs
                copies |= dict.fromkeys(theirs, ours)

    def quality(place: int) -> tuple[bool, bool, bool, float, int, int, bool, int]:
        fact, song = facts[place], songs[place]
        undamaged = not fact.faults
        # In steps, because tags and pictures are part of the file too.
        steps = 0 if lossless(fact) else round(fact.size / max(1.0, fact.seconds) / 2000)
        sound = (lossless(fact), round(fact.seconds, 1), fact.native_rate, steps)
        return bool(song.label), undamaged, *sound, song.group_value is not None, -place

    best: dict[int, int] = {}
    for place, places in copies.items():
        if place not in best:
            best |= dict.fromkeys(places, max(places, key=quality))
    return best


def pair_findings(
    songs: Sequence[Song], pairs: Sequence[Pair], best: dict[int, int]
) -> Iterator[Finding]:
    """Yield a finding a pair; ``best`` is of `best_copies`."""
    for pair in sorted(pairs, key=lambda pair: (pair.first, pair.second)):
        swapped = pair.is_copy and best.get(pair.first) != pair.first
        first, second = songs[pair.first], songs[pair.second]
        better, worse = (second, first) if swapped else (first, second)
        borders = _crossed_borders(better, worse)
        severity = ""
        if not pair.is_copy:
            kind, severity = "shared_part", "warning" if borders else ""
        elif names_differ(better.label, worse.label):
            kind = "label_conflict"
        else:
            kind = "duplicate" if pair.match is None else "copy"
            severity = "error" if borders else ""
        yield Finding(
            kind,
            "; ".join([pair.describe(swapped), *borders]),
            worse.id,
            better.id,
            worse.label or "",
            better.label or "",
            severity,
        )


def _crossed_borders(better: Song, worse: Song) -> list[str]:
    """Return in words which borders lie between a pair: labels, sides of the split, groups."""
    crossed = []
    if names_differ(better.label, worse.label):
        crossed.append(f"labelled {worse.label} and {better.label}")
    if better.split and worse.split and better.split != worse.split:
        crossed.append(f"on two sides of the split ({worse.split}, {better.split})")
    if names_differ(better.group_value, worse.group_value):
        crossed.append(f"of two {better.group_by}s ({worse.group_value}, {better.group_value})")
    return crossed
