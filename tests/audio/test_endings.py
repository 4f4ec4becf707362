"""Every ending that a folder is searched for is read, whatever its case."""

import av
import numpy as np
import pytest

from songbag.audio.audio_file import EXTENSIONS, AudioReport
from songbag.audio.waveform import read_blocks
from songbag.data.song_table import read_songs

# Ending: codec, rate, and the container where FFmpeg does not know it by the ending.
MADE = {
    ".caf": ("pcm_s16le", 22050, None), ".wv": ("wavpack", 22050, None),
    ".au": ("pcm_s16be", 22050, None), ".w64": ("pcm_s16le", 22050, None),
    ".mp2": ("mp2", 22050, None), ".ac3": ("ac3", 44100, None),
    ".amr": ("libopencore_amrnb", 8000, None), ".3gp": ("aac", 22050, None),
    ".mkv": ("mp2", 22050, "matroska"), ".mov": ("aac", 22050, None),
    ".m4b": ("aac", 22050, "mp4"), ".aifc": ("pcm_s16be", 22050, "aiff"),
    ".wma": ("wmav2", 22050, "asf"), ".mka": ("libopus", 48000, "matroska"),
    ".AIF": ("pcm_s16be", 22050, "aiff"), ".MP4": ("aac", 22050, "mp4"),
}  # fmt: skip


def write(path, codec, rate, container):
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, rate * 3)).astype(np.float32)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        if "pcm" not in codec:
            stream.bit_rate = 12200 if "amr" in codec else 96000
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = rate
        stream.codec_context.open()
        size = stream.codec_context.frame_size or None
        kind = stream.codec_context.format.name
        resampler = av.AudioResampler(kind, "mono", rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    (folder / "noise").mkdir()
    for ending, how in MADE.items():
        write(folder / "noise" / f"a{ending}", *how)
    (folder / "noise" / "cover.jpg").write_bytes(b"no sound")
    return folder


def test_all_endings_are_found_and_read(folder):
    table = read_songs(folder)
    assert len(table.songs) == len(MADE)
    assert {ending.lower() for ending in MADE} <= EXTENSIONS
    for song in table.songs:
        report = AudioReport()
        seconds = sum(len(block) for block in read_blocks(song.path, 22050, report)) / 22050
        assert 2.8 < seconds < 3.2, song.path
    assert "1 files have no audio ending, left out (1 .jpg)" in table.remarks[0]
