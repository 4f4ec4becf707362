"""Answers as Parquet parts: whole, resumable, the same as the CSV."""

import os

import pandas
import pytest
from pyarrow import parquet

from songbag.storage.files import csv_text
from songbag.tasks import predict as task
from tests.parallel.test_cluster import few, songbag  # noqa: F401

ONE = ("--workers", 1)


def tree(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.parquet")}


def test_parts_hold_what_the_csv_holds(few, model_path, tmp_path):  # noqa: F811
    out = tmp_path / "answers"
    done = songbag("predict", model_path, few, "-o", out, "--part", 3, "--windows", *ONE)
    assert done.exit_code == 1
    assert len(list((out / "songs").iterdir())) == 3
    songbag("predict", model_path, few, "--csv", tmp_path / "a.csv", "--windows", *ONE)
    for kind, name in (("songs", "a.csv"), ("windows", "a-windows.csv")):
        found = parquet.read_table(out / kind)
        assert csv_text(found.to_pylist(), found.column_names) == (tmp_path / name).read_text()


def test_a_stopped_run_goes_on_and_other_songs_replace(few, model_path, tmp_path, monkeypatch):  # noqa: F811
    command = ("predict", model_path, few, *ONE, "--part", 3, "-o")
    songbag(*command, tmp_path / "whole")
    parts = sorted((tmp_path / "whole" / "songs").iterdir())
    songbag(*command, tmp_path / "half")
    half = tmp_path / "half" / "songs"
    (half / parts[1].name).unlink()
    stamps = {file: os.stat(file).st_mtime_ns for file in half.iterdir()}
    asked = []
    predict = task.predict
    monkeypatch.setattr(
        task,
        "predict",
        lambda model, dataset: asked.extend(dataset.songs) or predict(model, dataset),
    )
    assert songbag(*command, tmp_path / "half").exit_code == 1
    assert [song.id for song in asked] == ["song 3", "song 4", "song 5"]
    assert tree(tmp_path / "half") == tree(tmp_path / "whole")
    assert all(os.stat(file).st_mtime_ns == stamp for file, stamp in stamps.items())
    text = few.read_text().splitlines()
    (few.parent / "two.csv").write_text("\n".join(text[:3]))
    songbag("predict", model_path, few.parent / "two.csv", "-o", tmp_path / "half")
    assert list(pandas.read_parquet(half)["id"]) == ["song 0", "song 1"]


@pytest.mark.parametrize("more", [["--csv", "x.csv"], ["--song", "id"]])
def test_two_outputs_are_refused(few, model_path, more):  # noqa: F811
    from click.testing import CliRunner

    from songbag.cli import main

    done = CliRunner().invoke(main, ["predict", str(model_path), str(few), "-o", "x", *more])
    assert done.exit_code == 2
    assert "give either" in done.stderr
