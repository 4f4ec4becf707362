"""What the headers and the last bytes of files say about their length."""

import numpy as np
import pytest
import soundfile

from songbag.audio.audio_file import AudioReport, Source, missing_end
from songbag.audio.waveform import read_blocks, write_waveform

RATE = 22050


@pytest.fixture
def noise():
    return (0.1 * np.random.default_rng(0).standard_normal(4 * RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(".opus", "Ogg"), (".ogg", "Ogg"), (".wav", "its header claims"), (".aiff", "its header")],
)
def test_a_missing_end_has_a_reason(noise, tmp_path, ending, reason):
    path = tmp_path / f"a{ending}"
    if ending in (".ogg", ".aiff"):
        soundfile.write(path, noise, RATE)
    else:
        write_waveform(path, noise, RATE)
    data = path.read_bytes()
    with open(path, "rb") as file:
        file.seek(7)
        assert missing_end(file) == ""
        assert file.tell() == 7
    for share in (0.9, 0.5, 0.1):
        path.write_bytes(data[: int(len(data) * share)])
        with open(path, "rb") as file:
            assert reason in missing_end(file)
    path.write_bytes(data[: len(data) // 2])
    report = AudioReport()
    assert sum(map(len, read_blocks(path, RATE, report))) == report.samples
    assert reason in report.missing_end
    assert report.warnings()[0].startswith("truncated: ")


def test_a_few_missing_bytes_of_a_wav_are_no_warning(noise, tmp_path):
    path = tmp_path / "a.wav"
    write_waveform(path, noise, RATE)
    path.write_bytes(path.read_bytes()[:-100])
    report = AudioReport()
    assert sum(map(len, read_blocks(path, RATE, report))) == 4 * RATE - 50
    assert (
        report.missing_end
        == f"its header claims {44 + 34 + 8 * RATE} bytes, it has {path.stat().st_size}"
    )
    assert report.warnings() == ()


def test_a_part_of_a_file_keeps_its_name():
    assert Source(path="a.mp3").part() == ""
    assert Source(path="a.mp3", end=30.0).part() == "c2cbdca0ff3a"
