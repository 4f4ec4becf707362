"""Keep the test songs of an earlier model, when songs are added and a new one is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from songbag.data.song import Song, joined_groups, stratification_labels
from songbag.data.splits import spare_part, split_hash
from songbag.errors import SettingsError, SongTableError
from songbag.inference.model_file import load_model
from songbag.storage.files import read_csv


@dataclass(frozen=True)
class EarlierSplit:
    """The split of an earlier training: the side of each song, and of each known group."""

    path: Path  # of the model
    side_of: dict[str, str]  # song id to "test" or "train"
    side_of_group: dict[str, str]
    method: str  # of the certificate

    @classmethod
    def of(cls, model: Path) -> "EarlierSplit":
        """Read the split.csv beside a model, and check that it is the one of the certificate.

        Raises
        ------
        SettingsError
            There is no split.csv, it is not that of the model, or the model had no test songs.
        """
        certificate = load_model(model, parts=()).card.split
        if certificate is None or "test" not in certificate.counts:
            raise SettingsError(f"{model}: it was trained without test songs; none can be kept.")
        file = model.with_name(f"{model.stem}-training") / "split.csv"
        if not file.exists():
            raise SettingsError(
                f"{file}: there is no such file. A model knows the hash of its split; the songs "
                "stand in the folder that its training wrote. Put that folder beside the model."
            )
        rows = read_csv(file)
        ids, sides = [row["id"] for row in rows], [row["side"] for row in rows]
        if split_hash(ids, sides) != certificate.hash:
            raise SettingsError(
                f"{file}: it is not the split that {model} was trained with (its hash differs)."
            )
        earlier_sides = ["test" if side == "test" else "train" for side in sides]
        groups = {
            row["group"]: side
            for row, side in zip(rows, earlier_sides, strict=True)
            if row["group"]
        }
        return cls(model, dict(zip(ids, earlier_sides, strict=True)), groups, certificate.method)

    def sides(
        self, songs: Sequence[Song], seed: int, test_share: float, only_trained: Sequence[bool]
    ) -> list[str | None]:
        """Return "test" or "train" for each song.

        Known songs, and all of their groups, are on the side where they were. A part of
        ``test_share`` of the others, whole groups, is tested too, but none of ``only_trained``.

        Raises
        ------
        SongTableError
            The songs' table gives a split, or has none of the test songs.
        """
        if any(song.split for song in songs):
            raise SongTableError(
                "the table has a column of the split, and --same-split takes it from a model: "
                "remove one."
            )
        known = [self.side_of.get(song.id) for song in songs]
        if "test" not in known:
            raise SongTableError(
                f"none of the {self._test_count} test songs of {self.path} is among these songs: "
                "songs are known by their ids. Train without --same-split."
            )
        groups = joined_groups(songs)
        same_column = f"grouped by {songs[0].group_by}" in self.method
        known_groups = self.side_of_group if same_column else {}
        by_group = (known_groups.get(song.group_value or "") for song in songs)
        of_group = {group: side for group, side in zip(groups, by_group, strict=True) if side}
        of_group |= {group: side for group, side in zip(groups, known, strict=True) if side}
        sides = [
            own or of_group.get(group) or ("train" if only else None)
            for own, group, only in zip(known, groups, only_trained, strict=True)
        ]
        new = [side is None for side in sides]
        new_groups = list(compress(groups, new))
        labels = list(compress(stratification_labels(songs), new))
        tested = spare_part(labels, new_groups, test_share, seed)
        for place, in_test in zip(np.flatnonzero(new).tolist(), tested.tolist(), strict=True):
            sides[place] = "test" if in_test else "train"
        return sides

    @property
    def _test_count(self) -> int:
        return sum(side == "test" for side in self.side_of.values())

    def in_words(self, songs: Sequence[Song], sides: Sequence[str]) -> str:
        """Return how many of the earlier test songs are among these, and what cannot be used."""
        remaining = sum(self.side_of.get(song.id) == "test" for song in songs)
        lost = self._test_count - remaining
        missing = f"; {lost} are not among these songs" if lost else ""
        pairs = zip(songs, sides, strict=True)
        chosen = sum(song.chosen_by_model and side == "test" for song, side in pairs)
        unused = (
            f"; {chosen} songs that a model chose belong to tested groups and are neither trained "
            "on nor judged"
        )
        return (
            f"test songs of {self.path.name} that stay test songs: {remaining}{missing}"
            f"{unused if chosen else ''}"
        )
