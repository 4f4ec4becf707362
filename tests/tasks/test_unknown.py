"""A model that sets unknown songs aside: on every way to an answer, with the same p-values."""

import csv
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import requests
import soundfile

import songbag
from songbag.audio.synthesis import synthesise
from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import load_model
from songbag.inference.predictor import Predictor
from songbag.metrics.typicality import Typicality
from songbag.storage.files import read_csv
from songbag.tasks.export import export_model
from tests.conftest import EMOTIFY
from tests.helpers.command import songbag as command
from tests.helpers.serving_process import Server
from tests.helpers.songs import QUIET

RATE = 22_050


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """White noise, hum, silence, a sweep and speech of 12 s."""
    folder = tmp_path_factory.mktemp("strangers")
    rng, time = np.random.default_rng(0), np.arange(12 * RATE) / RATE
    sounds = {
        "noise": 0.1 * rng.normal(size=len(time)),
        "hum": sum(0.1 / k * np.sin(2 * np.pi * 50 * k * time) for k in range(1, 9)),
        "sweep": 0.3 * np.sin(2 * np.pi * 20 * 12 / np.log(400) * (400 ** (time / 12) - 1)),
    }
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples.astype(np.float32), RATE)
    return folder


@pytest.fixture(scope="module")
def model(songs, tmp_path_factory):
    """A model of generated songs, of one linear network on the encoder's vectors."""
    path = tmp_path_factory.mktemp("unknown") / "genre.songbag"
    command("train", songs, "-o", path, "--recipe", "fast", "--encoder", "musicnn", "--unknown",
            "0.1", "-q")  # fmt: skip
    return songbag.load(path)


def test_strangers_are_set_aside_and_most_known_songs_are_not(model, strangers, songs):
    answers = model.predict(strangers)
    assert (answers["status"] == "unknown").all()
    assert answers["predicted"].isna().all()
    assert answers["reason"].str.startswith("unlike the songs of training").all()
    assert answers["confidence"].notna().all()  # what it would have said stays
    known = model.predict(songs)
    assert (known["status"] == "unknown").mean() < 0.2
    assert known["typicality"].between(0, 1).all()


def test_the_level_can_be_changed_or_switched_off(model, strangers):
    assert (model.predict(strangers, unknown=0)["status"] == "ok").all()
    strict = model.predict(strangers, unknown=0.9)
    assert (strict["status"] == "unknown").all()
    with pytest.raises(SettingsError, match="takes 999 songs of training"):
        model.predict(strangers, unknown=0.001)


def test_a_song_that_turns_strange_shows_it_by_window(model, strangers, tmp_path):
    rng = np.random.default_rng(4)
    music = synthesise("waltz", rng, 15.0, RATE)
    noise = (0.1 * rng.normal(size=15 * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "both.wav", np.concatenate([music, noise]), RATE)
    windows = model.predict(tmp_path / "both.wav", windows=True)["typicality"]
    middle = windows.index.get_level_values("start") + 2.5
    assert windows[middle > 18].max() < 0.05 < windows[middle < 12].median()


def test_the_command_s_files_and_exit_code(model, strangers, tmp_path):
    done = command("predict", model.path, strangers, "--windows", "--csv", tmp_path / "a.csv")
    assert done.returncode == 0
    rows = read_csv(tmp_path / "a.csv")
    assert {row["status"] for row in rows} == {"unknown"}
    # The level is not in the journal: the same rows, asked again with another one.
    again = command("predict", model.path, strangers, "--unknown", "0", "--csv", tmp_path / "b.csv")
    assert again.returncode == 0
    assert {row["status"] for row in read_csv(tmp_path / "b.csv")} == {"ok"}
    command("predict", model.path, strangers, "-o", tmp_path / "parts")
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "parts" / "songs").to_pylist()
    assert {row["status"] for row in table} == {"unknown"}


def test_the_card_states_the_level(model):
    text = command("info", model.path).stdout
    assert "unknown     0.1 of known songs are set aside" in text


def test_a_sorting_puts_unknown_songs_aside(model, strangers, tmp_path):
    moved = songbag.sort(model, strangers, tmp_path / "sorted", quiet=True)
    assert {path.split("/")[-2] for path in moved["target"]} == {"_unsure"}


def test_the_server_says_so(model, strangers, tmp_path):
    with Server(model.path, tmp_path) as server:
        answer = server.predict(strangers / "noise.wav").json()
    assert answer["song"]["status"] == "unknown"
    assert answer["song"]["predicted"] is None
    assert all(0 <= window["typicality"] <= 1 for window in answer["windows"])


def test_the_exported_graph_has_the_same_p_values(model, strangers, songs, tmp_path):
    export_model(load_model(model.path), tmp_path / "genre.onnx", QUIET)
    session = onnxruntime.InferenceSession(tmp_path / "genre.onnx")
    names = [one.name for one in session.get_outputs()]
    assert {"typicality", "window_typicality"} <= set(names)
    rate = model.card.recipe.sound.sample_rate
    samples = synthesise("waltz", np.random.default_rng(3), 20.0, rate)
    outputs = dict(zip(names, session.run(None, {"waveform": samples}), strict=True))
    row = model.predict((samples, rate))
    windows = model.predict((samples, rate), windows=True)["typicality"]
    assert outputs["typicality"] == pytest.approx(row["typicality"], abs=1e-4)
    assert outputs["window_typicality"] == pytest.approx(windows.to_numpy(), abs=1e-4)


def test_what_cannot_be_told_is_refused(model, songs, trained, tmp_path):
    plain = songbag.load(trained.model_path)
    with pytest.raises(SettingsError, match="cannot tell which songs are unknown"):
        plain.predict(songs, unknown=0.05)
    typicality = plain.predict(songs)["typicality"]
    assert typicality.isna().all() and typicality.dtype == float
    done = command("train", songs, "-o", tmp_path / "m.songbag", "--recipe", "fast", "--encoder",
                   "none", "--unknown", "0.01", "-q")  # fmt: skip
    assert done.returncode == 2
    assert "takes 99 songs of training" in done.stderr
    with pytest.raises(SettingsError, match="a share of songs, from 0 to below 1"):
        songbag.train(songs, recipe="fast", encoder="none", unknown=1.0, quiet=True)
    assert not (tmp_path / "m.songbag").exists()


def test_a_damaged_typicality_is_refused(model):
    loaded = load_model(model.path)
    loaded.parts["typicality.safetensors"] = b"\x08\0\0\0\0\0\0\0{}      "
    with pytest.raises(ModelFileError, match="typicality is damaged"):
        Predictor(loaded)


def test_a_typicality_of_longer_vectors_than_the_network_gives_is_refused(model):
    loaded = load_model(model.path)
    own = Typicality.from_part(loaded.parts["typicality.safetensors"])
    longer = replace(own, centres=np.pad(own.centres, ((0, 0), (0, 9))))
    loaded.parts["typicality.safetensors"] = longer.part()
    frames, sound = np.zeros(loaded.card.window_shape, np.float32), loaded.card.recipe.sound
    with pytest.raises(ModelFileError, match="of at least"):
        Predictor(loaded).predict([frames], lambda: (len(frames) - 1) * sound.step)


@pytest.mark.parametrize("recipe", ["windows", "mlp"])
def test_a_table_of_windows_knows_its_strangers_too(recipe, tmp_path):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(3, 6)) * 2
    rows = [
        {"song": f"s{song}", "label": "abc"[song % 3],
         **{f"x{k}": value for k, value in enumerate(centre[song % 3] + rng.normal(size=6))}}
        for song in range(60) for _ in range(5)
    ]  # fmt: skip
    rows[7]["x2"] = ""
    table = tmp_path / "windows.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows if recipe == "windows" else rows[10:])
    missing = ("--missing", "impute") if recipe == "windows" else ()
    done = command("train", table, "-o", tmp_path / "m.songbag", "--song", "song", "--label", "label", "--recipe",
                   recipe, *missing, "--unknown", "0.05", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = songbag.load(tmp_path / "m.songbag")
    known = np.concatenate([centre[k % 3] + rng.normal(size=(5, 6)) for k in range(90)])
    ids = np.repeat(np.arange(90), 5).astype(str)
    bags = songbag.bags_from_arrays(known.astype(np.float32), None, ids)
    assert (model.predict(bags)["status"] == "unknown").mean() < 0.15
    far = songbag.bags_from_arrays((known + 30).astype(np.float32), None, ids)
    assert (model.predict(far)["status"] == "unknown").all()


@pytest.mark.full
@pytest.mark.skipif(not EMOTIFY.exists(), reason="Emotify is not here")
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not here")
def test_real_songs_and_strangers(strangers, tmp_path):
    speech = tmp_path / "speech.wav"
    said = "The archive holds many hours of recordings, and all of them were labelled by hand. "
    subprocess.run(["espeak-ng", "-w", speech, 5 * said], check=True)
    result = songbag.train(EMOTIFY, tmp_path / "m.songbag", recipe="fast", encoder="musicnn",
                           unknown=0.05, quiet=True)  # fmt: skip
    aside = result.metrics["unknown"]["set_aside"]
    assert aside <= 0.12 * result.metrics["songs"]
    model = result.model
    assert (model.predict([speech, *sorted(strangers.iterdir())])["status"] == "unknown").all()


def test_the_page_of_the_server_describes_the_columns(model, tmp_path):
    with Server(model.path, tmp_path) as server:
        api = requests.get(f"{server.url}/openapi.json", timeout=10).json()
    assert "typicality" in api["components"]["schemas"]["Song"]["properties"]
