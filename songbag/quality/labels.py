"""What is wrong with labels, names and groups; none of it needs to hear a song again."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from songbag.audio.audio_file import EXTENSIONS
from songbag.data.song_table import Song, split_names
from songbag.quality.findings import Finding
from songbag.quality.shortcuts import giveaway
from songbag.quality.spelling import spellings

_FOLDS = 5  # of a cross-validation; a label in fewer groups is missing from some of them


def spelling_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels, groups and ids that are written two ways."""
    named = {
        "label": [(label, song.id) for song in songs for label in song.labels],
        songs[0].group_by if songs else "artist": [
            (str(song.group_value), song.id) for song in songs if song.group_value
        ],
    }
    for what, names in named.items():
        first = dict(reversed(names))
        for one in spellings([name for name, _ in names]):
            usual = f"'{one.usual}' ({_songs(one.usual_songs)})"
            found = f"{what} '{one.rare}' ({_songs(one.rare_songs)}) and {usual}"
            severity = "error" if what == "label" else ""
            yield Finding("spelling", found, first[one.rare], first[one.usual], severity=severity)
    stems = {_without_ending(song.id): song.id for song in reversed(songs)}
    for one in spellings(list(stems)):
        rare, usual = stems[one.rare], stems[one.usual]
        yield Finding("spelling", f"id '{rare}' and '{usual}'", rare, usual)


def _without_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in EXTENSIONS else name


def _songs(count: int) -> str:
    return f"{count} song{'' if count == 1 else 's'}"


def class_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels with fewer songs or groups than a split needs, and songs without one."""
    labelled = [song for song in songs if song.labels]
    if not labelled:
        return
    for song in songs:
        if not song.labels and not song.multilabel:  # none of several labels is an answer too
            yield Finding("unlabelled", "it has no label, others have", song.id)
    groups: dict[str, set[str]] = defaultdict(set)
    for song in labelled:
        for label in song.labels:
            groups[label].add(song.group)
    count = Counter(label for song in labelled for label in song.labels)
    what = labelled[0].group_by if any(song.group_value for song in labelled) else "song"
    for label in sorted(count):
        number = len(groups[label])
        if number >= _FOLDS:
            continue
        whole = "" if what == "song" else f" of {number} {what}{'' if number == 1 else 's'}"
        found = f"{_songs(count[label])}{whole}"
        if number == 1:
            found += "; it cannot be both learned and tested, training refuses it"
        else:
            found += f"; a cross-validation of {_FOLDS} folds cannot have it in each"
        severity = "error" if number == 1 else ""
        yield Finding("small_class", found, label=label, severity=severity)


def giveaway_findings(
    songs: Sequence[Song], facts: Mapping[str, Sequence[float | str]]
) -> Iterator[Finding]:
    """Yield the facts about recordings that tell the label without listening.

    ``facts`` has for every fact a value a song; songs without a label are left out.
    """
    places = [place for place, song in enumerate(songs) if song.label]
    labels = split_names([songs[place] for place in places])
    groups = [songs[place].group for place in places]
    for fact, values in facts.items():
        one = giveaway(fact, [values[place] for place in places], labels, groups)
        if one is None or not one.found:
            continue
        found = (
            f"{fact} alone tells the label of {100 * one.accuracy:.0f} % of the songs; the most "
            f"frequent label {100 * one.majority:.0f} %, the best of 100 shuffles "
            f"{100 * one.shuffled:.0f} %; of {one.tells} it finds {100 * one.recall:.0f} %"
        )
        yield Finding("giveaway", found, severity="error" if one.strong else "")
