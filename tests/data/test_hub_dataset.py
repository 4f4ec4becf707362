"""A dataset of Hugging Face's library is trained on as its songs are."""

from pathlib import Path

import pandas
import pytest

import songbag
from songbag.errors import SongTableError

pytestmark = pytest.mark.full  # the library comes with `make test-all`


def test_a_dataset_with_audio_is_a_table_of_songs(songs, tmp_path):
    datasets = pytest.importorskip("datasets")
    table = pandas.read_csv(songs)
    paths = [str(songs.parent / path) for path in table["path"]]
    names = sorted(table["label"].unique())
    made = datasets.Dataset.from_dict(
        {"audio": paths, "genre_code": [names.index(label) for label in table["label"]],
         "artist": table["artist"].tolist()}
    )  # fmt: skip
    made = made.cast_column("audio", datasets.Audio())
    made = made.cast_column("genre_code", datasets.ClassLabel(names=names))
    made = made.rename_column("genre_code", "label")
    by_path = songbag.train(made, tmp_path / "a.songbag", recipe="fast", encoder="none", quiet=True)
    assert by_path.labels == tuple(names)
    # From a Parquet file the audio comes as bytes.
    encoded = [{"bytes": Path(path).read_bytes(), "path": Path(path).name} for path in paths]
    embedded = datasets.Dataset.from_dict({"audio": encoded, "label": table["label"].tolist()})
    embedded.cast_column("audio", datasets.Audio()).to_parquet(tmp_path / "songs.parquet")
    again = datasets.Dataset.from_parquet(str(tmp_path / "songs.parquet"), cache_dir=str(tmp_path))
    for dataset in (made, again):
        found = by_path.model.predict(dataset, cache=tmp_path / "cache")
        assert found["status"].eq("ok").all()
        assert len(found) == 24
    with pytest.raises(SongTableError, match="one column of audio, and this one has 0"):
        songbag.train(made.remove_columns("audio"), quiet=True)
