"""Which songs are one recording, which copy is the best, and what follows for the labels."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from songbag.jobs.checks.duplicates import is_copy, same_recordings
from songbag.jobs.checks.facts import Facts, read_codes
from songbag.jobs.checks.findings import Finding
from songbag.jobs.checks.recordings import lossless
from songbag.jobs.checks.spelling import differ
from songbag.remote import Place
from songbag.songs.table import Song
from songbag.sound.fingerprints import STEP_SECONDS, Codes, Match


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


def find_pairs(facts: Sequence[Facts], prints: Sequence[Place | None]) -> list[Pair]:
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
