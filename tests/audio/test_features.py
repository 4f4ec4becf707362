"""Law 6: frames equal librosa's on the whole song, however the samples arrive."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from songbag.audio import features
from songbag.audio.synthesis import synthesise
from songbag.errors import SettingsError
from songbag.settings import Sound

RATE, FFT, HOP = 22050, 1024, 512
RECORDED = Path(__file__).with_name("librosa_frames.npz")
EVERY = 60  # one of so many frames is recorded


@pytest.fixture
def librosa_says(request):
    """Return what librosa says of every 60th frame; its compiler needs 20 s, so only in full runs.

    Otherwise what it said is read from a file, which the full run compares with librosa.
    """

    def says(name, compute):
        recorded = np.load(RECORDED)[name]
        if request.config.getoption("--full"):
            import librosa

            np.testing.assert_allclose(compute(librosa).T[::EVERY], recorded, atol=1e-4)
        return recorded

    return says


@pytest.fixture(scope="module")
def waveform():
    song = synthesise("waltz", np.random.default_rng(3), 20.0, RATE)
    song[5 * RATE : 7 * RATE] = 0  # a rest: the floor matters
    return song


@pytest.mark.parametrize("coefficients", [13, 20])
def test_mfcc_equals_librosa(waveform, librosa_says, coefficients):
    sound = Sound(feature="mfcc", coefficients=coefficients, mel_bands=128, top_db=80.0)

    def mfcc(librosa):
        return librosa.feature.mfcc(
            y=waveform, sr=RATE, n_mfcc=coefficients, n_fft=FFT, hop_length=HOP
        )

    truth = librosa_says(f"mfcc {coefficients}", mfcc)
    np.testing.assert_allclose(features.frames(waveform, sound)[::EVERY], truth, atol=1e-3)


@pytest.mark.parametrize("bands", [64, 128])
@pytest.mark.parametrize("top_db", [80.0, None])
def test_log_mel_equals_librosa(waveform, librosa_says, bands, top_db):
    def logmel(librosa):
        mel = librosa.feature.melspectrogram(
            y=waveform, sr=RATE, n_mels=bands, n_fft=FFT, hop_length=HOP
        )
        return librosa.power_to_db(mel, top_db=top_db)

    truth = librosa_says(f"logmel {bands} {top_db}", logmel)
    ours = features.frames(waveform, Sound(mel_bands=bands, top_db=top_db))[::EVERY]
    loud = truth > truth.max() - 80
    np.testing.assert_allclose(ours[loud], truth[loud], atol=1e-3)
    np.testing.assert_allclose(ours, truth, atol=0.5)


def test_min_frequency_equals_librosa(waveform, librosa_says):
    def logmel(librosa):
        mel = librosa.feature.melspectrogram(
            y=waveform, sr=RATE, n_mels=40, n_fft=FFT, hop_length=HOP, fmin=50
        )
        return librosa.power_to_db(mel, top_db=80)

    truth = librosa_says("from 50 Hz", logmel)
    ours = features.frames(waveform, Sound(mel_bands=40, min_frequency=50.0, top_db=80.0))
    np.testing.assert_allclose(ours[::EVERY], truth, atol=1e-3)


def test_deltas_equal_librosa(waveform, librosa_says):
    plain = features.frames(waveform, Sound(mel_bands=20))
    ours = features.frames(waveform, Sound(mel_bands=20, deltas=True))
    truth = librosa_says("deltas", lambda librosa: librosa.feature.delta(plain.T, mode="nearest"))
    assert (ours[:, :20] == plain).all()
    np.testing.assert_allclose(ours[::EVERY, 20:], truth, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60_000), max_size=30), st.sampled_from([None, 80.0]), st.booleans())
def test_the_same_bits_however_the_samples_arrive(cuts, top_db, deltas):
    song = synthesise("drift", np.random.default_rng(1), 12.0, RATE)
    sound = Sound(mel_bands=32, top_db=top_db, deltas=deltas)
    parts = np.split(song, np.unique(np.clip(np.cumsum(cuts or [1]), 1, len(song) - 1)))
    blocks = list(features.frame_blocks(parts, sound))
    assert (np.concatenate(blocks) == features.frames(song, sound)).all()


_HEARD = """
import hashlib, numpy as np
from songbag.settings import Sound
from songbag.audio import features
song = np.random.default_rng(0).normal(0, 0.1, 100_000).astype(np.float32)
sounds = [Sound(), Sound(feature="mfcc", mel_bands=128, coefficients=128), Sound(mel_bands=1)]
sounds += [Sound(mel_bands=4, frame_length=8192), Sound(mel_bands=300, frame_length=512)]
print([hashlib.sha256(features.frames(song, sound).tobytes()).hexdigest() for sound in sounds])
"""


def test_the_same_bits_for_any_number_of_threads():
    said = set()
    for threads in ("1", "4"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", _HEARD]
        said.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(said) == 1 and b"[" in said.pop()


@pytest.mark.parametrize("samples", [1, 511, 512, 1023, 1024, 5000])
@pytest.mark.parametrize("sound", [Sound(), Sound(deltas=True), Sound(feature="mfcc", top_db=80.0)])
def test_frames_of_any_length_are_counted_and_finite(samples, sound):
    for waveform in (np.zeros(samples, np.float32), np.ones(samples, np.float32)):
        frames = features.frames(waveform, sound)
        assert frames.shape == (1 + samples // sound.hop_length, sound.bands)
        assert frames.dtype == np.float32
        assert np.isfinite(frames).all()


def test_an_unknown_feature_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"no feature 'chroma'. Known: logmel, mfcc, waveform"):
        features.frames(np.zeros(RATE, np.float32), Sound(feature="chroma"))


def test_silence_is_the_floor_and_clipped_noise_is_finite():
    silence = features.frames(np.zeros(RATE, np.float32), Sound())
    np.testing.assert_allclose(silence, -100, atol=1e-3)
    clipped = np.sign(np.random.default_rng(0).standard_normal(RATE)).astype(np.float32) * 100
    assert np.isfinite(features.frames(clipped, Sound())).all()


@pytest.mark.parametrize("room", [1000, 200_000])  # for no block, and for some
def test_long_songs_spool_to_disk_with_the_same_result(monkeypatch, waveform, room):
    sound = Sound(top_db=80.0)
    whole = features.frames(waveform, sound)
    monkeypatch.setattr(features, "_SPOOL", room)
    assert (features.frames(waveform, sound) == whole).all()
