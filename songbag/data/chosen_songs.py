"""Songs of a table to be labelled (`songbag suggest`): who chose them, and what follows from it.

The column ``chosen`` says "model" or "random", ``decision`` what the labelling page was told. A
model chooses songs that are hard for it, so a figure on them says nothing of other songs: they are
trained on and never tested, and no other song of their groups is tested either.
"""

from collections import Counter
from collections.abc import Sequence

from songbag.console import Console
from songbag.data.dataset import SongDataset
from songbag.data.song import Song, joined_groups
from songbag.data.song_table import raise_problems, where

CHOSEN = ("model", "random")
DECISIONS = ("labelled", "none", "skipped")


def only_trained_on(songs: Sequence[Song]) -> list[bool]:
    """Return which songs no split tests: those that a model chose, and all of their groups.

    >>> chosen = {"chosen": "model"}
    >>> songs = [Song("1", "a.wav", artist="x"), Song("2", "b.wav", artist="x", extra=chosen)]
    >>> only_trained_on([*songs, Song("3", "c.wav")])
    [True, True, False]
    """
    groups = joined_groups(songs)
    chosen = {group for group, song in zip(groups, songs, strict=True) if song.chosen_by_model}
    return [group in chosen for group in groups]


def training_remark(songs: Sequence[Song], stated: bool = False) -> str:
    """Return in words how many songs no split tests, empty where there are none.

    In a split that is ``stated`` by a table, the table says where others of their groups stand.
    """
    chosen = sum(song.chosen_by_model for song in songs)
    others = 0 if stated else sum(only_trained_on(songs)) - chosen
    more = f", and {others} of the same {songs[0].group_by} or file," if others else ""
    text = f"songs that a model chose{more} are trained on and never tested"
    return f"{chosen} {text}" if chosen else ""


def decided_songs(songs: SongDataset, console: Console) -> SongDataset:
    """Return the songs without those that are still to be labelled, and say how many these are.

    Raises
    ------
    SongTableError
        It is not clear who chose a song, or one that a model chose is to be tested.
    """
    require_chosen(songs.songs, songs.origin)
    decided = [not song.undecided for song in songs.songs]
    if all(decided):
        return songs
    counts = Counter(s.extra.get("decision") or "not labelled" for s in songs.songs if s.undecided)
    said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    console.say(f"left out: {len(decided) - sum(decided)} songs without a label: {said}")
    return songs.subset(decided)


def require_chosen(songs: Sequence[Song], origin: str) -> None:
    """Refuse songs of which it is not clear whether a model chose them, or that would be tested."""
    problems = []
    for song in songs:
        chosen, decision = (song.extra.get(name, "") for name in ("chosen", "decision"))
        for name, cell, known in (("chosen", chosen, CHOSEN), ("decision", decision, DECISIONS)):
            if cell and cell.lower() not in known:
                problems.append(
                    f"{where(song)}{name} is '{cell}'; it must be {' or '.join(known)}, or empty. "
                    "Rename a column of your own"
                )
        side = song.split if song.split in ("validation", "test") else None
        if song.chosen_by_model and (side or song.fold):
            stated = f"split is {side}" if side else f"fold is {song.fold}"
            problems.append(
                f"{where(song)}a model chose song '{song.id}', and its {stated}: such songs are "
                "only trained on. Empty that cell"
            )
    raise_problems(origin, problems)
