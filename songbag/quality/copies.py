"""Which songs are one recording, which copy is the best, and what follows for the labels."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.audio.fingerprint import STEP_SECONDS, Codes, Match, compare
from songbag.data.song_table import Song
from songbag.quality.file_checks import lossless
from songbag.quality.file_facts import Facts, read_codes
from songbag.quality.findings import Finding
from songbag.quality.spelling import differ
from songbag.storage.remote import AnyPath


@dataclass(frozen=True)
class Pair:
    """Two songs that are one recording, or share a part of one (then ``match`` says which)."""

    first: int
    second: int
    match: Match | None = None  # None: the same decoded sound

    @property
    def copy(self) -> bool:
        """Whether one of the two is enough."""
        return self.match is None or is_copy(self.match)


def find_pairs(facts: Sequence[Facts], prints: Sequence[AnyPath | None]) -> list[Pair]:
    """Find songs of the same sound, and among one of each of these the same recordings.

    ``prints`` names every song's file of its fingerprint. Silent and unreadable songs have
    no copies.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        if fact.status == "ok" and not fact.silent:
            alike[fact.audio_hash].append(place)
    different = [places[0] for places in alike.values()]
    pairs = [Pair(places[0], place) for places in alike.values() for place in places[1:]]

    def read(number: int) -> Codes:
        return read_codes(prints[different[number]])

    for first, second, match in same_recordings(len(different), read):
        pairs.append(Pair(different[first], different[second], match))
    return pairs


def families(
    pairs: Sequence[Pair], facts: Sequence[Facts], songs: Sequence[Song]
) -> list[tuple[int, list[int]]]:
    """Return every recording that is there several times: its best copy, and all copies."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        while (above := parent.setdefault(place, place)) != place:
            place = above
        return place

    for pair in pairs:
        if pair.copy:
            parent[root(pair.second)] = root(pair.first)
    members: dict[int, list[int]] = defaultdict(list)
    for place in sorted(parent):
        members[root(place)].append(place)
    return [(_best(places, facts, songs), places) for places in members.values()]


def _best(places: Sequence[int], facts: Sequence[Facts], songs: Sequence[Song]) -> int:
    """Return the copy to keep.

    A labelled one; undamaged, lossless, longest, of most kHz and kbit/s; of a known group;
    the first.
    """

    def quality(place: int) -> tuple[bool, bool, bool, float, int, int, bool, int]:
        fact, song = facts[place], songs[place]
        sound = not (fact.truncated or fact.bad_packets or fact.bad_samples)
        # In steps, because tags and pictures are part of the file too.
        steps = 0 if lossless(fact) else round(fact.size / max(1.0, fact.seconds) / 2000)
        heard = (lossless(fact), round(fact.seconds, 1), fact.native_rate, steps)
        return bool(song.label), sound, *heard, song.group_value is not None, -place

    return max(places, key=quality)


def pair_findings(
    songs: Sequence[Song], pairs: Sequence[Pair], kept: dict[int, int]
) -> Iterator[Finding]:
    """Yield a finding a pair; ``kept`` names for every copy the best one of its family."""
    for pair in sorted(pairs, key=lambda one: (one.first, one.second)):
        one, other = pair.first, pair.second
        if pair.copy and kept.get(one) != one:
            one, other = other, one  # the better copy first
        better, worse = songs[one], songs[other]
        kind, severity = _judged(pair, better, worse)
        found = "; ".join([_how(pair, other == pair.first), *_between(better, worse)])
        labels = {"label": worse.label or "", "other_label": better.label or ""}
        yield Finding(kind, found, worse.id, better.id, **labels, severity=severity)


def _judged(pair: Pair, one: Song, other: Song) -> tuple[str, str]:
    if not pair.copy:
        return "shared_part", "warning" if _between(one, other) else ""
    if differ(one.label, other.label):
        return "label_conflict", ""
    kind = "duplicate" if pair.match is None else "copy"
    return kind, "error" if _between(one, other) else ""


def _between(one: Song, other: Song) -> list[str]:
    """Say which borders a pair crosses: labels, sides of the split, groups."""
    crossed = []
    if differ(one.label, other.label):
        crossed.append(f"labelled {other.label} and {one.label}")
    if one.split and other.split and one.split != other.split:
        crossed.append(f"on two sides of the split ({other.split}, {one.split})")
    if differ(one.group_value, other.group_value):
        crossed.append(f"of two {one.group_by}s ({other.group_value}, {one.group_value})")
    return crossed


def _how(pair: Pair, swapped: bool) -> str:
    """Say how alike a pair is, as seen from its second song (its first if ``swapped``)."""
    match = pair.match
    if match is None:
        return "the same sound, sample by sample"
    seconds = match.offset * STEP_SECONDS
    if not pair.copy:
        length = (match.end - match.start) * STEP_SECONDS
        here, there = (match.start * STEP_SECONDS, (match.start - match.offset) * STEP_SECONDS)
        if not swapped:
            here, there = there, here
        return f"{length:.0f} s are one recording (from {here:.1f} s; there from {there:.1f} s)"
    # Code t of the second lies under t + offset of the first: the second begins later.
    later = -seconds if swapped else seconds
    shift = f", begins {abs(later):.1f} s {'later' if later > 0 else 'earlier'}"
    rate = f"{100 * match.bit_error_rate:.0f} % of the fingerprint differ"
    return f"the same recording ({rate}){shift if abs(later) >= 0.1 else ''}"


# --- duplicates ---
#
# Which songs are the same recording, without comparing every song with every other.
#
# Codes of the first half minute of sound of every song go into one sorted index. Two songs
# that share two equal codes at the same distance in time are candidates; only candidates are
# compared (`songbag.audio.fingerprint.compare`). A copy trimmed by 5 s still shares 25 s of
# what is indexed, so the index of a song does not grow with its length.


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
