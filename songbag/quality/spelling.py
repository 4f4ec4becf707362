"""Names that are written in more than one way: reported, never merged."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from songbag.audio.audio_file import EXTENSIONS
from songbag.data.song import Song
from songbag.quality.findings import Finding

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
    """Return whether both names are known and differ in more than their spelling.

    >>> names_differ("Rock", "rock"), names_differ("rock", "pop"), names_differ("rock", None)
    (False, True, False)
    """
    return bool(first and second and spelling_key(first) != spelling_key(second))


@dataclass(frozen=True)
class Spelling:
    """A rarer way of writing a name, beside the most frequent way."""

    rare: str
    usual: str
    rare_songs: int
    usual_songs: int


def rare_spellings(names: Iterable[str]) -> list[Spelling]:
    """Return the names (one a song) that differ from another only in spelling.

    >>> rare_spellings(["AC/DC", "AC/DC", "ac dc", "Abba"])
    [Spelling(rare='ac dc', usual='AC/DC', rare_songs=1, usual_songs=2)]
    """
    songs_of = Counter(names)
    written: dict[str, list[str]] = defaultdict(list)
    for name in songs_of:
        written[spelling_key(name)].append(name)
    spellings = []
    for ways in written.values():
        usual, *others = sorted(ways, key=lambda name: (-songs_of[name], name))
        spellings += [Spelling(rare, usual, songs_of[rare], songs_of[usual]) for rare in others]
    return spellings


def spelling_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels, groups and ids that are written in two ways."""

    def count(songs: int) -> str:
        return f"{songs} song{'' if songs == 1 else 's'}"

    group_by = songs[0].group_by if songs else "artist"
    named = {
        "label": [(label, song.id) for song in songs for label in song.labels],
        group_by: [(str(song.group_value), song.id) for song in songs if song.group_value],
    }
    for column, names in named.items():
        first_song = dict(reversed(names))
        severity = "error" if column == "label" else ""
        for one in rare_spellings(name for name, _ in names):
            ids = first_song[one.rare], first_song[one.usual]
            rare = f"{column} '{one.rare}' ({count(one.rare_songs)})"
            usual = f"'{one.usual}' ({count(one.usual_songs)})"
            yield Finding("spelling", f"{rare} and {usual}", *ids, severity=severity)
    song_of: dict[str, str] = {}  # id without the file's ending to the first id
    for song in reversed(songs):
        stem, dot, ending = song.id.rpartition(".")
        song_of[stem if dot and f".{ending.lower()}" in EXTENSIONS else song.id] = song.id
    for one in rare_spellings(list(song_of)):
        rare, usual = song_of[one.rare], song_of[one.usual]
        yield Finding("spelling", f"id '{rare}' and '{usual}'", rare, usual)
