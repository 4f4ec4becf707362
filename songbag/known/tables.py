"""A folder that holds a known data set becomes its honest table, or is refused.

Each reader lists the songs of one data set from what its folder has: lists, or names of files.
What all have in common is checked in `table_of`.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from songbag.console import counted
from songbag.data.song import join_labels
from songbag.errors import SongTableError
from songbag.known.data_set import FOLDER, DataSet
from songbag.storage.files import Row, read_csv, write_csv

_AUDIO = (".wav", ".au", ".mp3", ".ogg", ".flac")
SIDES = ("train", "validation", "test")
_MAGNA_SIDES = {**dict.fromkeys("0123456789ab", "train"), "c": "validation"}  # d, e, f: test


@dataclass(frozen=True)
class KnownSong:
    """A song of a data set, as its lists and folders tell."""

    id: str
    file: Path
    label: str  # or labels, joined by ;
    group: str = ""  # the artist or recording; empty if unknown
    split: str = ""  # empty where there is none, "left out" where the split leaves it out
    fold: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of a table of songs, its columns, and what is to be said of it."""

    rows: list[Row]
    columns: list[str]
    said: list[str]

    def write(self, path: Path) -> None:
        """Write the table; files below its folder are named relative to it."""
        base = path.resolve().parent
        rows = []
        for row in self.rows:
            file = Path(row["path"])
            near = file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)
            rows.append({**row, "path": near})
        write_csv(path, rows, self.columns)


def table_of(data: DataSet, folder: Path) -> Table:
    """Return the table of a folder that holds a data set, in its honest split.

    Raises
    ------
    SongTableError
        The folder is not the data set; the first difference is named.
    """
    if not folder.is_dir():
        raise SongTableError(f"{folder}: there is no such folder. {_laid_out(data)}")
    try:
        everyone = list(READERS[data.name](data, folder))
    except (ValueError, IndexError, csv.Error) as error:  # not UTF-8, short lines, no numbers
        raise SongTableError(
            f"{folder}: its lists cannot be read ({error}). {_laid_out(data)}"
        ) from None
    broken = [song for song in everyone if song.id in data.broken]
    whole = [song for song in everyone if song.id not in data.broken]
    missing = [song.file for song in whole if not song.file.is_file()]
    if missing:
        raise SongTableError(
            f"{folder}: of {counted(len(whole), 'file')} {len(missing)} are missing, the first is "
            f"{missing[0]}. {_laid_out(data)}"
        )
    songs = [song for song in whole if song.split != "left out"]
    for what, (count, stated) in _differences(data, songs).items():
        raise SongTableError(
            f"{folder}: {count} {what}, where {data.title} has {stated}. {_laid_out(data)}"
        )
    label = "labels" if data.multilabel else "label"
    rows: list[Row] = [
        {"id": song.id, "path": str(song.file.resolve()), label: song.label, "split": song.split,
         "fold": song.fold, data.group: song.group}
        for song in songs
    ]  # fmt: skip
    columns = ["id", "path", label]
    columns += [name for name in (data.group, "split", "fold") if any(row[name] for row in rows)]
    said = [", ".join(f"{what} {number}" for what, number in _counts(songs).items())]
    if broken:
        said.append(f"left out, cannot be used: {', '.join(song.id for song in broken)}")
    if len(songs) < len(whole):
        said.append(f"left out by the split: {counted(len(whole) - len(songs), 'song')}")
    return Table(rows, columns, said)


def _laid_out(data: DataSet) -> str:
    return f"{data.title} is laid out as: {data.layout}."


def _counts(songs: list[KnownSong]) -> dict[str, int]:
    """Return how many songs, labels, folds and songs of each side there are."""
    labels = {label for song in songs for label in song.label.split(";") if label}
    counts = {"songs": len(songs), "labels": len(labels)}
    folds = {song.fold for song in songs if song.fold}
    counts |= {"folds": len(folds)} if folds else {}
    sides = Counter(song.split for song in songs)
    return counts | {side: sides[side] for side in SIDES if sides[side]}


def _differences(data: DataSet, songs: list[KnownSong]) -> dict[str, tuple[int, int]]:
    """Return the counts that are not those of the data set: those of the songs and stated."""
    counts = _counts(songs)
    pairs = {what: (counts.get(what, 0), stated) for what, stated in data.counts.items()}
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


# --- readers ----------------------------------------------------------------------------


def _place(data: DataSet, folder: Path, needed: str, *inner: str) -> Path:
    """Return the folder, or the one of its ``inner`` folders, that has what is needed."""
    for place in (folder, *(folder / name for name in inner)):
        if (place / needed).exists():
            return place
    within = f" (nor in {', '.join(inner)})" if inner else ""
    raise SongTableError(f"{folder}: there is no {needed} in it{within}. {_laid_out(data)}")


def _rows(path: Path, *names: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a list of the data set, or refuse one without the columns needed."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        for name in names:
            if name not in (rows.fieldnames or ()):
                raise SongTableError(f"{path}: there is no column '{name}' in it.")
        yield from rows


def read_gtzan(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the songs of GTZAN."""
    place = _place(data, folder, "blues", "genres", "genres_original")
    rows = read_csv(FOLDER / "gtzan.csv")
    stems = {place / row["name"].partition(".")[0] / row["name"]: row["name"] for row in rows}
    files = {path.with_suffix(""): path for path in place.glob("*/*") if path.suffix in _AUDIO}
    for path in sorted(files):
        if path not in stems:
            raise SongTableError(f"{files[path]}: no file of {data.title}. {_laid_out(data)}")
    for row, stem in zip(rows, stems, strict=True):
        file = files.get(stem, stem.with_name(f"{stem.name}.wav"))
        split = row["split"] or "left out"
        yield KnownSong(row["name"], file, stem.parent.name, row["artist"], split)


def read_emotify(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the songs of Emotify."""
    place = _place(data, folder, "classical", "emotifymusic")
    for path in sorted(place.glob("*/*.mp3")):
        genre = path.parent.name
        if genre not in ("classical", "electronic", "pop", "rock") or not path.stem.isdigit():
            raise SongTableError(f"{path}: no file of {data.title}. {_laid_out(data)}")
        yield KnownSong(f"{genre}_{int(path.stem):03d}", path, genre)


def read_fma_small(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the songs of the small subset of FMA; tracks.csv has names in two lines."""
    place = _place(data, folder, "fma_metadata/tracks.csv", "..")
    audio = place / "fma_small"
    with open(place / "fma_metadata" / "tracks.csv", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        names = list(zip(next(rows), next(rows), strict=True))
        next(rows)  # "track_id" and nothing else
        wanted = (("set", "subset"), ("set", "split"), ("track", "genre_top"), ("artist", "id"))
        for name in wanted:
            if name not in names:
                raise SongTableError(f"{file.name}: there is no column {' '.join(name)} in it.")
        subset, split, genre, artist = (names.index(name) for name in wanted)
        for row in rows:
            if row[subset] == "small":
                number = int(row[0])
                path = audio / f"{number // 1000:03d}" / f"{number:06d}.mp3"
                side = "train" if row[split] == "training" else row[split]
                yield KnownSong(str(number), path, row[genre], row[artist], side)


def read_magnatagatune(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the clips of MagnaTagATune with the tags that are used; the folder is the side."""
    place = _place(data, folder, "annotations_final.csv")
    audio = _place(data, folder, "0", "mp3")
    names = ("clip_id", "mp3_path", *data.tags)
    for row in _rows(place / "annotations_final.csv", *names, delimiter="\t"):
        path = row["mp3_path"]
        labels = join_labels(tag for tag in data.tags if row[tag] == "1")
        artist = path.partition("/")[2].partition("-")[0]
        side = _MAGNA_SIDES.get(path[:1], "test")
        yield KnownSong(row["clip_id"], audio / path, labels, artist, side)


def read_mtg_jamendo(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the songs of MTG-Jamendo that have genres; tags fill the last columns of a line."""
    places = [folder, folder / "audio", folder / "audio-low"]
    for side in ("train", "validation", "test"):
        name = f"data/splits/split-0/autotagging_genre-{side}.tsv"
        with open(_place(data, folder, name) / name, encoding="utf-8") as file:
            next(file)
            for line in file:
                song, artist, _, path, _, *tags = line.rstrip("\n").split("\t")
                labels = join_labels(tag.removeprefix("genre---") for tag in tags)
                low = path.replace(".mp3", ".low.mp3")
                tried = [place / one for place in places for one in (path, low)]
                file_path = next((one for one in tried if one.is_file()), tried[0])
                yield KnownSong(song, file_path, labels, artist, side)


def read_esc(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the recordings of ESC-50, or of its part ESC-10."""
    place = _place(data, folder, "meta/esc50.csv", "ESC-50-master")
    names = ("filename", "fold", "category", "esc10", "src_file")
    for row in _rows(place / "meta" / "esc50.csv", *names):
        if data.name == "esc50" or row["esc10"] == "True":
            file = place / "audio" / row["filename"]
            yield KnownSong(file.stem, file, row["category"], row["src_file"], fold=row["fold"])


def read_urbansound8k(data: DataSet, folder: Path) -> Iterator[KnownSong]:
    """Yield the excerpts of UrbanSound8K."""
    place = _place(data, folder, "metadata/UrbanSound8K.csv", "UrbanSound8K")
    names = ("slice_file_name", "fsID", "fold", "class")
    for row in _rows(place / "metadata" / "UrbanSound8K.csv", *names):
        file = place / "audio" / f"fold{row['fold']}" / row["slice_file_name"]
        yield KnownSong(file.stem, file, row["class"], row["fsID"], fold=row["fold"])


READERS: dict[str, Callable[[DataSet, Path], Iterator[KnownSong]]] = {
    "emotify": read_emotify,
    "esc10": read_esc,
    "esc50": read_esc,
    "fma_small": read_fma_small,
    "gtzan": read_gtzan,
    "magnatagatune": read_magnatagatune,
    "mtg_jamendo": read_mtg_jamendo,
    "urbansound8k": read_urbansound8k,
}
