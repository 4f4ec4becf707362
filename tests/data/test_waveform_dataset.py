"""Samples as libraries give them are heard as their file is, and a rate never goes unsaid."""

import numpy as np
import pytest
import soundfile
import torch

import songbag
from songbag.audio.waveform import write_waveform
from songbag.data.waveform_dataset import waveforms_of
from songbag.errors import SongTableError

RATE = 32000


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file of two channels, and its samples (samples, channels)."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    write_waveform(path, (0.1 * rng.standard_normal((2, RATE * 12))).astype(np.float32), RATE)
    return path, soundfile.read(path, dtype="float32")[0]


@pytest.fixture(scope="module")
def model(model_path):
    return songbag.load(model_path)


def forms(samples):
    mono = samples.mean(axis=1)
    exact = np.round(samples * 32768)
    return {
        "soundfile": samples,
        "channels first": samples.T,
        "double": samples.astype(np.float64),
        "16 bits": exact.astype(np.int16),
        "32 bits": (exact * 65536).astype(np.int32),
        "unsigned": (exact + 32768).astype(np.uint16),
        "tensor": torch.from_numpy(samples.T.copy()),
        "librosa": mono,
    }


def test_every_form_of_samples_is_heard_as_the_file(sound, model):
    path, samples = sound
    truth = model.predict(str(path))
    columns = [name for name in truth if name.startswith("p_")]
    for name, form in forms(samples).items():
        found = model.predict([(form, RATE)])
        np.testing.assert_allclose(found[columns], truth[columns], atol=1e-5, err_msg=name)
        assert found["seconds"].item() == truth["seconds"].item()
    one = model.predict((samples, RATE))
    assert one["predicted"] == truth["predicted"].item()
    assert model.predict(samples.mean(axis=1), sample_rate=RATE)["p_" + one["predicted"]] > 0
    windows = model.predict((samples, RATE), windows=True)
    assert windows.index.names == ["id", "start", "end"]
    many = model.predict(np.stack([samples[:, 0], samples[:, 1]]), sample_rate=RATE)
    assert many.index.tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("given", "rate", "message"),
    [
        (np.zeros(8000), None, "nobody says how many there are a second"),
        ([np.zeros(8000)], None, "nobody says how many there are a second"),
        ([(np.zeros(8000), 8000)], 16000, "a rate of 8000 Hz, and sample_rate says 16000"),
        (np.zeros((8000, 2)), 8000, "no matrix .songs, samples."),
        (np.zeros((2, 2, 8000)), 8000, "no matrix .songs, samples."),
        ("a.wav", 8000, "sample_rate is of samples, and these are none"),
    ],
)
def test_what_may_be_meant_otherwise_is_refused(model, given, rate, message):
    with pytest.raises(SongTableError, match=message):
        model.predict(given, sample_rate=rate)


def test_samples_that_are_none_get_a_row_with_the_reason(model):
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    songs = [(noise, RATE), (np.zeros(0), RATE), (noise * 32768, RATE), (noise, -1), (noise, 0.5)]
    found = model.predict(songs)
    assert found["status"].tolist() == ["ok", *["failed"] * 4]
    reasons = ["", "no_samples", "too_loud", "no_rate", "no_rate"]
    assert found["reason"].tolist() == reasons


def test_songs_are_trained_on_and_computed_once(monkeypatch, tmp_path):
    from songbag.data.open_songs import AudioOptions, open_songs
    from songbag.recipes.load import load_recipe

    rng = np.random.default_rng(0)
    pairs = [(0.1 * rng.standard_normal(RATE * 2).astype(np.float32), RATE) for _ in range(3)]
    options, recipe = AudioOptions(tmp_path, workers=1), load_recipe("fast")
    first = open_songs(pairs, options).load(recipe)
    monkeypatch.setattr("songbag.audio.extract.decode_rows", lambda *_: pytest.fail("decoded"))
    again = open_songs(pairs, options).load(recipe)
    assert [bag.id for bag in again] == ["0", "1", "2"]
    assert all(np.array_equal(a.features, b.features) for a, b in zip(first, again, strict=True))
    assert not list(tmp_path.rglob("*.wav"))


def test_what_is_no_pair_of_samples_and_rate_is_said():
    y = np.zeros(8000, np.float32)
    for songs, message in (
        ([(8000, y)], "here the rate comes first"),
        ([(y, "x")], "is 'x'"),
        (None, "None was given"),
    ):
        with pytest.raises(SongTableError, match=message):
            waveforms_of(songs, None)
