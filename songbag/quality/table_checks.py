"""What the table of the songs shows: names written in two ways, labels of too few songs.

Nothing is merged or changed, all of it is reported.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from songbag.audio.audio_file import EXTENSIONS
from songbag.console import counted
from songbag.data.song import Song, joined_groups
from songbag.quality.findings import Finding

_FOLDS = 5  # of a cross-validation; a label in fewer groups is missing from some of them

# Letters that no Unicode normal form takes apart.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
    | {"&": " and ", "’": "'"}
)
_ARTICLE = re.compile(r"^the\s+(?=\S)|(?<=\S),\s*the$")


def spelling_key(name: str) -> str:
    """Return the name without case, accents, punctuation, spaces and "The".

    Compatibility forms are unified (NFKC of full-width letters, ligatures). Digits stay
    apart, so "1-2" and "12" are two names; accents go only where they are Latin, Greek or
    Cyrillic, because in other scripts the marks are letters.

    >>> spelling_key("The Beatles"), spelling_key("Beatles, the"), spelling_key("Björk")
    ('beatles', 'beatles', 'bjork')
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    plain = "".join(char for char in plain if not "\u0300" <= char <= "\u036f")
    plain = _ARTICLE.sub("", plain.strip().translate(_LETTERS).strip())
    plain = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in plain)
    plain = re.sub(r"(?<=\d)\s+(?=\d)", "\0", plain).replace(" ", "").replace("\0", " ")
    return plain or " ".join(name.casefold().split())


def names_differ(first: str | None, second: str | None) -> bool:
    """Return whether both names are known and differ in more than their spelling."""
    return bool(first and second and spelling_key(first) != spelling_key(second))


def rare_spellings(songs_of: Counter[str]) -> list[tuple[str, str]]:
    """Return the names that differ from a more frequent one only in spelling, each with that.

    >>> rare_spellings(Counter(["AC/DC", "AC/DC", "ac dc", "Abba"]))
    [('ac dc', 'AC/DC')]
    """
    written: dict[str, list[str]] = defaultdict(list)
    for name in songs_of:
        written[spelling_key(name)].append(name)
    pairs = []
    for ways in written.values():
        usual, *others = sorted(ways, key=lambda name: (-songs_of[name], name))
        pairs += [(rare, usual) for rare in others]
    return pairs


def spelling_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels, groups and ids that are written in two ways."""
    group_by = songs[0].group_by if songs else "artist"
    named = {
        "label": [(label, song.id) for song in songs for label in song.labels],
        group_by: [(str(song.group_value), song.id) for song in songs if song.group_value],
    }
    for column, names in named.items():
        first_song = dict(reversed(names))
        songs_of = Counter(name for name, _ in names)
        severity = "error" if column == "label" else ""
        for rare, usual in rare_spellings(songs_of):
            text = f"{column} '{rare}' ({counted(songs_of[rare], 'song')})"
            text += f" and '{usual}' ({counted(songs_of[usual], 'song')})"
            yield Finding("spelling", text, first_song[rare], first_song[usual], severity=severity)
    song_of: dict[str, str] = {}  # id without the file's ending to the first id
    for song in reversed(songs):
        stem, dot, ending = song.id.rpartition(".")
        song_of[stem if dot and f".{ending.lower()}" in EXTENSIONS else song.id] = song.id
    for rare, usual in rare_spellings(Counter(song_of.keys())):
        ids = song_of[rare], song_of[usual]
        yield Finding("spelling", f"id '{ids[0]}' and '{ids[1]}'", *ids)


def label_count_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels with fewer songs or groups than a split needs, and songs without a label."""
    labelled = [song for song in songs if song.labels]
    if not labelled:
        return
    for song in songs:
        if not song.labels and not song.multilabel:  # with several labels, none is an answer too
            yield Finding("unlabelled", "it has no label, others have", song.id)
    groups: dict[str, set[str]] = defaultdict(set)
    for song, group in zip(labelled, joined_groups(labelled), strict=True):
        for label in song.labels:
            groups[label].add(group)
    songs_of = Counter(label for song in labelled for label in song.labels)
    group_by = labelled[0].group_by if any(song.group_value for song in labelled) else None
    for label in sorted(songs_of):
        number = len(groups[label])
        if number >= _FOLDS:
            continue
        text = counted(songs_of[label], "song")
        if group_by:
            text += f" of {counted(number, group_by)}"
        if number == 1:
            text += "; it cannot be both learned and tested, training refuses it"
        else:
            text += f"; a cross-validation of {_FOLDS} folds cannot have it in each"
        yield Finding("small_class", text, label=label, severity="error" if number == 1 else "")
