"""Sound that misleads is warned of by its kind, and music is not."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from songbag.audio.audio_file import AudioReport
from songbag.audio.meter import ADVICE, Meter
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import read_blocks, write_waveform
from tests.helpers.audio import read_waveform

RATE = 44100
SECONDS = 20


@pytest.fixture(scope="module")
def song():
    """Two channels of one generated song, each with some of another."""
    one, other = (
        synthesise(genre, np.random.default_rng(3), SECONDS, RATE) for genre in ("waltz", "gallop")
    )
    return np.stack([0.7 * one + 0.2 * other, 0.6 * one - 0.1 * other])


def kinds(path, sample_rate=16000):
    """Return the kinds of the warnings of a file, and what was measured."""
    report = read_waveform(path, sample_rate)[1]
    warnings = report.warnings()
    assert all(text.partition(": ")[0] in ADVICE and "\n" not in text for text in warnings)
    return [text.partition(": ")[0] for text in warnings], report.sound


def written(path, samples, rate=RATE, bit_rate=128_000):
    write_waveform(path, np.asarray(samples, np.float32), rate, bit_rate)
    return path


@pytest.mark.parametrize("ending", [".wav", ".flac", ".opus", ".mp3", ".m4a", ".webm"])
def test_generated_songs_are_warned_of_nothing_in_any_format(tmp_path, ending):
    for seed, genre in enumerate(GENRES):
        stereo = np.stack([synthesise(genre, np.random.default_rng(seed), 12.0, 22050)] * 2)
        assert kinds(written(tmp_path / f"a{ending}", stereo, 22050), 22050)[0] == []


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".opus"])
def test_a_telephone_is_narrow_whatever_the_rate_of_the_file(tmp_path, song, ending):
    telephone = soxr.resample(song.T, RATE, 8000).T
    again = soxr.resample(telephone.T, 8000, RATE).T
    for samples, rate in ((telephone, 8000), (again, RATE)):
        got, sound = kinds(written(tmp_path / f"a{ending}", samples, rate))
        assert got == ["narrow"]
        assert 3500 <= sound.highest_hz <= 4500
    assert kinds(tmp_path / f"a{ending}", 8000)[0] == []  # a model that listens no higher


def test_a_very_low_bit_rate_is_narrow(tmp_path, song):
    path = written(tmp_path / "a.mp3", soxr.resample(song[0], RATE, 16000), 16000, 16_000)
    assert kinds(path)[0] == ["narrow"]


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".m4a"])
def test_channels_that_cancel_are_named(tmp_path, song, ending):
    got, sound = kinds(written(tmp_path / f"a{ending}", [song[0], -song[0]]))
    assert got == ["cancelling"]
    assert sound.channels_db[0] == pytest.approx(sound.channels_db[1], abs=0.1)
    assert sound.level_db < sound.channels_db[0] - 20
    assert kinds(written(tmp_path / f"b{ending}", song))[0] == []


def test_channels_that_cancel_in_part_are_named_from_a_tenth_of_the_energy_on(tmp_path, song):
    side = song[1] * np.std(song[0]) / np.std(song[1])
    for share, expected in ((0.2, ["cancelling"]), (0.9, [])):
        other = (share * side - (1 - share) * song[0]) * np.float32(1)
        got, _ = kinds(written(tmp_path / "a.wav", [song[0], other * 0.999]))
        assert got == expected


@pytest.mark.parametrize("place", [0, 1])
def test_one_silent_channel_is_named(tmp_path, song, place):
    path = tmp_path / "a.mp3"
    half = song.copy()
    half[place] = 0
    report = read_waveform(written(path, half), 16000)[1]
    (warning,) = report.warnings()
    assert warning.startswith(f"one_sided: only its {('right', 'left')[place]} channel holds sound")


def test_clipping_is_warned_of(tmp_path, song):
    got, sound = kinds(written(tmp_path / "a.wav", np.clip(10 * song, -1, 1)))
    assert got == ["clipped"]
    truth = np.mean(np.abs(np.clip(10 * song, -1, 1)) >= 0.999)
    assert sound.clipped_share == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("mains", [50, 60])
@pytest.mark.parametrize("below_db", [10, 20])
def test_mains_hum_is_named_with_its_frequency(tmp_path, song, mains, below_db):
    time = np.arange(song.shape[1]) / RATE
    hum = sum(np.sin(2 * np.pi * mains * k * time) / k for k in (1, 2, 3))
    hum *= np.std(song) / np.std(hum) * 10 ** (-below_db / 20)
    got, sound = kinds(written(tmp_path / "a.mp3", song + hum))
    assert got == ["hum"]
    assert sound.hum_hz == mains
    assert sound.hum_db == pytest.approx(-below_db - 1.5, abs=2.5)


def test_a_steady_tone_is_a_hum_and_held_notes_are_music(tmp_path, song):
    time = np.arange(song.shape[1]) / RATE
    tone = 2 * np.std(song) * np.sin(2 * np.pi * 1000 * time)
    got, sound = kinds(written(tmp_path / "a.wav", 0.5 * (song + tone)))
    assert got == ["hum"]
    assert sound.tone_hz == pytest.approx(1000, abs=22)
    # An organ: chords of steady notes with many harmonics, a new one every two seconds, over a
    # pedal that is held from start to end a semitone beside 50 Hz; and the breath of its pipes.
    organ = np.zeros(len(time))
    for number in range(SECONDS // 2):
        root = 110 * 2 ** ((0, 5, 7, -2, 3)[number % 5] / 12)
        part = slice(number * 2 * RATE, (number + 1) * 2 * RATE)
        for note in (root, root * 1.26, root * 1.5):
            harmonics = range(1, 41)
            organ[part] += sum(np.sin(2 * np.pi * note * k * time[part]) / k**2 for k in harmonics)
    organ += 2 * np.sin(2 * np.pi * 51.9 * time)
    organ += 0.01 * np.random.default_rng(0).standard_normal(len(time))
    assert kinds(written(tmp_path / "b.wav", 0.1 * organ))[0] == []


@pytest.mark.parametrize(
    ("before", "inside", "after", "place"),
    [
        (12, 0, 0, "at its start"),
        (0, 0, 12, "at its end"),
        (0, 12, 0, "from 10 s on"),
        (5, 0, 0, None),
        (5, 0, 5, None),
        (8, 8, 8, ", 8 s in a row "),
    ],
)
def test_a_long_silence_is_named_with_its_place(tmp_path, song, before, inside, after, place):
    half = song.shape[1] // 2
    silences = [np.zeros((2, seconds * RATE)) for seconds in (before, inside, after)]
    parts = [silences[0], song[:, :half], silences[1], song[:, half:], silences[2]]
    report = read_waveform(written(tmp_path / "a.flac", np.concatenate(parts, axis=1)), 16000)[1]
    texts = [text for text in report.warnings() if text.startswith("silence: ")]
    assert len(texts) == len(report.warnings()) == (place is not None)
    assert all(place in text for text in texts)
    longest = max(before, inside, after)
    start, end = report.sound.silence
    assert end - start == pytest.approx(longest, abs=0.25)


def test_a_header_that_claims_less_is_warned_of(tmp_path, song):
    path = written(tmp_path / "a.flac", song)
    data = path.read_bytes()
    path.write_bytes(data[:22] + (5 * RATE).to_bytes(4, "big") + data[26:])
    report = read_waveform(path, 16000)[1]
    faults = dict(report.file_faults())
    assert faults == {"length": f"its header says 5.0 s, and {SECONDS}.0 s were decoded"}
    path = written(tmp_path / "a.wav", song)  # as a recorder leaves it that lost its power
    data = bytearray(path.read_bytes())
    begin, size = data.index(b"data") + 4, 5 * RATE * 4
    data[4:8], data[begin : begin + 4] = (
        (size + 70).to_bytes(4, "little"),
        size.to_bytes(4, "little"),
    )
    path.write_bytes(data)
    report = read_waveform(path, 16000)[1]
    assert report.decoded_seconds == 5
    assert list(dict(report.file_faults())) == ["length"]


def test_a_raw_stream_states_no_length(tmp_path, song):
    quiet_then_loud = np.concatenate([0.0001 * song, song], axis=1).astype(np.float32)
    with av.open(str(tmp_path / "a.aac"), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(quiet_then_loud, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("fltp", "stereo", RATE, frame_size=1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    report = read_waveform(tmp_path / "a.aac", 16000)[1]
    assert report.decoded_seconds == pytest.approx(2 * SECONDS, abs=0.2)
    assert not list(report.file_faults())


def test_the_nominal_byte_rate_of_a_coded_wav_is_no_length(tmp_path, song):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("adpcm_ima_wav", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(song.astype(np.float32), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        stream.codec_context.open()
        size = stream.codec_context.frame_size
        resampler = av.AudioResampler("s16p", "stereo", RATE, frame_size=size)
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    report = read_waveform(tmp_path / "a.wav", 16000)[1]
    assert report.codec == "adpcm_ima_wav"
    assert not list(report.file_faults())


def test_only_the_part_that_is_used_is_judged(tmp_path, song):
    silence = np.zeros((2, 30 * RATE))
    path = written(tmp_path / "a.flac", np.concatenate([song, silence], axis=1))
    assert kinds(path)[0] == ["silence"]
    report = read_waveform(path, 16000, (0.0, float(SECONDS)))[1]
    assert report.warnings() == ()
    assert report.sound.seconds == pytest.approx(SECONDS, abs=0.01)


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 48000, 192000])
@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_short_sounds_at_any_rate_are_measured(rate, samples):
    meter = Meter()
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, samples))).astype(np.float32)
    meter.add(rate, noise, noise.mean(axis=0))
    sound = meter.facts()
    assert sound.seconds == pytest.approx(samples / rate)
    assert len(sound.channels_db) == 2
    assert not sound.silent


@pytest.mark.full
def test_emotify_is_warned_of_clipping_alone(emotify):
    """290 songs, 67 of them classical; three loud masters are clipped."""
    warned = {}
    with open(emotify, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        report = AudioReport()
        for _ in read_blocks(Path(emotify).parent / row["path"], 22050, report):
            pass
        if report.warnings():
            warned[row["id"]] = [text.partition(":")[0] for text in report.warnings()]
    assert len(rows) == 290
    assert warned == {name: ["clipped"] for name in ("electronic_046", "electronic_093", "pop_077")}
