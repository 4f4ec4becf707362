"""Files to samples: every format, every rate, and what is wrong with files."""

import struct

import av
import numpy as np
import pytest
import soundfile

from songbag.audio import decode
from songbag.audio.audio_file import AudioReport
from songbag.audio.waveform import read_blocks, write_waveform
from songbag.errors import AudioError
from songbag.settings import Limits
from tests.helpers.audio import read_waveform

RATE = 44100


@pytest.fixture(scope="module")
def tone():
    t = np.arange(4 * RATE) / RATE
    left = 0.4 * np.sin(2 * np.pi * 440 * t) * np.minimum(1, t)
    return np.stack([left, 0.5 * left]).astype(np.float32)


def written(path, tone, rate=RATE):
    if path.suffix in (".ogg", ".aiff"):
        soundfile.write(path, tone.T, rate)
    else:
        write_waveform(path, tone, rate)
    return path


@pytest.mark.parametrize(
    "ending", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm", ".aiff"]
)
def test_every_format_decodes_to_the_mean_of_its_channels(tmp_path, tone, ending):
    waveform, report = read_waveform(written(tmp_path / f"x{ending}", tone), 22050)
    truth = tone.mean(axis=0)[::2]
    assert not list(report.file_faults())
    assert report.channels == 2
    assert abs(len(waveform) - len(truth)) <= 1024
    assert abs(report.decoded_seconds - 4) < 0.05
    lag = 40  # codecs may shift by a few samples
    best = max(
        np.corrcoef(waveform[200 + k : 60000 + k], truth[200:60000])[0, 1] for k in range(-lag, lag)
    )
    assert best > 0.999
    assert abs(report.level_db - 10 * np.log10(np.mean(truth**2))) < 0.6


@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000])
def test_any_rate_is_resampled(tmp_path, rate):
    t = np.arange(2 * rate) / rate
    soundfile.write(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 300 * t), rate)
    waveform, report = read_waveform(tmp_path / "x.wav", 22050)
    assert report.native_rate == rate
    assert len(waveform) == 44100
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    assert np.argmax(spectrum) * 22050 / len(waveform) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_type_has_the_same_scale(tmp_path, tone, subtype):
    soundfile.write(tmp_path / "x.wav", tone[0], RATE, subtype=subtype)
    waveform, _ = read_waveform(tmp_path / "x.wav", RATE)
    np.testing.assert_allclose(waveform, tone[0], atol=0.01 if subtype == "PCM_U8" else 1e-4)


def test_eight_channels(tmp_path):
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 8))
    soundfile.write(tmp_path / "x.wav", values, RATE, subtype="FLOAT")
    waveform, report = read_waveform(tmp_path / "x.wav", RATE)
    assert report.channels == 8
    np.testing.assert_allclose(waveform, values.mean(axis=1), atol=1e-6)


def test_start_and_end_cut_to_the_sample(tmp_path, tone):
    path = written(tmp_path / "x.flac", tone)
    whole, _ = read_waveform(path, RATE)
    part, report = read_waveform(path, RATE, (1.0, 2.5))
    assert (part == whole[RATE : 5 * RATE // 2]).all()
    assert not list(report.file_faults())


def test_half_an_mp3_says_so(tmp_path, tone):
    path = written(tmp_path / "x.mp3", tone)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    waveform, report = read_waveform(path, 22050)
    assert 1.5 * 22050 < len(waveform) < 2.5 * 22050
    assert "truncated" in report.warnings()[0]


def test_damaged_packets_cost_only_themselves(tmp_path, tone):
    path = written(tmp_path / "x.mp3", np.tile(tone, 5))
    data = bytearray(path.read_bytes())
    data[100_000:104_000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(data)
    waveform, report = read_waveform(path, 22050)
    assert len(waveform) > 18 * 22050
    assert report.warnings()


def test_vbr_without_a_length_header_decodes_whole(tmp_path, tone):
    path = written(tmp_path / "x.mp3", tone)
    data = path.read_bytes()
    frame = data.index(b"Info")  # the header frame: drop it, as a cut stream would lack it
    start = data.rindex(b"\xff\xfb", 0, frame)
    follow = data.index(b"\xff\xfb", frame)
    path.write_bytes(data[:start] + data[follow:])
    waveform, report = read_waveform(path, 22050)
    assert len(waveform) >= 4 * 22050
    assert report.claimed_seconds is None
    assert not list(report.file_faults())


def test_not_finite_samples_become_silence_or_a_reason(tmp_path):
    values = np.zeros(RATE, np.float32)
    values[:3] = [np.nan, np.inf, 1e30]
    soundfile.write(tmp_path / "x.wav", values, RATE, subtype="FLOAT")
    waveform, report = read_waveform(tmp_path / "x.wav", RATE)
    assert np.isfinite(waveform).all()
    assert report.bad_samples == 3
    soundfile.write(tmp_path / "y.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="does not hold sound") as caught:
        read_waveform(tmp_path / "y.wav", RATE)
    assert caught.value.reason == "bad_samples"


def test_latin_1_in_a_tag_is_no_reason_to_fail(tmp_path, tone):
    audio_bytes = written(tmp_path / "x.mp3", tone).read_bytes()
    text = b"\x03caf\xe9"
    frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    tag = b"ID3\x03\0\0" + bytes([0, 0, 0, len(frame)]) + frame
    body = audio_bytes[audio_bytes.index(b"\xff\xfb") :]
    (tmp_path / "tagged.mp3").write_bytes(tag + body)
    assert len(read_waveform(tmp_path / "tagged.mp3", 22050)[0]) >= 4 * 22050


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(4000), "not_audio"),
        (np.random.default_rng(0).bytes(20000), "not_audio"),
        (b"<html><body>not found</body></html>" * 50, "not_audio"),
        (b"#EXTM3U\n#EXTINF:1,\nother.wav\n", "not_audio"),
        (b"ffconcat version 1.0\nfile other.wav\n", "not_audio"),
    ],
)
def test_what_is_not_audio_has_a_reason(tmp_path, tone, content, reason):
    written(tmp_path / "other.wav", tone)  # what a playlist would lead to
    path = tmp_path / "x.mp3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        read_waveform(path, 22050)
    assert caught.value.reason == reason
    assert "x.mp3" in str(caught.value)


def test_urls_are_only_file_names():
    with pytest.raises(AudioError) as caught:
        read_waveform("http://127.0.0.1:9/x.mp3", 22050)
    assert caught.value.reason == "missing"


def test_folders_and_nul_are_unreadable(tmp_path):
    for path in (tmp_path, "a\0b.mp3"):
        with pytest.raises(AudioError) as caught:
            read_waveform(path, 22050)
        assert caught.value.reason == "unreadable"


def test_a_video_without_sound_has_a_reason(tmp_path):
    import av

    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(AudioError) as caught:
        read_waveform(tmp_path / "x.mp4", 22050)
    assert caught.value.reason == "no_audio_stream"


def test_limits_stop_long_files(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(8000 * 60), 8000)
    with pytest.raises(AudioError, match="--max-hours") as caught:
        list(read_blocks(tmp_path / "long.flac", 8000, AudioReport(), limits=Limits(hours=0.01)))
    assert caught.value.reason == "too_long"


def test_a_part_behind_the_end_is_refused(tmp_path, tone):
    with pytest.raises(AudioError, match="nothing lies between") as caught:
        read_waveform(written(tmp_path / "x.wav", tone), 22050, (10.0, 12.0))
    assert caught.value.reason == "outside"


def test_unknown_endings_are_not_written(tmp_path, tone):
    with pytest.raises(ValueError, match="cannot write"):
        write_waveform(tmp_path / "x.xyz", tone, RATE)


# --- plain wav, read without a decoder ------------------------------------------------------


def wav_bytes(samples: np.ndarray, rate: int, behind: bytes = b"", size: int | None = None):
    """Return a RIFF wav of samples (samples, channels); ``size`` is what its data claims."""
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    kind = 3 if samples.dtype.kind == "f" else 1
    channels, width = samples.shape[1], samples.dtype.itemsize
    about = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + about
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(path, monkeypatch, plain: bool):
    """Return a file's waveform and report, with and without reading plain samples as such."""
    with monkeypatch.context() as patched:
        if not plain:
            patched.setattr(decode, "_PLAIN_CODECS", set())
        return read_waveform(path, RATE)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_plain_wavs_are_what_ffmpeg_makes_of_them(tmp_path, monkeypatch, dtype, channels):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.9, 0.9, (100_001, channels))
    kind = np.dtype(dtype)
    top = np.iinfo(kind).max if kind.kind in "iu" else 1
    samples = (noise * (top / 2) + top / 2 if dtype == "u1" else noise * top).astype(kind)
    path = tmp_path / "x.wav"
    path.write_bytes(wav_bytes(samples, 44_100))
    ours, report = read(path, monkeypatch, plain=True)
    theirs, other = read(path, monkeypatch, plain=False)
    assert np.array_equal(ours, theirs)
    for name in ("codec", "native_rate", "channels", "claimed_seconds", "decoded_seconds",
                 "bad_packets", "sample_format", "samples"):  # fmt: skip
        assert getattr(report, name) == getattr(other, name), name
    assert report.packets < other.packets


@pytest.mark.parametrize(
    ("behind", "size", "cut"),
    [
        (b"LIST\x04\0\0\0abcd", None, 0),  # tags behind the samples are no samples
        (b"data\x08\0\0\0" + bytes(8), None, 0),  # a second piece is read as FFmpeg reads it
        (b"", 0, 0),  # written by a program that did not know the length
        (b"", 0xFFFFFFFF, 0),
        (b"", 10_000_000, 0),  # claims more than there is
        (b"", None, 1),  # ends within a sample
        (bytes(70_000), None, 0),
    ],
)
def test_odd_wavs_are_what_ffmpeg_makes_of_them(tmp_path, monkeypatch, behind, size, cut):
    samples = np.random.default_rng(1).integers(-9_000, 9_000, (70_000, 2), dtype=np.int16)
    data = wav_bytes(samples, 44_100, behind, size)
    path = tmp_path / "x.wav"
    path.write_bytes(data[: len(data) - cut])
    ours, report = read(path, monkeypatch, plain=True)
    theirs, other = read(path, monkeypatch, plain=False)
    assert np.array_equal(ours, theirs)
    assert report.warnings() == other.warnings()


def test_a_wav_that_shrinks_while_it_is_read_ends_there(tmp_path):
    path = tmp_path / "x.wav"
    samples = np.full((300_000, 1), 0.5, np.float32)
    path.write_bytes(wav_bytes(samples, RATE))
    report = AudioReport()
    blocks = read_blocks(path, RATE, report)
    length = len(next(blocks))
    with open(path, "r+b") as file:
        file.truncate(1_000)
    assert sum(map(len, blocks)) == 0
    assert report.samples == length < 300_000
    assert any(text.startswith("truncated") for text in report.warnings())


def test_other_sound_disguised_in_a_wav_is_decoded(tmp_path, tone):
    """As from a CD player's digital output: read as samples it would be noise."""
    with av.open(tmp_path / "x.ac3", "w", format="ac3") as container:
        stream = container.add_stream("ac3", rate=RATE, layout="stereo")
        stream.bit_rate = 640_000
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    data = (tmp_path / "x.ac3").read_bytes()
    samples = np.frombuffer(data[: len(data) // 4 * 4], np.int16).reshape(-1, 2)
    (tmp_path / "x.wav").write_bytes(wav_bytes(samples, RATE))
    waveform, report = read_waveform(tmp_path / "x.wav", RATE)
    assert report.codec == "ac3"
    assert len(waveform) == pytest.approx(tone.shape[1], abs=4_000)
    assert report.level_db == pytest.approx(10 * np.log10(np.mean(tone.mean(axis=0) ** 2)), abs=0.6)
