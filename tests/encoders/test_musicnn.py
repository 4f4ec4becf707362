"""The shipped encoder against values of the original, and what the package says of it.

``musicnn_reference.npz`` holds what musicnn 0.1.0 gave under TensorFlow 2.15 and librosa 0.11 for
`sound`, with one piece as long as the sound (10 cells): spectra (every 32nd), the maxima and
means of its last feature maps, and its tags.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from songbag.audio.features import frame_blocks
from songbag.encoders.encoder import pooled
from songbag.encoders.manifest import load_encoder
from songbag.encoders.musicnn import load

RATE, CELLS = 16000, 10
SOUNDS = range(6)


def sounds():
    """Six sounds of 10 cells, the last of them nearly full scale."""
    rng, t = np.random.default_rng(7), np.arange(CELLS * 8192 - 100) / RATE

    def tone(frequency):
        return np.sin(2 * np.pi * frequency * t)

    yield 0.3 * tone(220) * (1 + 0.5 * tone(3))
    yield 0.1 * rng.standard_normal(len(t))
    yield sum(0.08 * tone(110 * k) for k in range(1, 8)) * np.exp(-3 * (t % 0.5))
    yield 0.05 * tone(500 + 300 * t) + 0.02 * rng.standard_normal(len(t)) * (
        np.sin(4 * np.pi * t) > 0
    )
    yield np.where((t % 0.25) < 0.02, 0.5 * rng.standard_normal(len(t)), 0) + 0.1 * tone(60)
    yield 0.9 * tone(440)


@pytest.fixture(scope="module")
def reference():
    return np.load(Path(__file__).parent / "musicnn_reference.npz")


@pytest.fixture(scope="module")
def encoded():
    """(frames, vectors, tags) of each sound, as a song would be encoded."""
    encoder = load()
    results = []
    for samples in sounds():
        blocks = np.array_split(samples.astype(np.float32), 7)
        frames = np.concatenate(list(frame_blocks(blocks, encoder.sound.frames)))
        rows = np.concatenate(list(encoder.rows(iter([frames]))))
        vector = pooled(rows, encoder.encoding)
        results.append((frames, vector, encoder.tag_probabilities(vector[None])[0]))
    return results


@pytest.mark.parametrize("number", SOUNDS)
def test_frames_vectors_and_tags_are_those_of_the_original(number, encoded, reference):
    frames, vector, tags = encoded[number]
    power = np.power(10, frames[::32] / 10).astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(
        np.log10(10_000 * power + 1), reference[f"frames{number}"], atol=1e-3
    )
    stored = 1e-3 + 2**-11 * np.abs(vector)  # rows are stored in float16
    assert (np.abs(vector[:753] - reference[f"maxima{number}"]) < stored[:753]).all()
    assert (np.abs(vector[753:] - reference[f"means{number}"]) < stored[753:]).all()
    np.testing.assert_allclose(tags, reference[f"tags{number}"], atol=1e-3)


def test_a_song_is_encoded_the_same_however_it_is_cut():
    encoder = load()
    frames = np.random.default_rng(0).uniform(-80, 10, (5000, 96)).astype(np.float32)
    whole = np.concatenate(list(encoder.rows([frames])))
    cut = np.concatenate(list(encoder.rows(np.array_split(frames, 43))))
    assert whole.shape == (157, encoder.sound.bands)  # 1 + samples // step
    assert np.array_equal(whole, cut)
    # A stretch sees enough of its neighbours: as if the song were encoded at once.
    at_once = encoder._session.run(None, {"frames": frames})[0]
    np.testing.assert_allclose(whole[:, :1506], at_once, rtol=1e-3, atol=2e-3)


def test_the_package_says_where_the_encoder_is_from():
    files = resources.files("songbag") / "encoders"
    stated = json.loads((files / "musicnn.json").read_text())
    assert stated["license"] == "ISC"
    assert "Universitat Pompeu Fabra" in (files / "musicnn_license.txt").read_text()
    assert len(stated["tags"]) == 50 == len(load().tags)
    digest = hashlib.blake2b((files / "musicnn.onnx").read_bytes(), digest_size=16).hexdigest()
    assert load_encoder("musicnn").encoding.hash == digest
