"""One name written two ways: found and reported, never merged."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

# Letters that no Unicode normal form takes apart.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
    | {"&": " and ", "’": "'"}
)
_ARTICLE = re.compile(r"^the\s+(?=\S)|(?<=\S),\s*the$")


@dataclass(frozen=True)
class Spelling:
    """A rarer way of writing a name, beside the most frequent one."""

    rare: str
    usual: str
    rare_songs: int
    usual_songs: int


def spelt_alike(name: str) -> str:
    """Return what stays of a name without case, accents, punctuation, spaces and "The".

    Compatibility forms are unified (NFKC of full-width letters, ligatures). Digits keep
    their distance, so "1-2" and "12" stay two names; accents go only where they are
    Latin, Greek or Cyrillic, because in other scripts the marks are letters.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    plain = "".join(char for char in plain if not "\u0300" <= char <= "\u036f")
    plain = _ARTICLE.sub("", plain.strip().translate(_LETTERS).strip())
    plain = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in plain)
    plain = re.sub(r"(?<=\d)\s+(?=\d)", "\0", plain).replace(" ", "").replace("\0", " ")
    return plain or " ".join(name.casefold().split())


def differ(one: str | None, other: str | None) -> bool:
    """Tell whether two names, if both are known, are more than two spellings of one."""
    return bool(one and other and spelt_alike(one) != spelt_alike(other))


def spellings(names: Iterable[str]) -> list[Spelling]:
    """Find the names of songs (one a song) that differ from another only in spelling."""
    songs_of = Counter(names)
    written: dict[str, list[str]] = defaultdict(list)
    for name in songs_of:
        written[spelt_alike(name)].append(name)
    found = []
    for ways in written.values():
        usual, *others = sorted(ways, key=lambda name: (-songs_of[name], name))
        found += [Spelling(rare, usual, songs_of[rare], songs_of[usual]) for rare in others]
    return found
