"""Songs that sound alike: by the vectors of an encoder, kept beside the cache and grown."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.cache import file_stamp
from songbag.collection.vectors import Moment, Neighbours, VectorIndex
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import no_progress
from songbag.data.song import Song
from songbag.encoders.encoder import Encoder
from songbag.errors import SettingsError, SongTableError
from songbag.quality.copies import find_pairs
from songbag.quality.file_facts import measure_all
from songbag.settings import Excerpt
from songbag.storage.files import Row
from songbag.tasks.embed import encode_songs

COLUMNS = (
    *("to", "rank", "id", "similarity", "start", "end", "to_start", "to_end", "copy"),
    *("label", "path"),
)
_CLOSE = 0.9  # similarity from which on fingerprints are compared; copies have more than .95
_SHOWN = 3  # failures named in an error
_AT_ONCE = 500  # songs encoded between two savings of the index


@dataclass(frozen=True)
class Collection:
    """Songs with their vectors, in the same order, and why others could not be read."""

    songs: Sequence[Song]
    index: VectorIndex
    failures: Sequence[str]

    def take(self, places: Sequence[int]) -> "Collection":
        """Return the songs at these places."""
        keys = [self.index.keys[place] for place in places]
        return replace(self, songs=[self.songs[p] for p in places], index=self.index.of(keys))


def index_file(dataset: AudioDataset, encoder: Encoder) -> Path:
    """Return where vectors are kept where the user names no file: in the cache.

    Raises
    ------
    SettingsError
        The cache is in an object store.
    """
    if not isinstance(dataset.cache, Path):
        raise SettingsError(
            f"{dataset.cache}: vectors are kept in a file of this machine. Name it: --index FILE."
        )
    return dataset.cache / f"vectors-{encoder.encoding.hash[:16]}.safetensors"


def index_songs(
    dataset: AudioDataset, encoder: Encoder, path: Path, console: Console
) -> Collection:
    """Return the songs of a dataset with their vectors; what the index lacks is encoded and saved.

    Songs are known by their file, its size and time, and their part of it: a song that changed is
    encoded anew. Every 500 songs the index is written, so a stopped call goes on from there.
    """
    nothing = np.zeros((0, encoder.encoding.values), np.float32)
    values = encoder.hidden(nothing).shape[1]
    index = VectorIndex.load(path, encoder.encoding.hash, values)
    keys, known = [song_key(song) for song in dataset.songs], set(index.keys)
    songs_of = dict(zip(keys, dataset.songs, strict=True))
    todo = [(key, song) for key, song in songs_of.items() if key not in known]
    failures = list[str]()
    with console.bar("Encoding", len(todo)) as advance:
        for first in range(0, len(todo), _AT_ONCE):
            part = todo[first : first + _AT_ONCE]
            songs = dataset.with_songs([song for _, song in part])
            vectors = dict[str, NDArray[np.float32]]()
            encoded = encode_songs(songs, encoder, tags=False, pieces=True)
            for number, ((key, _), song) in enumerate(zip(part, encoded, strict=True), first + 1):
                advance(number)
                if song.reason:
                    failures.append(song.warnings)
                else:
                    vectors[key] = encoder.hidden(song.values)
            if vectors:
                index = index.added(list(vectors), list(vectors.values()))
                index.save(path)
    readable = set(index.keys)
    places = [place for place, key in enumerate(keys) if key in readable]
    chosen = index.of([keys[place] for place in places])
    return Collection([dataset.songs[place] for place in places], chosen, failures)


def nothing_read(dataset: AudioDataset, indexed: Collection) -> SongTableError:
    """Return the error that says why no song of a dataset has vectors."""
    reasons = "; ".join(indexed.failures[:_SHOWN]) or "there are none"
    return SongTableError(f"{dataset.origin}: no song could be read: {reasons}")


def song_key(song: Song) -> str:
    """Return what tells a song from others, and from itself before its file changed."""
    part = (os.path.realpath(song.path), file_stamp(song.path), song.start, song.end)
    return hashlib.blake2b(msgspec.json.encode(part), digest_size=12).hexdigest()


@dataclass(frozen=True)
class SimilarSongs:
    """Asked songs beside a collection, with pieces of so many ``seconds``.

    An asked song that is in the collection is not its own answer.
    """

    asked: Collection
    collection: Collection
    seconds: float
    dataset: AudioDataset

    def songs(self, count: int) -> Iterator[list[Row]]:
        """Yield rows (see `COLUMNS`) of the songs most like each asked one, the most alike first.

        Each has the moment that is most alike, and how fingerprints say it is the same recording.
        """
        neighbours, place_of = Neighbours(self.collection.index), self._places()
        for number, song in enumerate(self.asked.songs):
            pieces = self.asked.index.song_pieces(number)
            nearest = neighbours.nearest(pieces, count, place_of[number])
            close = [self.collection.songs[p] for p, similarity in nearest if similarity > _CLOSE]
            copies = same_recordings(song, close, self.dataset)
            rows = list[Row]()
            for place, similarity in nearest:
                moment = neighbours.moment(pieces, place)
                row = self._row(song, place, moment._replace(similarity=similarity))
                rows.append(row | {"rank": len(rows) + 1, "copy": copies.get(row["id"], "")})
            yield rows

    def moments(self, count: int) -> Iterator[list[Row]]:
        """Yield rows of the pieces most like any piece of each asked song."""
        neighbours, place_of = Neighbours(self.collection.index), self._places()
        for number, song in enumerate(self.asked.songs):
            pieces = self.asked.index.song_pieces(number)
            moments = neighbours.nearest_moments(pieces, count, place_of[number])
            rows = [self._row(song, place, moment) for place, moment in moments]
            yield [row | {"rank": rank, "copy": ""} for rank, row in enumerate(rows, start=1)]

    def _places(self) -> list[int | None]:
        place_of = {key: place for place, key in enumerate(self.collection.index.keys)}
        return [place_of.get(key) for key in self.asked.index.keys]

    def _row(self, song: Song, place: int, moment: Moment) -> Row:
        other = self.collection.songs[place]
        start = other.start + self.seconds * moment.other
        to_start = song.start + self.seconds * moment.piece
        return dict.fromkeys(COLUMNS) | {
            "to": song.id,
            "id": other.id,
            "similarity": round(moment.similarity, 4),
            "start": start,
            "end": start + self.seconds,
            "to_start": to_start,
            "to_end": to_start + self.seconds,
            "label": other.label,
            "path": other.path,
        }


def same_recordings(song: Song, others: Sequence[Song], dataset: AudioDataset) -> dict[str, str]:
    """Return in words how other songs are the recording of a song, by their ids."""
    if not others:
        return {}
    sources = [each.source(Excerpt()) for each in (song, *others)]
    measured = list(measure_all(sources, dataset.cache, dataset.limits, 1, no_progress))
    pairs = find_pairs([facts for facts, _ in measured], [file for _, file in measured])
    return {others[pair.second - 1].id: pair.describe() for pair in pairs if pair.first == 0}


def find_similar(
    dataset: AudioDataset,
    elsewhere: AudioDataset | None,
    ids: Sequence[str],
    encoder: Encoder,
    index: Path | None,
    console: Console,
) -> SimilarSongs:
    """Return songs of ``elsewhere`` and songs of a dataset by id, beside the whole dataset.

    With neither, each song of the dataset is asked for. ``index`` is the file of the vectors,
    that of `index_file` by default.

    Raises
    ------
    SongTableError
        No song of the dataset, or none that is asked for, can be read.
    """
    extra = [] if elsewhere is None else elsewhere.songs
    everyone = dataset.with_songs([*extra, *dataset.songs])
    path = index or index_file(dataset, encoder)
    indexed = index_songs(everyone, encoder, path, console)
    own, wanted = {id(song) for song in dataset.songs}, set(ids)
    inside = [place for place, song in enumerate(indexed.songs) if id(song) in own]
    asked = inside
    if ids or elsewhere is not None:
        asked = [place for place in inside if indexed.songs[place].id in wanted]
        asked += [place for place, song in enumerate(indexed.songs) if id(song) not in own]
    if not inside or not asked:
        raise nothing_read(dataset if elsewhere is None or not inside else elsewhere, indexed)
    seconds = encoder.piece * encoder.sound.step / encoder.sound.sample_rate
    return SimilarSongs(indexed.take(asked), indexed.take(inside), seconds, dataset)
