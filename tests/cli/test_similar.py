"""songbag similar: copies come first, vectors are kept, what cannot be read is listed."""

import csv
import io
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import songbag as api
from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.storage.files import read_csv
from tests.helpers.command import songbag


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("similar") / "songs"
    folder.mkdir()
    for number, genre in enumerate(["waltz", "waltz", "drift", "drift", "gallop", "gallop"]):
        wave = synthesise(genre, np.random.default_rng(number), 16.0, 22050)
        write_waveform(folder / f"{genre}{number}.wav", wave, 22050)
    wave = synthesise("waltz", np.random.default_rng(0), 16.0, 22050)
    write_waveform(folder.parent / "copy.mp3", wave, 22050)
    (folder / "broken.mp3").write_text("no sound")
    return folder


def test_a_copy_is_nearest_and_named_and_only_new_songs_are_heard(collection, tmp_path):
    index = tmp_path / "vectors"
    common = ("--index", index, "--cache", tmp_path / "cache", "--workers", 1)
    done = songbag("similar", collection, "--to", collection.parent / "copy.mp3", "-n", 2, *common)
    assert done.returncode == 1
    assert "not read: " in done.stderr and "broken.mp3" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert rows[0]["id"].endswith("waltz0.wav") and "the same recording" in rows[0]["copy"]
    assert rows[1]["copy"] == "" and float(rows[1]["similarity"]) < float(rows[0]["similarity"])
    assert float(rows[0]["start"]) == float(rows[0]["to_start"])
    before = index.read_bytes()
    songbag("similar", collection, "-n", 1, "-o", tmp_path / "all.csv", "-q", *common)
    assert index.read_bytes() == before  # the broken song is tried again, nothing else is
    answers = read_csv(tmp_path / "all.csv")
    assert len(answers) == 6 and all(row["to"] != row["id"] for row in answers)


def test_moments_in_python_and_a_song_that_changed(collection, tmp_path):
    folder = tmp_path / "songs"
    shutil.copytree(collection, folder)
    index, cache = tmp_path / "v", tmp_path / "cache"
    table = api.similar(folder, n=3, windows=True, index=index, cache=cache, workers=1)
    assert len(table) == 18 and set(table.columns) >= {"to", "id", "similarity", "start", "copy"}
    assert (table.to != table.id).all() and table.similarity.between(-1, 1).all()
    changed = next(folder.rglob("drift2.wav"))
    shutil.copy(next(folder.rglob("waltz1.wav")), changed)
    os.utime(changed, (1, 1))
    asked = api.similar(folder, to=[changed], n=1, index=index, cache=cache, workers=1)
    assert asked.id[0].endswith("waltz1.wav") and asked.similarity[0] > 0.99
    assert "the same sound" in asked["copy"][0]


def test_wrong_questions_are_refused(collection, tmp_path):
    (tmp_path / "empty").mkdir()
    assert songbag("similar", tmp_path / "empty", "--workers", 1).returncode == 2
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(collection / "broken.mp3", only)
    refused = songbag("similar", only, "--workers", 1, "--index", tmp_path / "v")
    assert refused.returncode == 2 and "no song could be read" in refused.stderr
    wrong = songbag("similar", collection, "--to", "nobody.mp3", "--workers", 1)
    assert wrong.returncode != 0 and "nobody.mp3" in wrong.stderr


def test_vectors_are_not_kept_in_an_object_store(collection):
    from songbag.encoders.manifest import load_encoder
    from songbag.errors import SettingsError
    from songbag.storage.remote import parse_path
    from songbag.tasks.similar import index_file
    from tests.helpers.songs import audio_dataset

    dataset = replace(audio_dataset([]), cache=parse_path("s3://bucket/cache"))
    with pytest.raises(SettingsError, match="vectors are kept in a file of this machine"):
        index_file(dataset, load_encoder("musicnn"))
