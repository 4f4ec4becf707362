"""Model files and prediction: laws 4, 7 and 8."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from songbag.audio import features
from songbag.audio.extract import extract_all
from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.audio.windows import window_starts
from songbag.data.packed import PackedDataset
from songbag.data.song import Song
from songbag.data.song_table import read_songs
from songbag.errors import ModelFileError
from songbag.inference import predict
from songbag.inference.model_file import PARTS, Model, load_model, save_model
from songbag.inference.predictions import song_row, window_rows
from songbag.inference.predictor import Predictor, WindowOutputs
from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.models.build import build
from songbag.models.song_network import SongPooling, song_logits
from songbag.parts import poolings
from songbag.tasks.pack import pack_songs
from tests.helpers.songs import QUIET, audio_dataset

MEAN = SongPooling(poolings()["mean_probability"], 3)


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, PARTS)


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model)


def frames_of(card, seconds, seed=0):
    waveform = synthesise("waltz", np.random.default_rng(seed), seconds)
    return features.frames(waveform, card.recipe.sound), len(waveform)


# --- prediction -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds", [0.1, 4.9, 5.0, 7.5, 60.0, pytest.param(600.0, marks=pytest.mark.full)]
)
def test_contributions_add_up_to_the_score(predictor, seconds):
    frames, samples = frames_of(predictor.card, seconds)
    found = predictor.predict([frames], lambda: samples)
    sound, cut = predictor.card.recipe.sound, predictor.card.recipe.windows
    assert len(found.contributions) == len(window_starts(samples, sound, cut))
    np.testing.assert_allclose(found.contributions.sum(axis=0), found.score, atol=1e-5)
    assert found.probabilities.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.window_probabilities.sum(axis=1), 1)
    assert (found.end_seconds > found.start_seconds).all()
    assert found.end_seconds[-1] <= samples / sound.sample_rate + 1e-9


def test_prediction_equals_torch(model, predictor, songs):
    recipe = model.card.recipe
    bags = audio_dataset(songs).load(recipe).cut(recipe.sound, recipe.windows)
    from safetensors.torch import load

    network = build("founding", model.card.window_shape, MEAN, 0.0, None)
    network.load_state_dict(load(model.parts["weights.safetensors"]))
    logits = song_logits(network, MEAN, bags)
    for bag, truth in zip(bags, logits.softmax(dim=1).numpy(), strict=True):
        found = predictor.predict([bag.features], lambda bag=bag: bag.samples)
        np.testing.assert_allclose(found.probabilities, truth, atol=1e-4)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(1, 3000), max_size=8), seconds=st.sampled_from([3.0, 61.0, 200.0]))
def test_the_same_bits_however_the_frames_arrive(predictor, cuts, seconds):
    frames, samples = frames_of(predictor.card, seconds)
    whole = predictor.predict([frames], lambda: samples)
    places = np.unique(np.clip(np.cumsum(cuts or [1]), 0, len(frames)))
    parts = predictor.predict(np.split(frames, places), lambda: samples)
    for name in ("probabilities", "score", "contributions", "window_probabilities"):
        assert (getattr(whole, name) == getattr(parts, name)).all()


def test_a_pooling_without_a_space_leaves_windows_out(model):
    from songbag.training.to_onnx import export_pooling

    parts = {**model.parts, "pooling.onnx": export_pooling(SongPooling(poolings()["hard_vote"], 3))}
    card = msgspec.structs.replace(model.card, space=None)
    predictor = Predictor(Model.of_parts(card, parts))
    frames, samples = frames_of(card, 20.0)
    found = predictor.predict([frames], lambda: samples)
    votes = found.window_probabilities.argmax(axis=1)
    assert found.label_indices[0] == np.bincount(votes, minlength=3).argmax()
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]], np.float32))
    by_hand = predictor.predict_outputs(WindowOutputs(logits, np.zeros(3), np.ones(3)))
    assert (by_hand.contributions[:2, 0] > 0).all()
    assert by_hand.contributions[2, 0] < 0
    one = predictor.predict(*[[frames[:100]], lambda: 51200])
    assert one.contributions.shape == (1, 3)


def test_temperature_acts_on_songs_only(model):
    frames, samples = frames_of(model.card, 20.0)
    warm = Predictor(Model(msgspec.structs.replace(model.card, temperature=3.0), model.parts))
    plain = Predictor(model)
    a, b = (one.predict([frames], lambda: samples) for one in (plain, warm))
    assert (a.window_probabilities == b.window_probabilities).all()
    assert (a.score == b.score).all()
    assert b.probabilities.max() < a.probabilities.max()


def test_softmax_with_temperature():
    logits = np.array([[1e4, 0.0], [0.0, np.log(3.0)]], np.float32)
    np.testing.assert_allclose(
        SINGLE_LABEL.probabilities(logits), [[1, 0], [0.25, 0.75]], atol=1e-6
    )
    np.testing.assert_allclose(
        SINGLE_LABEL.probabilities(logits[1:], 2.0),
        [[1 / (1 + 3**0.5), 3**0.5 / (1 + 3**0.5)]],
        atol=1e-6,
    )


def test_the_graphs_run_in_plain_onnxruntime(model):
    session = onnxruntime.InferenceSession(model.parts["network.onnx"])
    frames, samples = frames_of(model.card, 12.0)
    recipe = model.card.recipe
    starts = window_starts(samples, recipe.sound, recipe.windows)
    (logits,) = session.run(None, {"frames": frames, "starts": starts})
    assert logits.shape == (len(starts), 3)


def test_cached_songs_are_predicted_alike_by_processes(model_path, songs, tmp_path):
    """In order, however many processes; frames that were damaged are decoded again."""
    some = read_songs(songs).songs
    model = load_model(model_path)
    recipe = model.card.recipe
    receipts = list(
        extract_all([s.source(recipe.excerpt) for s in some], recipe.sound, tmp_path, workers=1)
    )
    (tmp_path / receipts[5].key).write_bytes(b"damaged")
    (tmp_path / receipts[6].key).unlink()
    here = list(predict.predict(model, audio_dataset(songs, tmp_path)))
    dataset = audio_dataset(songs, tmp_path, workers=2)
    pool = list(predict._predict_in_pool(model, list(dataset.inputs(recipe)), dataset.workers))
    labels = model.card.labels
    assert [item.id for item in pool] == [song.id for song in some]
    assert [song_row(a, labels) for a in pool] == [song_row(a, labels) for a in here]
    assert [window_rows(a, labels) for a in pool] == [window_rows(a, labels) for a in here]


def test_warnings_are_the_same_by_every_way_to_a_song(model, songs, tmp_path):
    rng = np.random.default_rng(0)
    song = synthesise("waltz", rng, 36.0, 8000)
    shapes = {
        "8 kHz.wav": (song, 8000, "narrow"),
        " ä%20.wav": (np.stack([song, -song]), 22050, "cancelling"),
        "two\nlines.mp3": (np.stack([song, 0 * song]), 16000, "one_sided"),
        "good.flac": (synthesise("waltz", rng, 12.0, 22050), 22050, ""),
    }
    for name, (samples, rate, _) in shapes.items():
        write_waveform(tmp_path / name, samples, rate)
    listed = [Song(name, str(tmp_path / name), label="waltz") for name in shapes]

    def warned(dataset):
        return {one.id: one.warnings for one in predict.predict(model, dataset)}

    decoded = warned(audio_dataset(listed, tmp_path / "none"))
    for name, (_, _, kind) in shapes.items():
        assert [text.partition(":")[0] for text in decoded[name]] == [kind] * bool(kind)
    loaded = audio_dataset(listed, tmp_path / "cache").load(model.card.recipe)
    assert warned(loaded) == decoded
    assert warned(audio_dataset(listed, tmp_path / "cache")) == decoded
    pack_songs(audio_dataset(listed), model.card.recipe, tmp_path / "packed", QUIET)
    assert warned(PackedDataset.open(tmp_path / "packed")) == decoded
    of_telephones = model.with_card(narrow=True)
    usual = {one.id: one.warnings for one in predict.predict(of_telephones, loaded)}
    assert usual == decoded | {"8 kHz.wav": ()}


# --- model files ------------------------------------------------------------------------


def test_a_model_file_comes_back_as_it_was(model, tmp_path):
    save_model(tmp_path / "a.songbag", model)
    save_model(tmp_path / "b.songbag", model)
    again = load_model(tmp_path / "a.songbag", PARTS)
    assert again.card == model.card
    assert again.parts == model.parts
    assert again.hash == model.hash
    assert (tmp_path / "a.songbag").read_bytes() == (tmp_path / "b.songbag").read_bytes()


def test_figures_do_not_change_the_hash_and_weights_do(model):
    figures = msgspec.structs.replace(model.card, figures={})
    assert Model(figures, {}).hash == model.hash
    other = Model.of_parts(model.card, {**model.parts, "network.onnx": b"other"})
    assert other.hash != model.hash


def rewritten(path, model_path, change):
    """Write the model's zip entries after ``change(entries)`` has altered them."""
    with zipfile.ZipFile(model_path) as archive:
        entries = [(zipfile.ZipInfo(i.filename), archive.read(i)) for i in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in change(entries):
            archive.writestr(info, data)
    return path


def compress(entries):
    for info, data in entries:
        info.compress_type = zipfile.ZIP_DEFLATED
        yield info, data


def change_card(**changes):
    def change(entries):
        for info, data in entries:
            if info.filename == "model.json":
                data = msgspec.json.encode({**msgspec.json.decode(data), **changes})
            yield info, data

    return change


def flip_network(entries):
    for info, data in entries:
        if info.filename == "network.onnx":
            data = data[:500] + bytes([data[500] ^ 1]) + data[501:]
        yield info, data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (compress, "compressed"),
        (lambda entries: entries[:-1], "parts are missing"),
        (lambda entries: [*entries, (zipfile.ZipInfo("../evil"), b"x")], "no model has"),
        (flip_network, "network.onnx is not what was saved"),
        (change_card(format=99), "newer Songbag"),
        (change_card(labels=["one"]), "not valid"),
        (change_card(surprise=1), "not valid.*surprise"),
        (change_card(temperature=-1), "not valid.*temperature"),
        (change_card(recipe="x"), "not valid.*recipe"),
    ],
)
def test_foreign_and_changed_files_are_refused(model_path, tmp_path, change, message):
    path = rewritten(tmp_path / "x.songbag", model_path, change)
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


def test_a_card_whose_settings_disagree_with_its_windows_is_refused(model):
    card = msgspec.structs.replace(model.card, window_shape=(100, 13))
    with pytest.raises(ModelFileError, match="cannot be used"):
        Predictor(Model(card, model.parts))


def test_a_graph_that_is_none_is_refused(model):
    with pytest.raises(ModelFileError, match="cannot be run"):
        Predictor(Model(model.card, {**model.parts, "network.onnx": b"nothing"}))


@pytest.mark.parametrize("content", [None, b"", b"nothing like a zip" * 100])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "x.songbag"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.songbag"):
        load_model(path)


@pytest.mark.torture
def test_damaged_bytes_never_crash_the_loader(model_path, tmp_path, often, figure):
    whole = model_path.read_bytes()
    refused = []
    path = tmp_path / "x.songbag"

    @settings(
        max_examples=often(100, 2000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def damage(data):
        path.write_bytes(damaged(bytearray(whole), data))
        try:
            Predictor(load_model(path, PARTS))
        except ModelFileError as error:
            assert "x.songbag" in str(error)
            refused.append(error)

    damage()
    figure("damaged files, refused", (often(100, 2000), len(refused)))


def damaged(good, data):
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "zero"]))
        # the start, the middle and the directory at the end, where the structure is
        place = data.draw(st.integers(0, 400) | st.integers(-400, -1))
        place = place % len(good)  # a cut may have made it shorter
        if kind == "flip":
            good[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "zero":
            good[place : place + 8] = bytes(len(good[place : place + 8]))
        elif place > 100:
            del good[place:]
    return bytes(good)


# --- without torch ----------------------------------------------------------------------

ALLOWED = {"numpy", "av", "soxr", "onnxruntime", "click", "msgspec", "songbag"}
ALLOWED |= {"zlib_ng"}  # where it is installed: a checksum, imported in a millisecond


def test_cold_prediction_loads_four_libraries(model_path, songs, tmp_path):
    song = next((songs.parent / "audio").iterdir())
    code = (
        "import sys; before = set(sys.modules)\n"
        "from songbag.cli import main\n"
        "try: main(['predict', *sys.argv[1:]])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(model_path), str(song)]
    nothing_known = {**os.environ, "SONGBAG_CACHE": str(tmp_path)}
    done = subprocess.run(command, env=nothing_known, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    third_party = {name for name in loaded if name not in sys.stdlib_module_names}
    third_party -= {name for name in third_party if name.startswith("_")}
    third_party -= {"flatbuffers", "packaging", "typing_extensions", "cython_runtime"}  # theirs
    assert third_party <= ALLOWED, third_party - ALLOWED
    assert done.stdout.splitlines()[1].startswith(str(song))


def test_a_model_predicts_where_torch_is_not_installed(model_path, songs):
    """In the environment that `make test` installs without the train extra."""
    python = Path(__file__).parents[2] / ".venv-core" / "bin" / "python"
    if not python.exists():
        pytest.skip("there is no environment without torch: run make test")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1
    song = str(next((songs.parent / "audio").iterdir()))
    results = []
    for executable in (python, sys.executable):
        command = [executable, "-m", "songbag", "predict", str(model_path), song, "--windows"]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        results.append(done.stdout)
    assert results[0] == results[1]
    out = model_path.parent / "evaluation-without-torch"
    command = [python, "-m", "songbag", "evaluate", str(model_path), str(songs), "-o", str(out)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (out / "report.html").exists()
    for arguments in (["info", str(model_path)], ["--help"], ["report", str(out)]):
        assert subprocess.run([python, "-m", "songbag", *arguments]).returncode == 0
    refused = subprocess.run(
        [python, "-m", "songbag", "train", str(songs), "-o", str(out / "m.songbag")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "songbag[train]" in refused.stderr
