"""A packed collection as plain Parquet, for pandas, DuckDB, Spark and whatever comes.

A row a window or a row a frame, features as plain lists; one file a shard. The folder
appears when it is whole; until then it is called ``<folder>.partial``, and the same call
goes on there.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from songbag.audio.windows import repeat_frames, start_seconds, window_frames
from songbag.console import Console
from songbag.data.bag import Bag
from songbag.data.packed import PackedDataset
from songbag.data.packed_files import is_packed
from songbag.errors import SettingsError
from songbag.settings import Recipe
from songbag.storage.files import atomic_write

_SONGS_AT_ONCE = 16  # in a row group: what a reader must read to get one song


def write_parquet(
    packed: Path, folder: Path, recipe: Recipe, content: str, console: Console
) -> int:
    """Write every window or frame of a packed collection, and return the number of files.

    Columns: id, label, group, start (seconds), feature (floats; of a window its frames one
    behind another, and the files' metadata ``shape`` says frames x bands).

    Raises
    ------
    SettingsError
        The songs are not packed, or with another sound than the recipe's; ``folder``
        exists.
    """
    if not is_packed(packed):
        raise SettingsError(
            f"{packed}: Parquet is written from a packed folder. First: songbag pack {packed} "
            "-o packed"
        )
    if folder.exists():
        raise SettingsError(f"{folder}: it exists. Remove it, or give another folder.")
    dataset = PackedDataset.open(packed).load(recipe)
    partial = folder.with_name(f"{folder.name}.partial")
    key = dataset.packed.about.manifest[:8] + _cut(recipe, content)
    shards = dataset.shards()
    numbers = range(len(dataset.packed.about.shards))
    for number in console.track(numbers, len(numbers), "Writing"):
        file = partial / f"part-{number:05d}-{key}.parquet"
        if not file.exists():
            _write(file, dataset.subset(shards == number), recipe, content)
    for file in partial.iterdir():  # of a run with other songs or windows
        if key not in file.name or file.suffix != ".parquet":
            file.unlink()
    os.rename(partial, folder)
    return len(numbers)


def _cut(recipe: Recipe, content: str) -> str:
    if content == "frames":
        return "-frames"
    return f"-windows-{recipe.windows.seconds:g}-{recipe.windows.hop_seconds:g}"


def _write(file: Path, dataset: PackedDataset, recipe: Recipe, content: str) -> None:
    import pyarrow
    from pyarrow import parquet

    frames = window_frames(recipe.sound, recipe.windows) if content == "windows" else 1
    schema = pyarrow.schema(
        [
            ("id", pyarrow.string()),
            ("label", pyarrow.string()),
            ("group", pyarrow.string()),
            ("start", pyarrow.float64()),
            ("feature", pyarrow.list_(pyarrow.float32())),
        ],
        metadata={"shape": f"{frames}x{recipe.sound.bands}"},
    )
    with (
        atomic_write(file) as out,
        parquet.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for first in range(0, len(dataset), _SONGS_AT_ONCE):
            songs = [_rows(bag, recipe, content) for bag in dataset[first : first + _SONGS_AT_ONCE]]
            columns = zip(*songs, strict=True)
            writer.write_table(pyarrow.table(list(map(_joined, columns)), schema))


def _joined(parts: Sequence[Any]) -> Any:
    import pyarrow

    return pyarrow.concat_arrays(parts)


def _rows(bag: Bag, recipe: Recipe, content: str) -> Iterator[Any]:
    """Yield the columns of one song's rows."""
    import pyarrow

    if content == "frames":
        bag = replace(bag, starts=np.arange(len(bag.features)))
        values = bag.features
    else:
        length = window_frames(recipe.sound, recipe.windows)
        assert bag.starts is not None
        places = bag.starts[:, None] + np.arange(length)
        values = repeat_frames(bag.features, length)[places].reshape(len(bag.starts), -1)
    assert bag.starts is not None
    count = len(values)
    for text in (bag.id, bag.label, bag.song.group):
        yield pyarrow.array([text] * count, pyarrow.string())
    yield pyarrow.array(start_seconds(bag.starts, recipe.sound), pyarrow.float64())
    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    yield pyarrow.ListArray.from_arrays(ends, pyarrow.array(values.ravel(), pyarrow.float32()))
