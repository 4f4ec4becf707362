"""songbag map: one page of all songs, vectors that are kept, answers, and songs that failed."""

import json
import re
import shutil

import numpy as np
import pytest

import songbag as api
from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.collection import plane
from songbag.errors import SettingsError
from tests.helpers.command import songbag


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Six songs with labels, one of them wrong, and a file that is no sound."""
    folder = tmp_path_factory.mktemp("collection")
    rows = ["path,label,artist"]
    for number, genre in enumerate(["waltz", "waltz", "drift", "drift", "gallop", "gallop"]):
        wave = synthesise(genre, np.random.default_rng(number), 12.0, 22050)
        write_waveform(folder / f"{genre}{number}.wav", wave, 22050)
        rows.append(f"{genre}{number}.wav,{'waltz' if number == 5 else genre},a{number % 2}")
    (folder / "broken.mp3").write_text("no sound")
    (folder / "songs.csv").write_text("\n".join([*rows, "broken.mp3,waltz,a1"]) + "\n")
    return folder / "songs.csv"


def data_of(page):
    (text,) = re.findall(
        '<script type="application/json" id="data">(.*?)</script>', page.read_text()
    )
    return json.loads(text)


def test_a_map_with_a_model_keeps_vectors_and_names_what_failed(table, model_path, tmp_path):
    page, index = tmp_path / "map.html", tmp_path / "vectors"
    common = ("--index", index, "--cache", tmp_path / "cache", "--workers", 1)
    done = songbag("map", table, "-o", page, "--model", model_path, *common)
    assert done.returncode == 1
    assert "broken.mp3" in done.stderr and "(6 songs)" in done.stdout
    assert "1 song could not be read" in page.read_text()
    data = data_of(page)
    titles = {one["title"]: one["texts"] for one in data["colourings"]}
    assert list(titles) == ["label", "answer", "verdict", "confidence", "artist"]
    for label, answer, verdict in zip(
        *(titles[t] for t in ("label", "answer", "verdict")), strict=True
    ):
        assert verdict == ("right" if label == answer else "wrong")
    assert titles["verdict"][5] == "wrong"
    assert (tmp_path / data["files"][0]).resolve() == (table.parent / "waltz0.wav").resolve()
    assert [path.name for path in tmp_path.iterdir() if "journal" in path.name] == []

    before = index.read_bytes()
    frame = api.song_map(
        table, tmp_path / "b.html", index=index, cache=tmp_path / "cache", workers=1, quiet=True
    )
    assert index.read_bytes() == before
    assert list(frame.columns) == ["x", "y", "label", "artist"] and len(frame) == 6
    again = data_of(tmp_path / "b.html")
    assert (again["x"], again["y"]) == (data["x"], data["y"])  # the same songs, the same map


def test_alike_songs_lie_close_together(table, tmp_path):
    frame = api.song_map(table, tmp_path / "m.html", cache=tmp_path, workers=1, quiet=True)
    points = frame[["x", "y"]].to_numpy()
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(6)
    assert distances[0].argmin() == 1 and distances[3].argmin() == 2


def test_nothing_to_draw_is_refused(table, tmp_path, monkeypatch):
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(table.parent / "broken.mp3", only)
    refused = songbag(
        "map", only, "-o", tmp_path / "m.html", "--index", tmp_path / "v", "--workers", 1
    )
    assert refused.returncode == 2 and "no song could be read" in refused.stderr
    assert not (tmp_path / "m.html").exists()
    monkeypatch.setattr(plane, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'songbag\[train\]'"):
        api.song_map(table, tmp_path / "m.html", cache=tmp_path / "none", workers=1, quiet=True)
    assert not (tmp_path / "none").exists()  # before any song was heard
