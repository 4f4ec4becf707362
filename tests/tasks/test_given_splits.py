"""Splits that a table gives, files that no split divides, and songs that cannot be read."""

import numpy as np
import pandas
import pytest

import songbag
from songbag.audio.waveform import write_waveform
from songbag.errors import SongTableError, TrainingError
from tests.helpers.command import songbag as command

FAST = {"recipe": "fast", "encoder": "none", "quiet": True}


def noise_table(folder, files=12, artist=None):
    """Short files of noise, low or high, with their table."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(files):
        label = ("low", "high")[number % 2]
        wave = rng.standard_normal(22050 * 4)
        wave = np.cumsum(wave) / 50 if label == "low" else np.diff(wave, append=0)
        write_waveform(
            folder / f"{number:02}.wav", (0.1 * wave / np.abs(wave).max()).astype(np.float32), 22050
        )
        rows.append({"path": str(folder / f"{number:02}.wav"), "label": label,
                     "artist": f"artist {artist(number) if artist else number}"})  # fmt: skip
    return pandas.DataFrame(rows)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return noise_table(tmp_path_factory.mktemp("noise"))


def test_pieces_of_one_recording_are_never_divided(table):
    """Twelve files in three pieces each, every piece with an artist of its own."""
    pieces = pandas.concat(
        [table.assign(start=start, end=start + 1.3, artist=table["artist"] + str(start))
         for start in (0.0, 1.0, 2.0)]
    )  # fmt: skip
    result = songbag.train(pieces, **FAST)
    split = pandas.read_csv(result.folder / "split.csv")
    sides = split.assign(file=split["id"].str.split("#").str[0]).groupby("file")["side"].nunique()
    assert (sides == 1).all()
    assert "shares a file or its content is kept together" in result.model.card.split.method
    crossed = songbag.crossval(pieces, folds=3, **FAST)
    folds = crossed.predictions.assign(file=crossed.predictions.index.str.split("#").str[0])
    assert (folds.groupby("file")["side"].nunique() == 1).all()


def test_copies_are_never_divided(table, tmp_path):
    import shutil

    copies = table.copy()
    for place, path in enumerate(table["path"]):
        shutil.copy(path, tmp_path / f"copy{place}.wav")
        copies.loc[place, "path"] = str(tmp_path / f"copy{place}.wav")
    both = pandas.concat([table, copies.assign(artist=copies["artist"] + " again")])
    split = pandas.read_csv(songbag.train(both, **FAST).folder / "split.csv")
    sides = dict(zip(split["id"], split["side"], strict=True))
    for one, other in zip(table["path"], copies["path"], strict=True):
        assert sides[one] == sides[other]


def test_one_recording_alone_trains_without_figures_and_says_why(tmp_path):
    rng = np.random.default_rng(0)
    write_waveform(
        tmp_path / "long.wav", (0.1 * rng.standard_normal(22050 * 20)).astype(np.float32), 22050
    )
    rows = [{"path": "long.wav", "label": "ab"[n % 2], "start": 2.0 * n, "end": 2.0 * n + 2} for n in range(10)]  # fmt: skip
    pandas.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    done = command(
        "train",
        tmp_path / "t.csv",
        "-o",
        tmp_path / "m.songbag",
        "--recipe",
        "fast",
        "--encoder",
        "none",
    )
    assert done.returncode == 0, done.stderr
    assert "all songs are of one recording or group: the model has no figures" in done.stderr


def test_a_fold_column_is_the_cross_validation(table):
    given = table.assign(fold=[str(1 + number % 3 * 5) for number in range(len(table))])  # 1, 6, 11
    crossed = songbag.crossval(given, folds=5, **FAST)
    assert crossed.predictions["side"].nunique() == 3
    folds = crossed.metrics["split"]
    assert folds["method"].startswith("3 folds given by the table")
    assert set(folds["counts"]) == {"fold 1", "fold 6", "fold 11"}
    with pytest.raises(SongTableError, match="1 of 12 songs have no fold"):
        songbag.crossval(given.assign(fold=["", *given["fold"][1:]]), **FAST)
    by_name = songbag.crossval(given.rename(columns={"fold": "cv"}), columns={"fold": "cv"}, **FAST)
    assert by_name.metrics["split"]["hash"] == folds["hash"]


def test_a_given_split_that_groups_cross_is_refused_with_the_song(table, tmp_path):
    crossing = table.assign(artist="one", fold=[str(n // 2 % 2) for n in range(12)])
    with pytest.raises(
        TrainingError, match=r"Of artist one are .*00\.wav \(fold 0\).*--allow-crossing"
    ):
        songbag.crossval(crossing, **FAST)
    allowed = songbag.crossval(crossing, allow_crossing=True, **FAST)
    assert "1 groups stand on two sides, which was allowed" in allowed.metrics["split"]["method"]
    split = table.assign(artist="one", subset=["training", "training", "testing", "testing"] * 3)
    split.to_csv(tmp_path / "t.csv", index=False)
    how = ["-o", tmp_path / "m.songbag", "--recipe", "fast", "--encoder", "none"]
    refused = command("train", tmp_path / "t.csv", *how)
    assert refused.returncode == 2
    assert "artist one" in refused.stderr
    done = command("train", tmp_path / "t.csv", *how, "--allow-crossing")
    assert done.returncode == 0, done.stderr
    # A file is never divided, whatever is allowed.
    files = table.loc[[0, 0, 1, 1, 2, 3]].assign(
        start=[0.0, 2.0] * 3, end=[2.0, 4.0] * 3, split=["train", "test"] * 3
    )
    files.to_csv(tmp_path / "t.csv", index=False)
    refused = command("train", tmp_path / "t.csv", *how, "--allow-crossing")
    assert refused.returncode == 2
    assert "stand on two sides" in refused.stderr


def test_without_artists_the_figure_says_so(table, tmp_path):
    table.drop(columns="artist").to_csv(tmp_path / "t.csv", index=False)
    how = ["-o", tmp_path / "m.songbag", "--recipe", "fast", "--encoder", "none"]
    done = command("train", tmp_path / "t.csv", *how)
    assert "artists          unknown: songs of one may be on both sides" in done.stderr
    table.to_csv(tmp_path / "t.csv", index=False)
    assert "artists          unknown" not in command("train", tmp_path / "t.csv", *how).stderr


def test_missing_songs_are_left_out_and_listed(table, tmp_path):
    """From the command line and from Python alike, wherever the files lie."""
    more = pandas.concat([table, table.tail(1).assign(path="/nowhere/gone.wav", artist="z")])
    more.to_csv(tmp_path / "t.csv", index=False)
    how = ["-o", tmp_path / "m.songbag", "--recipe", "fast", "--encoder", "none"]
    done = command("train", tmp_path / "t.csv", *how)
    assert done.returncode == 1, done.stderr
    assert "left out: /nowhere/gone.wav" in done.stderr
    strict = command("train", tmp_path / "t.csv", *how, "--strict")
    assert strict.returncode == 2
    assert "1 songs cannot be read" in strict.stderr
    model = songbag.train(tmp_path / "t.csv", **FAST).model
    assert model.predict(tmp_path / "t.csv")["status"].tolist().count("failed") == 1
    with pytest.raises(SongTableError, match="no file"):
        songbag.train(table.assign(path="/nowhere/" + table["path"].str[-6:]), **FAST)
