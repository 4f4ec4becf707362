"""Trainings on what a pre-trained encoder hears: one model file, the same answer everywhere."""

import json
import re
import zipfile

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from msgspec import structs

from songbag.api import songs as api
from songbag.audio.audio_file import AudioReport
from songbag.audio.cache import Index
from songbag.audio.waveform import read_blocks
from songbag.cli import main
from songbag.console import Console
from songbag.encoders import known
from songbag.encoders.choose import choose_recipe
from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import load_model, save_model
from songbag.serving import worker_process
from songbag.settings import Limits
from songbag.tasks.export import export_model
from songbag.tasks.train import train
from tests.helpers.encoders import write_encoder
from tests.helpers.songs import audio_dataset


def songbag(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--quiet"])
    assert not isinstance(result.exception, Exception), result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture(scope="module")
def fast(songs, folder):
    """A model of recipe fast with musicnn, and its predictions from the cache."""
    path, cache = folder / "fast.songbag", folder / "cache"
    assert (
        songbag(
            "train", songs, "-o", path, "--recipe", "fast", "--encoder", "musicnn", "--cache", cache
        ).exit_code
        == 0
    )
    return path


def predictions(model, songs, csv, *more):
    assert songbag("predict", model, songs, "--windows", "--csv", csv, *more).exit_code == 0
    return csv.read_bytes(), csv.with_name(f"{csv.stem}-windows.csv").read_bytes()


def test_one_file_holds_the_encoder_and_stays_small(fast):
    assert fast.stat().st_size < 4e6
    card = load_model(fast, parts=()).card
    encoding = card.recipe.sound.encoding
    assert (card.format, encoding.name, encoding.cell) == (2, "musicnn", 32)
    assert card.window_shape == (10, 1506 + 8 * 96)
    assert [training.network for training in card.recipe.trainings] == [
        "probe",
        "linear",
        "statistics",
    ]
    with zipfile.ZipFile(fast) as archive:
        assert known.graph_hash(archive.read("encoder.onnx")) == encoding.hash
    assert "musicnn" in CliRunner().invoke(main, ["info", str(fast)]).output


@pytest.mark.full
def test_cached_decoded_and_pooled_predictions_are_the_same_bytes(fast, songs, folder):
    cached = predictions(fast, songs, folder / "cached.csv", "--cache", folder / "cache")
    nothing = folder / "nothing"
    decoded = predictions(fast, songs, folder / "one.csv", "--cache", nothing, "--workers", "1")
    pooled = predictions(fast, songs, folder / "two.csv", "--cache", nothing, "--workers", "2")
    assert cached == decoded == pooled


def test_windows_begin_at_cells_and_contributions_sum_to_the_score(fast, songs, folder):
    import pandas

    predictions(fast, songs, folder / "sum.csv", "--cache", folder / "cache")
    windows = pandas.read_csv(folder / "sum-windows.csv")
    cells = windows.start / 0.512
    np.testing.assert_allclose(cells, cells.round(), atol=1e-4)
    columns = [name for name in windows if name.startswith("contribution_")]
    summed = windows.groupby("id", sort=False)[columns].sum().to_numpy()
    predicted = pandas.read_csv(folder / "sum.csv")
    labels = [name.removeprefix("contribution_") for name in columns]
    assert [labels[k] for k in summed.argmax(axis=1)] == predicted.predicted.tolist()


def test_the_exported_graph_answers_as_the_library(fast, songs, folder):
    exported = export_model(load_model(fast), folder / "fast.onnx", Console(quiet=True))
    assert exported.path.stat().st_size < 8e6
    session = onnxruntime.InferenceSession(str(exported.path))
    song = sorted((songs.parent / "audio").iterdir())[0]
    blocks = read_blocks(str(song), 16000, AudioReport(), (0.0, None), Limits())
    probabilities, *_ = session.run(["probabilities"], {"waveform": np.concatenate(list(blocks))})
    csv = folder / "graph.csv"
    predictions(fast, song, csv)
    row = dict(zip(*(line.split(",") for line in csv.read_text().splitlines()), strict=True))
    named = [float(row[f"p_{label}"]) for label in load_model(fast).card.labels]
    np.testing.assert_allclose(probabilities, named, atol=1e-4)


def test_training_twice_costs_no_audio_work(fast, songs, folder, monkeypatch):
    recipe = choose_recipe("ears")
    files = [str(path) for path in sorted((songs.parent / "audio").iterdir())]
    sources = [known_source(path) for path in files]
    receipts = Index(folder / "cache", recipe.sound).lookup(sources)
    assert all(receipt is not None for receipt in receipts)
    changed = ("--set", "windows.seconds=3", "--seed", "5", "--cache", folder / "cache")
    monkeypatch.setattr("songbag.audio.extract.decode_in_sandbox", None)  # nothing is decoded
    path = folder / "ears.songbag"
    arguments = ("--encoder", "musicnn", "--pooling", "max", "--set", "training.epochs=2")
    assert songbag("train", songs, "-o", path, *arguments, *changed).exit_code == 0
    card = load_model(path, parts=()).card
    assert (card.recipe.name, card.recipe.training.pooling) == ("ears", "max")


def known_source(path):
    from songbag.audio.audio_file import Source

    return Source(path=path)


@pytest.mark.full
def test_an_encoder_of_a_file_travels_inside_the_model(songs, folder, tmp_path, monkeypatch):
    encoder = write_encoder(tmp_path / "mine.onnx")
    path, cache = tmp_path / "mine.songbag", tmp_path / "cache"
    arguments = ("--recipe", "fast", "--encoder", encoder, "--cache", cache, "--workers", "2")
    assert songbag("train", songs, "-o", path, *arguments).exit_code == 0
    encoder.unlink()
    monkeypatch.setattr(known, "_known", {})
    one = predictions(path, songs, tmp_path / "one.csv", "--cache", tmp_path / "no")
    assert one == predictions(path, songs, tmp_path / "two.csv", "--cache", cache)
    exported = export_model(load_model(path), tmp_path / "mine.onnx", Console(quiet=True))
    assert exported.path.exists()


def test_packed_rows_of_another_encoder_are_refused(songs, folder, tmp_path):
    packed = tmp_path / "packed"
    cache = ("--cache", folder / "cache")
    assert songbag("pack", songs, "-o", packed, "--encoder", "musicnn", *cache).exit_code == 0
    path = tmp_path / "packed.songbag"
    fast = ("--recipe", "fast")
    done = songbag("train", packed, "-o", path, *fast, "--encoder", "musicnn")
    assert done.exit_code == 0
    encoder = write_encoder(tmp_path / "mine.onnx")
    for other in ("none", encoder):
        refused = CliRunner().invoke(
            main, ["train", str(packed), "-o", str(path), *fast, "--encoder", str(other)]
        )
        assert refused.exit_code == 2
        assert "packed with encoder 'musicnn' (16000 Hz, 1506 values" in refused.output


@pytest.mark.parametrize("recipe", ["cnn", "founding", "windows", "mlp"])
def test_recipes_of_frames_take_no_encoder(recipe):
    with pytest.raises(SettingsError, match=r"takes no encoder\. Use --recipe auto"):
        choose_recipe(recipe, encoder="musicnn")


def test_unknown_encoders_are_refused_with_what_is_known():
    with pytest.raises(SettingsError, match="Did you mean 'musicnn'"):
        choose_recipe("auto", encoder="musicn")


def test_a_model_with_another_encoder_than_it_states_is_refused(fast, tmp_path):
    path = tmp_path / "changed.songbag"
    with zipfile.ZipFile(fast) as old, zipfile.ZipFile(path, "w") as new:
        parts = {name: old.read(name) for name in old.namelist()}
        other = write_encoder(tmp_path / "mine.onnx").read_bytes()
        card = json.loads(parts["model.json"])
        for name, data in parts.items():
            new.writestr(name, other if name == "encoder.onnx" else data)
    with pytest.raises(ModelFileError, match="its hash differs"):
        load_model(path)
    card["hashes"]["encoder.onnx"] = known.graph_hash(other)
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            changed = {"encoder.onnx": other, "model.json": json.dumps(card).encode()}
            new.writestr(name, changed.get(name, data))
    with pytest.raises(ModelFileError, match="not the one that its settings name"):
        load_model(path)


@pytest.mark.full
def test_more_songs_than_fit_into_memory_stay_in_the_cache(fast, songs, folder, monkeypatch):
    from songbag.data import audio_dataset

    monkeypatch.setattr(audio_dataset, "_MOST_BYTES", 1000)
    monkeypatch.setattr(audio_dataset.CachedDataset, "in_memory", None)
    path = folder / "lazy.songbag"
    songbag(
        "train", songs, "-o", path, "--recipe", "fast", "--encoder", "musicnn",
        "--cache", folder / "cache",
    )  # fmt: skip
    assert load_model(path).hash == load_model(fast).hash
    songbag(
        "crossval", songs, "-o", folder / "lazy", "--recipe", "ears", "--epochs", 2, "--folds", 2,
        "--cache", folder / "cache",
    )  # fmt: skip


def test_the_default_listens_and_says_so(songs, folder):
    model = folder / "auto.songbag"
    result = CliRunner().invoke(
        main, ["train", str(songs), "-o", str(model), "--cache", str(folder / "cache")]
    )
    assert result.exit_code == 0, result.output
    assert "weights by songs held out: probe " in result.output
    assert "encoder musicnn: loss of songs held out 0." in result.output
    assert "without it 0." in result.output
    card = load_model(model).card
    assert card.encoder.trained_on.startswith("the Million Song Dataset")
    assert "GTZAN" in card.encoder.remarks[0]
    said = CliRunner().invoke(main, ["info", str(model)]).output
    assert "encoder     musicnn, trained on the Million Song Dataset" in said
    report = (folder / "auto-training" / "report.html").read_text()
    assert "What it listens with" in report
    assert "Songs of the GTZAN collection may be among those" in report


def test_a_sound_of_the_users_excludes_the_encoder():
    with pytest.raises(SettingsError, match=r"musicnn' states what it listens to .*--encoder none"):
        choose_recipe("auto", {"sound.sample_rate": 48000})
    assert choose_recipe("auto", {"sound.sample_rate": 48000}, "none").sound.sample_rate == 48000
    with pytest.raises(SettingsError, match="takes an encoder"):
        choose_recipe("ears", encoder="none")


@pytest.mark.full
def test_wrong_labels_are_found_by_vectors(songs, folder, tmp_path):
    text = songs.read_text().replace("audio/", f"{songs.parent}/audio/")
    first = text.splitlines()[1]
    right, wrong = "gallop", "waltz"
    assert f",{right}," in first
    table = tmp_path / "songs.csv"
    table.write_text(text.replace(first, first.replace(f",{right},", f",{wrong},")))
    found = songbag("check", table, "--labels", "--allow-outside", "--cache", folder / "cache")
    lines = [line for line in found.output.splitlines() if "suspicious_label" in line]
    assert "gallop_001" in lines[0]


def test_a_server_says_what_the_encoder_hears(fast, songs, folder):
    path = next((songs.parent / "audio").iterdir())
    model = load_model(fast)
    worker_process.load_models([model])
    task = {
        "model": model.hash,
        "id": path.name,
        "path": str(path),
        "limits": Limits(),
        "windows": False,
    }
    task |= {"peaks": False, "csv": False, "cached": False}
    plain, tagged = (
        json.loads(worker_process.run_task(worker_process.PredictTask(**task, tags=tags)).body)
        for tags in (False, True)
    )
    assert "tags" not in plain
    assert plain["song"] == tagged["song"]
    expected = api.tag(path).iloc[0]
    assert len(tagged["tags"]) == 5
    for row in tagged["tags"]:
        assert row["probability"] == pytest.approx(expected[row["tag"]], abs=1e-6)


@pytest.mark.full
def test_networks_learn_from_the_spectra_beside_the_vectors_where_these_weigh(songs, folder):
    recipe = choose_recipe("auto", encoder="musicnn")
    _, linear, statistics, cnn = recipe.trainings
    assert cnn.spectra_weigh == 0.4
    cnn = structs.replace(cnn, epochs=1)
    dataset, path = audio_dataset(songs, cache=folder / "cache"), folder / "learnt.songbag"
    for first, trains in ((statistics, True), (linear, False)):
        console = Said()
        first = structs.replace(first, folds=2)
        one = structs.replace(recipe, training=first, branches=(cnn,))
        learnt = train(dataset, one, console, model_path=path)
        assert bool(re.search(r"held out: statistics \d+%, cnn \d+%", console.text)) == trains
        assert len(learnt.model.card.layers) > 1 or not trains
    learnt = train(
        dataset,
        structs.replace(one, training=first, branches=(structs.replace(cnn, spectra_weigh=0.0),)),
        console,
    )
    save_model(path, learnt.model)
    export_model(load_model(path), folder / "learnt.onnx", Console(quiet=True))  # agrees to 1e-4


class Said(Console):
    """A console that keeps what is said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.text = ""

    def say(self, text):
        self.text += text + "\n"
