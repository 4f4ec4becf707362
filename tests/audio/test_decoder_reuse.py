"""A child that decodes file after file: no file makes another one fail."""

import ctypes
import faulthandler
import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from songbag.audio import sandbox, sandbox_child
from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.sandbox import decode_in_sandbox, reuse_decoder, stop_decoder
from songbag.audio.sandbox_child import decode_frames
from songbag.audio.waveform import write_waveform
from songbag.errors import AudioError
from songbag.settings import Limits, Sound
from tests.audio.test_sandbox import SOUND, children

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
    pytest.mark.usefixtures("alone"),
]


@pytest.fixture
def sources(tmp_path):
    sources = []
    for number, name in enumerate(["a.wav", "b.mp3", "c.flac"]):
        noise = 0.1 * np.random.default_rng(number).standard_normal(22050 * 8)
        write_waveform(tmp_path / name, noise.astype(np.float32), 22050)
        sources.append(Source(path=str(tmp_path / name)))
    return sources


@pytest.fixture(autouse=True)
def _kept(alone):
    reuse_decoder()
    yield
    stop_decoder()
    assert children() == []


def frames_of(source, limits=Limits(), sound=SOUND):
    report = AudioReport()
    return np.concatenate(list(decode_in_sandbox(source, sound, report, limits))), report


def decoder_pid():
    decoder = sandbox._reuse.decoder
    return decoder and decoder.pid


def faulty(fault, name):
    """The function that decodes, but one file makes the process misbehave."""

    def decode(source, *rest):
        for number, block in enumerate(decode_frames(source, *rest)):
            if number == 1 and source.path.endswith(name):
                fault()
            yield block

    return decode


def crash():
    faulthandler.disable()
    ctypes.string_at(0)


def test_one_process_decodes_file_after_file_with_the_same_frames(sources):
    pids = []
    for source in [*sources, *sources]:
        truth = AudioReport()
        expected = np.concatenate(list(decode_frames(source, SOUND, truth, Limits())))
        decoded, report = frames_of(source)
        assert (decoded == expected).all()
        assert report == truth
        pids.append(decoder_pid())
    assert len(set(pids)) == 1
    other = Sound(hop_length=1024)  # the sound may change, the limits may not
    assert len(frames_of(sources[0], sound=other)[0]) == 1 + 22050 * 8 // 1024
    assert decoder_pid() == pids[0]
    frames_of(sources[0], Limits(hours=2))
    assert decoder_pid() != pids[0]


@pytest.mark.parametrize("at_work", [True, False])
def test_a_process_that_dies_is_replaced_and_no_song_is_lost(sources, monkeypatch, at_work):
    """Also in the middle of a song that is not the cause: it is decoded again from its start."""
    expected = [frames_of(source)[0] for source in sources]
    monkeypatch.setattr(sandbox_child, "_SENT_BYTES", 1)  # every block is sent at once
    stop_decoder()
    reuse_decoder()
    assert (frames_of(sources[0])[0] == expected[0]).all()
    pid = decoder_pid()
    if not at_work:
        os.kill(pid, 9)
        time.sleep(0.05)
    blocks = decode_in_sandbox(sources[1], SOUND, AudioReport(), Limits())
    decoded = [next(blocks)]
    if at_work:
        os.kill(pid, 9)
    decoded += list(blocks)
    assert (np.concatenate(decoded) == expected[1]).all()
    assert decoder_pid() != pid


def test_a_file_that_kills_its_process_is_the_only_one_that_fails(sources, monkeypatch):
    monkeypatch.setattr(sandbox_child, "decode_frames", faulty(crash, "b.mp3"))
    frames_of(sources[0])
    first = decoder_pid()
    with pytest.raises(AudioError) as caught:
        frames_of(sources[1])
    assert caught.value.reason == "worker_died"
    assert decoder_pid() is None
    assert len(frames_of(sources[2])[0])
    assert decoder_pid() not in (None, first)


def test_a_file_with_anything_wrong_is_the_last_of_its_process(sources, tmp_path):
    data = bytearray(Path(sources[1].path).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    (tmp_path / "damaged.mp3").write_bytes(data)
    (tmp_path / "text.mp3").write_bytes(b"nothing to hear")
    frames_of(sources[0])
    for name in ("damaged.mp3", "text.mp3"):
        frames_of(sources[0])
        assert decoder_pid()
        source = Source(path=str(tmp_path / name))
        if name == "text.mp3":
            with pytest.raises(AudioError):
                frames_of(source)
        else:
            assert frames_of(source)[1].bad_packets
        assert decoder_pid() is None


def test_what_a_file_leaves_behind_ends_its_process(sources, monkeypatch):
    leaked = []
    # A new mapping: an array may fit into memory that earlier tests left free in this process.
    leak = faulty(lambda: leaked.append(mmap.mmap(-1, 100 << 20)), "a.wav")
    monkeypatch.setattr(sandbox_child, "decode_frames", leak)
    frames_of(sources[1])
    assert decoder_pid()
    frames_of(sources[0])
    assert decoder_pid() is None


def test_two_songs_at_once_have_a_process_each(sources):
    expected = [frames_of(source)[0] for source in sources[:2]]
    first = decode_in_sandbox(sources[0], SOUND, AudioReport(), Limits())
    begun = [next(first)]
    assert (frames_of(sources[1])[0] == expected[1]).all()
    assert (np.concatenate([*begun, *first]) == expected[0]).all()


def test_an_abandoned_song_ends_the_process(sources):
    frames_of(sources[0])
    blocks = decode_in_sandbox(sources[1], SOUND, AudioReport(), Limits())
    next(blocks)
    blocks.close()
    assert decoder_pid() is None
    assert children() == []
