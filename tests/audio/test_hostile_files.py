"""Bad files are decoded or refused with a reason, within limits on time and memory."""

import http.server
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.sandbox import decode_in_sandbox
from songbag.audio.waveform import write_waveform
from songbag.data.song import Song
from songbag.errors import AudioError
from songbag.settings import Limits, Sound
from tests.helpers.audio import read_waveform
from tests.helpers.hostile import make_corpus
from tests.helpers.songs import predict_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, sockets, devices")

# What each file must become: a reason, or "ok" and the kinds of its warnings; and the
# seconds that are decoded of it (the songs have 6).
RESULTS = {
    "code.mp3": ("not_audio", 0.00),
    "concat-url.ogg": ("not_audio", 0.00),
    "concat.mp3": ("not_audio", 0.00),
    "eight-channels.wav": ("ok", 6.00),
    "empty.mp3": ("empty", 0.00),
    "first-1000.flac": ("not_audio", 0.00),
    "first-1000.ogg": ("not_audio", 0.00),
    "flac-named.mp3": ("ok", 6.00),
    "flac-total-max.flac": ("ok truncated", 6.00),
    "flac-total-zero.flac": ("ok", 6.00),
    "flipped.flac": ("ok damaged truncated", 5.48),
    "flipped.m4a": ("ok damaged truncated", 0.56),
    "flipped.mp3": ("ok damaged damaged", 5.97),
    "flipped.ogg": ("not_audio", 0.00),
    "flipped.opus": ("ok truncated", 0.01),
    "flipped.wav": ("ok", 6.00),
    "folder.mp3": ("unreadable", 0.00),
    "gone.wav": ("missing", 0.00),
    "half.aiff": ("ok truncated", 3.00),
    "half.flac": ("ok damaged truncated", 2.93),
    "half.m4a": ("not_audio", 0.00),
    "half.mp3": ("ok truncated", 2.98),
    "half.ogg": ("ok truncated", 2.78),
    "half.opus": ("ok truncated", 2.99),
    "half.wav": ("ok truncated", 3.00),
    "half.webm": ("ok truncated", 2.97),
    "hole.mp3": ("ok damaged truncated", 5.98),
    "huge-all.wav": ("bad_samples", 0.00),
    "huge-few.wav": ("ok damaged", 6.00),
    "huge-tag-frame.mp3": ("ok", 6.01),
    "huge-tag.mp3": ("not_audio", 0.00),
    "inf-few.wav": ("ok damaged", 6.00),
    "latin-1-tag.mp3": ("ok", 6.01),
    "list.m3u": ("not_audio", 0.00),
    "list.pls": ("not_audio", 0.00),
    "local.m3u8": ("not_audio", 0.00),
    "loop.wav": ("unreadable", 0.00),
    "mp3-named.txt": ("ok", 6.00),
    "nan-all.wav": ("bad_samples", 0.00),
    "nan-few.wav": ("ok damaged", 6.00),
    "one-byte.mp3": ("not_audio", 0.00),
    "one-hour-8ch-192k.flac": ("too_long", 0.00),
    "one-sample.wav": ("ok", 0.00),
    "page.mp3": ("not_audio", 0.00),
    "photo.mp3": ("not_audio", 0.00),
    "pipe.wav": ("unreadable", 0.00),
    "random.mp3": ("not_audio", 0.00),
    "rate-1000.wav": ("ok narrow", 6.00),
    "rate-500khz.wav": ("ok", 2.12),
    "session.sdp": ("not_audio", 0.00),
    "silent.wav": ("ok silent", 6.00),
    "six-hours-claims-six-seconds.flac": ("too_long", 0.00),
    "six-hours.flac": ("too_long", 0.00),
    "six-hours.opus": ("too_long", 0.00),
    "socket.wav": ("unreadable", 0.00),
    "song.mp3.gz": ("not_audio", 0.00),
    "song.mp3.zip": ("ok damaged", 6.03),
    "stream.mpd": ("not_audio", 0.00),
    "tty.wav": ("unreadable", 0.00),
    "twice.flac": ("ok length", 12.00),
    "twice.mp3": ("ok damaged", 12.04),
    "twice.ogg": ("ok length", 12.00),
    "two-rates.mp3": ("ok", 6.01),
    "url.m3u8": ("not_audio", 0.00),
    "url.mp3": ("not_audio", 0.00),
    "wav-bits-1000.wav": ("not_audio", 0.00),
    "wav-channels-0.wav": ("not_audio", 0.00),
    "wav-channels-max.wav": ("not_audio", 0.00),
    "wav-header-only.wav": ("not_audio", 0.00),
    "wav-named.ogg": ("ok", 6.00),
    "wav-rate-0.wav": ("not_audio", 0.00),
    "wav-rate-1mhz.wav": ("ok", 0.26),
    "wav-rate-8.wav": ("bad_rate", 0.00),
    "wav-rate-max.wav": ("not_audio", 0.00),
    "wav-size-max.wav": ("ok", 6.00),
    "wav-size-zero.wav": ("ok", 6.00),
    "xing-claims-an-hour.mp3": ("ok truncated", 6.01),
    "zero.wav": ("unreadable", 0.00),
    "zeros.mp3": ("not_audio", 0.00),
}  # fmt: skip
SECONDS, MEBIBYTES = 5, 300  # the most that a file may cost


@pytest.fixture(scope="module")
def canary():
    """A web server that must not be called, and the list of the calls."""
    calls = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", calls
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, canary):
    return make_corpus.write_corpus(tmp_path_factory.mktemp("corpus"), canary[0])


@pytest.fixture(scope="module")
def extracted(corpus, tmp_path_factory):
    """The result of extracting every file in a new process, by the name of the file."""
    cache = tmp_path_factory.mktemp("extracted")
    script = Path(make_corpus.__file__).with_name("extract_files.py")
    command = [sys.executable, str(script), str(cache), *map(str, corpus.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {Path(row["file"]).name: row for row in rows}


@pytest.mark.torture
def test_every_bad_file_has_the_expected_result(extracted, canary, figure):
    results = {name: (result(row), round(row["seconds"], 2)) for name, row in extracted.items()}
    assert results == RESULTS
    slowest = max(extracted.values(), key=lambda row: row["took_seconds"])
    memory = max(row["decoder_kib"] for row in extracted.values()) / 1024
    figure("files", len(extracted))
    figure("slowest", f"{slowest['took_seconds']:.2f} s ({Path(slowest['file']).name})")
    figure("largest decoder", f"{memory:.0f} MiB")
    assert slowest["took_seconds"] < SECONDS
    assert memory < MEBIBYTES
    assert canary[1] == []


def result(row):
    kinds = [warning.partition(":")[0] for warning in row["warnings"]]
    return row["reason"] or " ".join(["ok", *kinds])


def test_a_refusal_names_the_file(extracted):
    for name, row in extracted.items():
        assert row["status"] == "ok" or name in row["message"]


@pytest.mark.torture
def test_a_collection_of_bad_files_gets_a_row_each(
    corpus, extracted, model_path, canary, tmp_path, often, figure
):
    """In two processes, shuffled, each file several times under --torture."""
    songs = [Song(id=f"{name} {number}", path=str(path))
             for number in range(often(1, 5)) for name, path in corpus.items()]  # fmt: skip
    answers = predict_files(songs, model_path, tmp_path / "cache", workers=2)
    assert [answer.id for answer in answers] == [song.id for song in songs]
    figure(
        "songs, answered", (len(songs), sum(answer.prediction is not None for answer in answers))
    )
    for answer in answers:
        row = extracted[answer.id.rpartition(" ")[0]]
        assert answer.reason == row["reason"]
        if answer.prediction is not None:
            assert np.isfinite(answer.prediction.probabilities).all()
            assert np.isfinite(answer.prediction.contributions).all()
    assert canary[1] == []


@pytest.mark.parametrize("path", ["{url}/x.mp3", "concat:{file}|{file}", "file:{file}",
                                  "subfile,,start,0,end,0,,:{file}", "pipe:0", "tcp://127.0.0.1:9",
                                  "async:{url}/x.mp3", "cache:{url}/x.mp3", "data:audio/wav;base64,UklGRg==",
                                  "crypto:{file}", "-", "|cat {file}", "$(cat {file})"])  # fmt: skip
def test_a_path_is_only_ever_the_name_of_a_file(path, corpus, canary):
    path = path.format(url=canary[0], file=corpus["flac-named.mp3"])
    with pytest.raises(AudioError) as caught:
        list(decode_in_sandbox(Source(path=path), Sound(), AudioReport(), Limits()))
    assert caught.value.reason == "missing"
    assert canary[1] == []


@pytest.mark.torture
@pytest.mark.parametrize(
    "name", ["two-rates.mp3", "wav-size-zero.wav", "wav-size-max.wav", "flac-total-zero.flac",
             "wav-named.ogg", "mp3-named.txt", "twice.ogg", "latin-1-tag.mp3", "eight-channels.wav"]
)  # fmt: skip
def test_healthy_odd_files_are_decoded_whole(corpus, name, request, figure):
    """Every sample that is in them; with --torture the ffmpeg program agrees."""
    rate = make_corpus.RATE
    waveform, report = read_waveform(corpus[name], rate)
    seconds = 12 if name.startswith("twice") else 6
    exact = name.endswith(("wav", "flac")) or name == "wav-named.ogg"
    assert abs(len(waveform) - seconds * rate) <= (0 if exact else 3000)  # a coder's delay
    assert report.bad_packets == 0
    if not request.config.getoption("--torture"):
        return
    program = shutil.which("ffmpeg")
    assert program, "the oracle is missing: apt-get install ffmpeg"
    out = ["-map", "0:a", "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    command = [program, "-v", "error", "-i", str(corpus[name]), *out]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    theirs = np.frombuffer(raw, "<f4").reshape(-1, report.channels).mean(axis=1)
    figure(f"{name} samples, ours and ffmpeg's", f"{len(waveform)} {len(theirs)}")
    assert abs(len(theirs) - len(waveform)) <= (0 if exact else 1152)
    same = min(len(theirs), len(waveform))
    wrong = np.abs(theirs[:same] - waveform[:same]) > 1e-3
    assert wrong.mean() < (0.005 if name == "twice.ogg" else 1e-9)  # there, one block at the joint


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One second in every format that is written here, as bytes."""
    folder = tmp_path_factory.mktemp("small")
    files = {}
    for ending in (".wav", ".flac", ".mp3", ".opus", ".m4a", ".webm"):
        write_waveform(folder / f"x{ending}", make_corpus.song(1), make_corpus.RATE)
        files[ending] = (folder / f"x{ending}").read_bytes()
    return files


@pytest.mark.torture
def test_mutated_files_are_decoded_or_refused(small, tmp_path, often, figure):
    """Never a crash, a hang, or an error that is not an AudioError."""
    outcomes = dict.fromkeys(["decoded", "refused"], 0)

    @settings(
        max_examples=often(100, 2000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def mutate(data):
        ending = data.draw(st.sampled_from(sorted(small)))
        path = tmp_path / f"x{ending}"
        path.write_bytes(mutated(bytearray(small[ending]), data))
        try:
            blocks = decode_in_sandbox(Source(path=str(path)), Sound(), AudioReport(), LIMITS)
            assert all(np.isfinite(block).all() for block in blocks)
            outcomes["decoded"] += 1
        except AudioError as error:
            assert error.reason in {"not_audio", "no_audio_stream", "bad_rate", "bad_samples",
                                    "empty", "too_long"}, error  # fmt: skip
            outcomes["refused"] += 1

    mutate()
    figure("outcomes", outcomes)
    assert min(outcomes.values()) > 0


LIMITS = Limits(wall_seconds=20.0, cpu_seconds=10.0)


def mutated(good, data):
    """Headers are where structure is, so most changes fall there."""
    for _ in range(data.draw(st.integers(1, 6))):
        near = st.integers(0, min(300, len(good) - 1))
        place = data.draw(near | near | st.integers(0, len(good) - 1))
        kind = data.draw(st.sampled_from(["flip", "set", "insert", "delete", "repeat", "cut"]))
        size = data.draw(st.integers(1, 64))
        if kind == "flip":
            good[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            value = data.draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"]))
            good[place : place + 4] = value * 4
        elif kind == "insert":
            good[place:place] = data.draw(st.binary(min_size=size, max_size=size))
        elif kind == "delete":
            del good[place : place + size]
        elif kind == "repeat":
            good[place:place] = good[place : place + 20 * size]
        elif len(good) > 50 and place > 20:
            del good[place:]
        if not good:
            return b"\0"
    return bytes(good)
