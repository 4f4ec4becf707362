"""Law 3, the window law."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from songbag.audio import windows
from songbag.errors import SettingsError
from songbag.settings import Sound, Windows

FOUNDING = Sound(feature="mfcc", mel_bands=128, top_db=80.0)


def test_sixty_seconds_give_the_founding_shape():
    cut = Windows(stride=6)
    starts = windows.window_starts(60 * 22050, FOUNDING, cut)
    assert len(starts) == 23
    assert windows.window_frames(FOUNDING, cut) == 216


@given(
    samples=st.integers(1, 10_000_000),
    seconds=st.floats(0.05, 30),
    hop_seconds=st.floats(0.01, 30),
    hop_length=st.sampled_from([160, 512, 1024]),
    stride=st.integers(1, 32),
)
def test_every_window_fits_and_never_drifts(samples, seconds, hop_seconds, hop_length, stride):
    sound = Sound(frame_length=2048, hop_length=hop_length)
    cut = Windows(seconds=seconds, hop_seconds=hop_seconds, stride=stride)
    starts = windows.window_starts(samples, sound, cut)
    window, hop = int(seconds * 22050), int(hop_seconds * 22050)
    frames = windows.window_frames(sound, cut)
    assert len(starts) == windows.window_count(samples, sound, cut) >= 1
    if samples >= window:
        assert len(starts) == 1 + (samples - window) // hop
        assert starts[-1] + frames <= 1 + samples // hop_length
    else:
        assert starts.tolist() == [0]
    assert (starts % stride == 0).all()
    late = np.arange(len(starts)) * hop / hop_length - starts
    assert late.min() >= 0
    assert late.max() < stride + 1e-6


@given(st.integers(1, 50), st.integers(1, 200))
def test_short_songs_repeat_modulo_their_frames(have, wanted):
    frames = np.arange(have, dtype=np.float32)[:, None]
    filled = windows.repeat_frames(frames, wanted)
    assert len(filled) == max(have, wanted)
    assert (filled[:, 0] == np.arange(len(filled)) % have).all()


def test_windows_shorter_than_a_sample_are_refused():
    with pytest.raises(SettingsError, match="shorter than one sample"):
        windows.window_starts(1000, Sound(sample_rate=1000), Windows(hop_seconds=0.0001))


def test_start_seconds_are_frames_in_seconds():
    assert windows.start_seconds(np.array([0, 43]), Sound()).tolist() == [0, 43 * 512 / 22050]
