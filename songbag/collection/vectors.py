"""Vectors of songs and of their pieces: kept in a file that grows, and asked what is alike.

Similarity is the cosine of vectors whose values were standardised over the collection. Everything
is compared with everything it is asked of: 100,000 songs are one matrix product.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.errors import SettingsError
from songbag.storage.files import write_bytes

Vectors = NDArray[np.float32]

_FORMAT = "songbag vectors 1"
_PIECES_AT_ONCE = 1 << 16  # in float32 at once, to bound memory
_SONGS_AT_ONCE = 1 << 10  # compared with all others at once
_FEWEST = 8  # songs from which on values are standardised


class Moment(NamedTuple):
    """The pieces of two songs that are most alike."""

    similarity: float
    piece: int
    other: int


@dataclass(frozen=True)
class VectorIndex:
    """Vectors of songs by key, in the order in which they were added.

    Attributes
    ----------
    encoder : str
        Hash of the encoder that made the vectors.
    keys : tuple of str
        One a song; a song that changed has another key.
    pieces : ndarray of float16, shape (pieces, values)
        Of all songs, one after the other.
    counts : ndarray of int64, shape (songs,)
        Pieces of each song, at least one.

    Examples
    --------
    >>> index = VectorIndex.empty("e", 2).added(["a", "b"], [np.eye(2), np.ones((1, 2))])
    >>> index.song_vectors().tolist()
    [[0.5, 0.5], [1.0, 1.0]]
    >>> index.of(["b"]).counts.tolist()
    [1]
    """

    encoder: str
    keys: tuple[str, ...]
    pieces: NDArray[np.float16]
    counts: NDArray[np.int64]

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where the pieces of each song end, shape (songs,)."""
        return np.cumsum(self.counts)

    @classmethod
    def empty(cls, encoder: str, values: int) -> Self:
        """Return an index without songs."""
        return cls(encoder, (), np.zeros((0, values), np.float16), np.zeros(0, np.int64))

    @classmethod
    def load(cls, path: Path, encoder: str, values: int) -> Self:
        """Return the index in a file, an empty one where there is no file.

        Raises
        ------
        SettingsError
            The file is no index, or it is damaged or of another encoder.
        """
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return cls.empty(encoder, values)
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                pieces, counts = file.get_tensor("pieces"), file.get_tensor("counts")
                keys = tuple(msgspec.json.decode(about.get("keys", "[]"), type=list[str]))
        except (SafetensorError, msgspec.MsgspecError) as error:
            raise SettingsError(f"{path}: not an index of vectors, or damaged ({error}).") from None
        shapes_fit = len(keys) == len(counts) and int(counts.sum()) == len(pieces)
        if about.get("format") != _FORMAT or not shapes_fit:
            raise SettingsError(f"{path}: not an index of vectors. Delete it, or name another.")
        if about["encoder"] != encoder or pieces.shape[1] != values:
            raise SettingsError(
                f"{path}: its vectors are of another encoder. Name another file with --index."
            )
        return cls(encoder, keys, pieces, counts)

    def save(self, path: Path) -> None:
        """Write the index to a file, whole or not at all."""
        from safetensors.numpy import save

        keys = msgspec.json.encode(self.keys).decode()
        about = {"format": _FORMAT, "encoder": self.encoder, "keys": keys}
        write_bytes(path, save({"pieces": self.pieces, "counts": self.counts}, about))

    def added(self, keys: Sequence[str], pieces: Sequence[NDArray[np.floating]]) -> Self:
        """Return the index with more songs, each with its pieces (pieces, values)."""
        if not keys:
            return self
        counts = np.array([len(of_song) for of_song in pieces], dtype=np.int64)
        all_pieces = np.concatenate([self.pieces, *pieces], dtype=np.float16, casting="same_kind")
        return replace(
            self,
            keys=(*self.keys, *keys),
            pieces=all_pieces,
            counts=np.concatenate([self.counts, counts]),
        )

    def of(self, keys: Sequence[str]) -> Self:
        """Return the songs with these keys, in their order."""
        place = {key: number for number, key in enumerate(self.keys)}
        ends = self.ends
        chosen = [place[key] for key in keys]
        spans = [np.arange(ends[one] - self.counts[one], ends[one]) for one in chosen]
        rows = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        return replace(self, keys=tuple(keys), pieces=self.pieces[rows], counts=self.counts[chosen])

    def song_vectors(self) -> Vectors:
        """Return the mean of each song's pieces, shape (songs, values)."""
        if not len(self.counts):
            return np.zeros((0, self.pieces.shape[1]), np.float32)
        starts = self.ends - self.counts
        sums = np.add.reduceat(self.pieces.astype(np.float32), starts, axis=0)
        means: Vectors = (sums / self.counts[:, None]).astype(np.float32)
        return means

    def song_pieces(self, song: int) -> Vectors:
        """Return the pieces of one song, shape (pieces, values)."""
        end = int(self.ends[song])
        return self.pieces[end - int(self.counts[song]) : end].astype(np.float32)


class Neighbours:
    """The songs of an index, standardised, to be asked for what is like a song.

    ``directions`` (songs, values) are the songs' standardised vectors, of length 1: the product
    of two is how alike the songs are, -1 to 1.

    Examples
    --------
    >>> songs = [np.eye(3)[:1], np.eye(3)[1:2], np.eye(3)[:1] + 0.1]
    >>> neighbours = Neighbours(VectorIndex.empty("e", 3).added(["a", "b", "c"], songs))
    >>> [place for place, _ in neighbours.nearest(np.eye(3)[:1], 2)]
    [0, 2]
    """

    def __init__(self, index: VectorIndex) -> None:
        self.index = index
        songs = index.song_vectors()
        self._mean, self._scale = np.float32(0), np.float32(1)
        if len(songs) >= _FEWEST:
            self._mean, self._scale = songs.mean(axis=0), songs.std(axis=0) + np.float32(1e-6)
        self.directions = self._directions(songs)

    def _directions(self, vectors: NDArray[np.floating]) -> Vectors:
        scaled = (vectors.astype(np.float32) - self._mean) / self._scale
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        directions: Vectors = scaled / np.maximum(norms, np.float32(1e-9))
        return directions

    def nearest(
        self, pieces: NDArray[np.floating], count: int, without: int | None = None
    ) -> list[tuple[int, float]]:
        """Return the places of the songs most like one with these pieces, and how alike (-1 to 1).

        ``without`` is the place of a song that is left out: the asked one itself.
        """
        asked = self._directions(pieces.mean(axis=0, keepdims=True))[0]
        alike = self.directions @ asked
        if without is not None:
            alike[without] = -np.inf
        count = min(count, len(alike) - (without is not None))
        best = np.argpartition(-alike, count - 1)[:count] if count else np.zeros(0, np.int64)
        best = best[np.argsort(-alike[best], kind="stable")]
        return [(int(place), float(alike[place])) for place in best]

    def nearest_others(
        self, groups: NDArray[np.int64], folds: NDArray[np.int64], count: int
    ) -> Iterator[list[tuple[int, float]]]:
        """Yield for each song the most alike of other groups, their places and how alike (-1 to 1).

        Parameters
        ----------
        groups : ndarray of int64, shape (songs,)
            Songs of one group, an artist, are not each other's answers.
        folds : ndarray of int64, shape (songs,)
            Songs of one fold are not each other's answers; fold -1 is none.
        count : int
            Answers a song, fewer where there are not so many.
        """
        for first in range(0, len(groups), _SONGS_AT_ONCE):
            part = slice(first, first + _SONGS_AT_ONCE)
            alike = self.directions[part] @ self.directions.T
            alike[groups[part, None] == groups] = -np.inf
            alike[(folds[part, None] == folds) & (folds != -1)] = -np.inf
            for row in alike:
                best = np.argsort(-row, kind="stable")[:count]
                yield [(int(place), float(row[place])) for place in best if np.isfinite(row[place])]

    def nearest_moments(
        self, pieces: NDArray[np.floating], count: int, without: int | None = None
    ) -> list[tuple[int, Moment]]:
        """Return the pieces of all songs most like any of these, with the place of their song."""
        asked, index, ends = self._directions(pieces).T, self.index, self.index.ends
        candidates: list[tuple[int, Moment]] = []
        for first in range(0, len(index.pieces), _PIECES_AT_ONCE):
            part = index.pieces[first : first + _PIECES_AT_ONCE]
            alike = self._directions(part) @ asked
            best = alike.max(axis=1)
            songs = np.searchsorted(ends, np.arange(first, first + len(part)), side="right")
            best[songs == (-1 if without is None else without)] = -np.inf
            for row in np.argsort(-best, kind="stable")[:count]:
                song = int(songs[row])
                piece = int(first + row - (ends[song] - index.counts[song]))
                moment = Moment(float(best[row]), int(alike[row].argmax()), piece)
                candidates.append((song, moment))
        candidates = [each for each in candidates if np.isfinite(each[1].similarity)]
        return sorted(candidates, key=lambda each: -each[1].similarity)[:count]

    def moment(self, pieces: NDArray[np.floating], song: int) -> Moment:
        """Return which of the pieces is most like which piece of a song."""
        alike = self._directions(pieces) @ self._directions(self.index.song_pieces(song)).T
        one, other = np.unravel_index(int(alike.argmax()), alike.shape)
        return Moment(float(alike[one, other]), int(one), int(other))
