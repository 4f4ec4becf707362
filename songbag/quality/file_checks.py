"""What is wrong with a song's own file, and what sets it apart from the other files."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from songbag.data.song import Song
from songbag.quality.file_facts import Facts
from songbag.quality.findings import Finding

_AT_FULL_SCALE = 0.02  # share of samples at full scale; loud masters stay below 1.5 %
_ODD, _USUAL = 0.05, 0.75  # shares of songs: so few differ from so many
_LOSSLESS = ("pcm", "flac", "alac", "wavpack", "tta", "ape")
_DEPTHS = {"u8": "8 bit", "s16": "16 bit", "s32": "24 or 32 bit", "flt": "float", "dbl": "float"}


def file_findings(
    songs: Sequence[Song], facts: Sequence[Facts], window_seconds: float
) -> Iterator[Finding]:
    """Yield what is wrong with every song by itself, and what differs from the others."""
    for song, fact, differences in zip(songs, facts, rare_formats(facts), strict=True):
        label = song.label or ""
        if fact.status == "failed":
            message = fact.message.removeprefix(f"{song.path}: ").rstrip(".")
            yield Finding("unreadable", f"{fact.reason}: {message}", song.id, label=label)
            continue
        for kind, text in file_faults(fact, window_seconds):
            yield Finding(kind, text, song.id, label=label)
        for difference in differences:
            yield Finding("odd", difference, song.id, label=label)


def file_faults(fact: Facts, window_seconds: float) -> Iterator[tuple[str, str]]:
    """Yield the kind of every fault of a file that could be read, and the fault in words.

    >>> list(file_faults(Facts(seconds=2.0, level_db=-15.0), window_seconds=5.0))
    [('short', '2.0 s, less than one window of 5 s')]
    """
    if fact.silent:
        share = f"{100 * fact.silent_share:.0f} % of it lies below -70 dB"
        yield "silent", f"its level is {fact.level_db:.0f} dB of full scale, {share}"
    if fact.truncated:
        yield "truncated", fact.truncated
    if fact.bad_packets:
        yield "damaged", f"{fact.bad_packets} of {fact.packets} packets did not decode"
    if fact.bad_samples:
        yield "damaged", f"{fact.bad_samples} samples were no numbers and became silence"
    if fact.seconds < window_seconds:
        yield "short", f"{fact.seconds:.1f} s, less than one window of {window_seconds:g} s"
    if fact.clipped_share > _AT_FULL_SCALE:
        yield "clipped", f"{100 * fact.clipped_share:.1f} % of its samples are at full scale"


def lossless(fact: Facts) -> bool:
    """Return whether a file holds the samples of the recording, not an approximation.

    >>> lossless(Facts(codec="flac")), lossless(Facts(codec="mp3float"))
    (True, False)
    """
    return fact.codec.startswith(_LOSSLESS)


def bit_depth(fact: Facts) -> str:
    """Return the depth of a lossless file in words, empty for a lossy one.

    >>> bit_depth(Facts(codec="flac", sample_format="s16"))
    '16 bit'
    """
    return _DEPTHS.get(fact.sample_format.removesuffix("p"), "") if lossless(fact) else ""


FORMATS: dict[str, Callable[[Facts], str]] = {
    "rate": lambda fact: f"{fact.native_rate} Hz",
    "codec": lambda fact: fact.codec,
    "channels": lambda fact: str(fact.channels),
    "bit depth": bit_depth,
}


def rare_formats(facts: Sequence[Facts]) -> list[list[str]]:
    """Return for every song the values of `FORMATS` that few songs have, where most agree."""
    rare: list[list[str]] = [[] for _ in facts]
    for name, value_of in FORMATS.items():
        values = [value_of(fact) if fact.status == "ok" else "" for fact in facts]
        count = Counter(filter(None, values))
        if not count:
            continue
        usual, most = count.most_common(1)[0]
        if most < _USUAL * count.total():
            continue
        for differences, value in zip(rare, values, strict=True):
            if value and value != usual and count[value] <= max(1, _ODD * count.total()):
                differences.append(f"{name} {value}; {most} others have {usual}")
    return rare
