"""What a user names as songs becomes a dataset: the one place that asks which kind it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from songbag.data.annotations import SpanOptions
from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import SongDataset
from songbag.data.hub_dataset import hub_table, is_hub_dataset
from songbag.data.packed import PackedDataset
from songbag.data.packed_files import is_packed
from songbag.data.song import Song
from songbag.data.song_table import read_songs
from songbag.data.waveform_dataset import WaveformDataset, waveforms_of
from songbag.errors import SongTableError
from songbag.parallel.pool import Workers
from songbag.settings import Limits
from songbag.storage.files import default_folder
from songbag.storage.remote import AnyPath

if TYPE_CHECKING:
    import pandas

    SongsLike: TypeAlias = str | AnyPath | pandas.DataFrame | Sequence[str | AnyPath] | SongDataset


@dataclass(frozen=True)
class AudioOptions:
    """How audio files are listed and read."""

    cache: AnyPath | None = None  # of frames; $SONGBAG_CACHE or the user's cache by default
    max_hours: float = 1.0  # longest recording that is decoded
    workers: Workers = None  # processes that decode, one a core by default; or a cluster
    allow_outside: bool = False  # let a table name files outside its folder
    remote: bool = False  # let a table name URLs of object stores
    columns: Mapping[str, str] | None = None  # of a table, by what they are (`find_columns`)
    strict: bool = False  # one song of a training that cannot be read is an error
    spans: SpanOptions | None = None  # labels in time, where the songs are labelled by them


def open_songs(
    songs: "SongsLike",
    options: AudioOptions | None = None,
    group: str | None = None,
    sample_rate: int | None = None,
) -> SongDataset:
    """Return the dataset of a folder, table, DataFrame, list of paths, samples or packed songs.

    A dataset (of `songbag.bags_from_table`, say) is returned as it is. ``group`` names a column
    that must not stand on two sides of a split, instead of ``artist``; ``sample_rate`` is of
    samples that come without one (see `songbag.data.waveform_dataset.waveforms_of`).
    """
    options = options or AudioOptions()
    if isinstance(songs, SongDataset):
        dataset = songs
    elif isinstance(songs, str | Path) and is_packed(songs):
        dataset = PackedDataset.open(Path(songs))
    elif (waveforms := waveforms_of(songs, sample_rate)) is not None:
        cache, limits = options.cache or default_folder(), Limits.of_hours(options.max_hours)
        names = [Song(id=str(number), path="") for number in range(len(waveforms))]
        dataset = WaveformDataset(
            names, waveforms, cache=cache, limits=limits, workers=options.workers
        )
    else:
        if sample_rate is not None:
            raise SongTableError("sample_rate is of samples, and these are none.")
        if is_hub_dataset(songs):
            folder = options.cache if isinstance(options.cache, Path) else default_folder()
            songs = hub_table(songs, folder / "datasets")
        dataset = open_audio(songs, options)
    return dataset if group is None else dataset.grouped_by(group)


def open_audio(
    songs: "str | AnyPath | pandas.DataFrame | Sequence[str | AnyPath]",
    options: AudioOptions | None = None,
    group: str | None = None,
) -> AudioDataset:
    """Return the dataset of songs in audio files: a folder, a table, or a list of paths."""
    options = options or AudioOptions()
    table = read_songs(songs, options.allow_outside, options.remote, options.columns, options.spans)
    dataset = AudioDataset(
        table.songs,
        table.origin,
        options.cache or default_folder(),
        Limits.of_hours(options.max_hours),
        options.workers,
        table.remarks,
        columns=options.columns or {},
        strict=options.strict,
    )
    return dataset if group is None else dataset.grouped_by(group)
