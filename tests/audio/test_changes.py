"""What each change does to the samples, and that an unchanged song stays what it is."""

from dataclasses import replace

import numpy as np
import pytest

from songbag.audio import changes
from songbag.audio.changes import CHANGES
from songbag.audio.waveform import write_waveform
from songbag.inference.model_file import load_model
from songbag.inference.predict import predict_inputs
from tests.helpers.songs import audio_dataset

RATE = 44_100


def tones(*hertz, seconds=3.0, loud=0.2):
    times = np.arange(int(seconds * RATE)) / RATE
    return sum(loud * np.sin(2 * np.pi * each * times) for each in hertz).astype(np.float32)


def change(name, samples):
    return CHANGES[name](samples, RATE)


def strength(samples, hertz):
    """Amplitude of a tone in samples."""
    times = np.arange(len(samples)) / RATE
    return 2 * abs(np.mean(samples * np.exp(-2j * np.pi * hertz * times)))


def changed_inputs(dataset, name, model):
    """Inputs of the songs of a dataset, with their sound changed."""
    songs = [replace(song, change=name) for song in dataset.songs]
    return dataset.with_songs(songs).inputs(model.card.recipe)


def test_a_telephone_passes_its_band():
    changed, rate = change("telephone", tones(100, 1000, 5000))
    assert rate == RATE
    found = [strength(changed, hertz) for hertz in (100, 1000, 5000)]
    assert found == pytest.approx([0, 0.2, 0], abs=1e-3)


def test_mp3_is_lossy_and_close():
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32) / 50
    song = tones(440) + noise
    changed, rate = change("mp3 64 kbit/s", song)
    assert rate == RATE
    assert abs(len(changed) - len(song)) < RATE / 10
    assert strength(changed, 440) == pytest.approx(0.2, abs=0.02)
    high = np.fft.rfftfreq(len(changed), 1 / RATE) > 17_000
    assert np.abs(np.fft.rfft(changed)[high]).max() < np.abs(np.fft.rfft(noise)).max() / 100


def test_six_decibels_are_clipped():
    changed, _ = change("6 dB louder, clipped", tones(440, loud=0.8))
    assert np.abs(changed).max() == 1
    assert np.mean(np.abs(changed) == 1) > 0.3
    quiet, _ = change("6 dB louder, clipped", tones(440, loud=0.2))
    assert np.abs(quiet).max() == pytest.approx(0.399, abs=1e-3)


@pytest.mark.parametrize(("name", "ratio"), [("semitone up", 1.0595), ("semitone down", 0.9439)])
def test_a_semitone_is_one_of_the_twelve_in_an_octave(name, ratio):
    _, rate = change(name, tones(440))
    assert rate / RATE == pytest.approx(ratio, abs=1e-4)


def test_applause_is_six_decibels_softer_and_always_the_same():
    song = tones(440, 660)
    changed, _ = change("applause", song)
    added = changed - song
    decibels = 10 * np.log10(np.mean(added**2) / np.mean(song**2))
    assert decibels == pytest.approx(-6, abs=0.01)
    assert np.array_equal(changed, change("applause", song)[0])
    again, _ = change("applause", song[:-1])  # another song, with other claps
    assert not np.array_equal(again, changed[:-1])
    short, _ = change("applause", song[:100])  # shorter than a clap
    assert len(short) == 100
    assert np.isfinite(short).all()


def test_the_middle_is_of_ten_seconds_at_most():
    song = np.arange(30 * RATE, dtype=np.float32)
    changed, _ = change("middle 10 s", song)
    assert (changed[0], len(changed)) == (10 * RATE, 10 * RATE)
    assert len(change("middle 10 s", song[:RATE])[0]) == RATE


def test_a_change_that_does_nothing_changes_no_answer(model_path, songs, tmp_path, monkeypatch):
    """The way by samples and a temporary file is the way of the song itself."""
    monkeypatch.setitem(changes.CHANGES, "nothing", lambda samples, rate: (samples, rate))
    model, dataset = load_model(model_path), audio_dataset(songs, tmp_path)
    some = dataset.songs[:6]
    inputs = changed_inputs(dataset.with_songs(some), "nothing", model)
    plain = list(predict_inputs(model, dataset.with_songs(some).inputs(model.card.recipe), 1))
    same = list(predict_inputs(model, inputs, 1))
    for before, after in zip(plain, same, strict=True):
        assert after.song.id == before.song.id
        shares = before.prediction.probabilities
        assert after.prediction.probabilities == pytest.approx(shares, abs=1e-4)
    assert not list(tmp_path.glob("*/*.frames"))


def test_a_part_of_a_file_is_changed_alone(model_path, tmp_path):
    song = np.concatenate([tones(440, seconds=20), tones(3000, seconds=20)])
    write_waveform(tmp_path / "a.wav", song, RATE)
    (tmp_path / "songs.csv").write_text("id,path,start,end\na,a.wav,20,38\nb,no.wav,0,9\n")
    model, dataset = load_model(model_path), audio_dataset(tmp_path / "songs.csv", tmp_path)
    inputs = changed_inputs(dataset, "telephone", model)
    blocks, recording = inputs[0].frames(model.card.recipe.sound)
    frames = np.concatenate(list(blocks))
    assert recording().samples == pytest.approx(18 * model.card.recipe.sound.sample_rate, rel=1e-3)
    assert np.ptp(frames.argmax(axis=1)[5:-5]) <= 1  # one tone throughout
    missing = next(predict_inputs(model, inputs[1:], 1))
    assert (missing.prediction, missing.reason) == (None, "missing")
