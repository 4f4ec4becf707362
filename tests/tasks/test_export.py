"""One ONNX graph from samples to answer says what the library says, with nothing of ours."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

import songbag
from songbag.audio import features
from songbag.audio.audio_file import AudioReport
from songbag.audio.waveform import read_blocks
from songbag.cli import main
from songbag.errors import ExportError
from songbag.inference import sound_graph
from songbag.inference.model_file import load_model
from songbag.inference.predictor import Predictor
from songbag.onnx_runtime.graph_builder import GraphBuilder
from songbag.onnx_runtime.session import open_session
from songbag.recipes.load import load_recipe
from songbag.settings import Limits, Sound
from songbag.tasks.export import checked_sounds
from tests.helpers.songs import audio_dataset, train_file

DOCS = Path(__file__).parents[2] / "docs"

# Everything a graph can differ in: cosine transform, top_db, standardisation, deltas, a hop
# that divides nothing, short windows, a pooling without a space.
RECIPES = {
    "cnn": ("cnn", {}),
    "deltas": (
        "founding",
        {
            "sound.deltas": True,
            "sound.top_db": None,
            "sound.hop_length": 441,
            "windows.seconds": 1.0,
            "windows.hop_seconds": 0.7,
            "training.pooling": "hard_vote",
            "training.loss": "window",
            "training.windows_per_song": 2,
        },
    ),
}


@pytest.fixture(
    scope="module", params=["founding", "cnn", pytest.param("deltas", marks=pytest.mark.full)]
)
def exported(request, songs, model_path, graph_path, tmp_path_factory):
    """(model file, graph file) of one recipe."""
    if request.param == "founding":
        return model_path, graph_path
    folder = tmp_path_factory.mktemp("export")
    name, changes = RECIPES[request.param]
    recipe = load_recipe(name, {**changes, "training.epochs": 1})
    model = folder / "genre.songbag"
    train_file(audio_dataset(songs), model, recipe)
    return model, songbag.load(model).export(folder / "genre.onnx")


@pytest.fixture(scope="module")
def graph_path(model_path, tmp_path_factory):
    return songbag.load(model_path).export(tmp_path_factory.mktemp("founding") / "genre.onnx")


def run(path, waveform):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"waveform": waveform}), strict=True))


def heard(path, sample_rate):
    blocks = read_blocks(str(path), sample_rate, AudioReport(), (0.0, None), Limits())
    return np.concatenate(list(blocks))


def test_the_graph_says_what_the_library_says(exported, songs):
    model, graph = exported
    predictor = Predictor(load_model(model))
    sound = predictor.card.recipe.sound
    song = next((songs.parent / "audio").iterdir())
    waveforms = dict(checked_sounds(sound.sample_rate)) | {"song": heard(song, sound.sample_rate)}
    assert {len(waveform) / sound.sample_rate for waveform in waveforms.values()} >= {0.5, 60, 600}
    for what, waveform in waveforms.items():
        blocks = features.frame_blocks([waveform], sound)
        truth = predictor.predict(blocks, lambda n=len(waveform): n)
        found = run(graph, waveform)
        close = {"atol": 1e-4, "rtol": 0, "err_msg": what}
        np.testing.assert_allclose(found["probabilities"], truth.probabilities, **close)
        np.testing.assert_allclose(
            found["window_probabilities"], truth.window_probabilities, **close
        )
        np.testing.assert_allclose(found["starts_seconds"], truth.start_seconds, **close)
        assert ("contributions" in found) == (predictor.card.space is not None)
        if predictor.card.space is not None:
            close["atol"] *= max(1, np.abs(truth.contributions).max())
            np.testing.assert_allclose(found["contributions"], truth.contributions, **close)
            np.testing.assert_allclose(found["score"], found["contributions"].sum(axis=0), **close)


def test_lengths_at_every_edge_of_the_window_law(model_path, graph_path):
    predictor = Predictor(load_model(model_path))
    sound = predictor.card.recipe.sound
    noise = np.random.default_rng(1).standard_normal(300_000).astype(np.float32)
    window, hop = 5 * sound.sample_rate, int(2.5 * sound.sample_rate)
    edges = [1, 511, 512, 513, 1024, window, window + hop, window + 2 * hop]
    for samples in sorted({near for edge in edges for near in (edge - 1, edge, edge + 1)} - {0}):
        blocks = features.frame_blocks([noise[:samples]], sound)
        truth = predictor.predict(blocks, lambda n=samples: n)
        found = run(graph_path, noise[:samples])
        assert found["starts_seconds"].shape == truth.start_seconds.shape, samples
        assert np.abs(found["probabilities"] - truth.probabilities).max() <= 1e-4, samples


@pytest.mark.parametrize("frame_length", [16, 1000, 1021, 2048])
def test_frames_of_any_length_are_the_library_s(frame_length):
    hop = frame_length // 3
    sound = Sound(frame_length=frame_length, hop_length=hop, mel_bands=8, top_db=60.0, deltas=True)
    nodes = GraphBuilder(20)
    frames = sound_graph.add_frames(nodes, "waveform", sound)
    graph = nodes.model({"waveform": ("samples",)}, {"frames": (frames, ("frames", sound.bands))})
    noise = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    for samples in (1, hop - 1, hop, hop + 1, 20_000):
        found = open_session(graph.SerializeToString()).run(None, {"waveform": noise[:samples]})[0]
        expected = features.frames(noise[:samples], sound)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_the_count_of_frames_does_not_round():
    # onnxruntime counts them in float32: here (samples - 1024) / 64 rounds to one too many.
    sound = Sound(hop_length=64, frame_length=64, mel_bands=1)
    nodes = GraphBuilder(20)
    frames = sound_graph.add_frames(nodes, "waveform", sound)
    graph = nodes.model({"waveform": ("samples",)}, {"frames": (frames, ("frames", 1))})
    silence = np.zeros(64 * 300_000 - 1, np.float32)
    found = open_session(graph.SerializeToString()).run(None, {"waveform": silence})[0]
    assert len(found) == 300_000


ALONE = """
import json, sys
import msgspec
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
waveform = np.load(sys.argv[2])
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(None, {"waveform": waveform})))
labels = json.loads(session.get_modelmeta().custom_metadata_map["songbag.labels"])
assert not {"songbag", "torch", "av", "onnx"} & set(sys.modules)
print(json.dumps({
    "song": dict(zip(labels, found["probabilities"].tolist())),
    "windows": found["window_probabilities"].tolist(),
    "starts": found["starts_seconds"].tolist(),
}))
"""


def test_nothing_of_ours_is_needed(model_path, graph_path, songs, tmp_path):
    model = songbag.load(model_path)
    song = next((songs.parent / "audio").glob("*.mp3"))
    np.save(tmp_path / "waveform.npy", heard(song, model.card.recipe.sound.sample_rate))
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, graph_path, tmp_path / "waveform.npy"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    row = model.predict(song).iloc[0]
    for label, probability in found["song"].items():
        assert abs(row[f"p_{label}"] - probability) <= 1e-4
    windows = model.predict(song, windows=True)
    columns = [f"p_{label}" for label in model.labels]
    np.testing.assert_allclose(found["windows"], windows[columns], atol=1e-4)
    np.testing.assert_allclose(found["starts"], windows.index.get_level_values("start"), atol=1e-4)


def test_the_file_says_what_it_is(exported):
    model, graph = exported
    card = load_model(model).card
    about = onnxruntime.InferenceSession(graph).get_modelmeta()
    said = about.custom_metadata_map
    assert tuple(json.loads(said["songbag.labels"])) == card.labels
    assert int(said["songbag.sample_rate"]) == card.recipe.sound.sample_rate
    assert float(said["songbag.window_seconds"]) == card.recipe.windows.seconds
    assert float(said["songbag.hop_seconds"]) == card.recipe.windows.hop_seconds
    assert said["songbag.recipe"] == card.recipe.name
    assert said["songbag.model"] == load_model(model).hash
    settings = json.loads(said["songbag.settings"])
    assert settings["sound"]["mel_bands"] == card.recipe.sound.mel_bands
    assert about.producer_name == "songbag"
    text = graph.read_bytes()
    assert str(Path(songbag.__file__).parent).encode() not in text
    assert b"site-packages" not in text


@pytest.mark.parametrize("part", ["probabilities", "starts", "frames"])
def test_a_graph_that_disagrees_is_not_written(model_path, tmp_path, monkeypatch, part):
    softmax, starts, frames = (
        sound_graph._probabilities,
        sound_graph.add_starts,
        sound_graph.add_frames,
    )
    if part == "probabilities":

        def warmer(nodes, logits, card, song):
            changed = msgspec.structs.replace(card, temperature=1.01 * card.temperature)
            return softmax(nodes, logits, changed, song)

        monkeypatch.setattr(sound_graph, "_probabilities", warmer)
    elif part == "starts":
        one = np.array([1])
        monkeypatch.setattr(
            sound_graph,
            "add_starts",
            lambda n, *rest: n.add("Add", starts(n, *rest), one),
        )
    else:
        monkeypatch.setattr(
            sound_graph,
            "add_frames",
            lambda n, *rest: n.add("Mul", frames(n, *rest), np.float32(1.01).reshape(())),
        )
    target = tmp_path / "genre.onnx"
    with pytest.raises(ExportError, match="differ by"):
        songbag.load(model_path).export(target)
    assert not list(tmp_path.iterdir())
    target.write_bytes(b"the one before")
    done = CliRunner().invoke(main, ["export", str(model_path), str(target)])
    assert done.exit_code == 2 and "Nothing was written" in done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the one before"]


def test_a_temperature_is_in_the_graph(model_path, graph_path, tmp_path):
    import msgspec

    from songbag.inference.model_file import Model, save_model

    model = load_model(model_path, ("network.onnx", "pooling.onnx", "weights.safetensors"))
    card = msgspec.structs.replace(model.card, temperature=2.5)
    save_model(tmp_path / "warm.songbag", Model.of_parts(card, model.parts))
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    cold = run(graph_path, noise)
    warm = run(songbag.load(tmp_path / "warm.songbag").export(tmp_path / "warm.onnx"), noise)
    expected = cold["probabilities"] ** (1 / 2.5)
    np.testing.assert_allclose(warm["probabilities"], expected / expected.sum(), atol=1e-5)
    np.testing.assert_array_equal(warm["window_probabilities"], cold["window_probabilities"])


def test_a_model_of_a_table_has_no_sound(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((60, 4)).astype(np.float32)
    bags = songbag.bags_from_arrays(values, ["a"] * 30 + ["b"] * 30, np.arange(60) // 3)
    songbag.train(bags, tmp_path / "table.songbag", epochs=1, quiet=True)
    done = CliRunner().invoke(main, ["export", str(tmp_path / "table.songbag"), "out.onnx"])
    assert done.exit_code == 2
    assert "predicts on a table of window features, not on sound" in done.stderr


def test_exporting_needs_onnx_and_not_torch(model_path, tmp_path):
    code = (
        "import sys, songbag\n"
        f"songbag.load({str(model_path)!r}).export('genre.onnx')\n"
        "assert 'torch' not in sys.modules\n"
        "for name in [n for n in sys.modules if n.startswith(('onnx.', 'songbag.inference.sound_graph', 'songbag.onnx_runtime.graph_builder'))]:\n"
        "    del sys.modules[name]\n"
        "sys.modules['onnx'] = None\n"
        "try:\n"
        f"    songbag.load({str(model_path)!r}).export('second.onnx')\n"
        "except songbag.SongbagError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "needs the package 'onnx'" in done.stdout and "songbag[export]" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["genre.onnx"]


def test_the_snippet_of_the_page_runs(model_path, graph_path, tmp_path):
    import soundfile

    shutil.copy(graph_path, tmp_path)
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050 * 12)
    soundfile.write(tmp_path / "song.wav", noise, 22050, subtype="PCM_16")
    (snippet,) = re.findall(
        r"```python\n(.*?)```", (DOCS / "howto" / "export.md").read_text(), re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", snippet], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    song, *windows = done.stdout.splitlines()
    assert len(windows) == 3
    for label in songbag.load(model_path).labels:
        assert label in song
