"""The child that decodes: whatever goes wrong in it is a reason, and the caller goes on."""

import ctypes
import faulthandler
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import msgspec
import numpy as np
import pytest

from songbag.audio import sandbox, sandbox_child
from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.extract import extract_all
from songbag.audio.sandbox import decode_in_sandbox
from songbag.audio.sandbox_child import decode_frames
from songbag.audio.waveform import write_waveform
from songbag.errors import AudioError
from songbag.settings import Limits, Sound

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
    pytest.mark.usefixtures("alone"),
]
SOUND = Sound()
SHORT = Limits(wall_seconds=1.0, memory_bytes=2.0**28)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("song") / "song.mp3"
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050 * 20)
    write_waveform(path, noise.astype(np.float32), 22050)
    return Source(path=str(path))


def children():
    """Children of this process, but for helpers that stay: the sandbox's and those of pools."""
    command = ["ps", "-ww", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    staying = ("ps -ww", "audio.sandbox", "resource_tracker")
    return [line for line in lines if not any(word in line for word in staying)]


def frames_of(source, limits=Limits()):
    report = AudioReport()
    return np.concatenate(list(decode_in_sandbox(source, SOUND, report, limits))), report


def in_a_thread(work):
    """Run ``work`` beside another thread, as a server would; its result or its error."""
    results = []

    def run():
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return results[0]


@pytest.fixture(params=["forked", "helped"])
def runs(request):
    """Run work where this process forks the child, or where the helper does."""
    return {"forked": lambda work: work(), "helped": in_a_thread}[request.param]


def test_frames_and_report_are_those_of_this_process(source, runs):
    truth = AudioReport()
    expected = np.concatenate(list(decode_frames(source, SOUND, truth, Limits())))
    decoded, report = runs(lambda: frames_of(source))
    assert (decoded == expected).all()
    assert report == truth


def test_errors_come_out_as_they_are(tmp_path, runs):
    (tmp_path / "x.mp3").write_bytes(b"nothing")
    error = runs(lambda: refusal(Source(path=str(tmp_path / "x.mp3"))))
    assert error.reason == "not_audio"
    assert "x.mp3" in str(error)


def test_relative_paths_mean_the_folder_of_the_caller(source, runs, tmp_path, monkeypatch):
    expected, _ = runs(lambda: frames_of(source))  # a helper starts in another folder
    shutil.copy(source.path, tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    decoded, _ = runs(lambda: frames_of(Source(path="song.mp3")))
    assert (decoded == expected).all()


def refusal(source, limits=Limits()):
    with pytest.raises(AudioError) as caught:
        frames_of(source, limits)
    return caught.value


def test_many_threads_decode_at_once(source):
    expected, _ = frames_of(source)
    decoded = []
    threads = [
        threading.Thread(target=lambda: decoded.append(frames_of(source)[0])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(decoded) == 6
    assert all((frames == expected).all() for frames in decoded)


def test_a_killed_helper_is_replaced(source):
    expected, _ = in_a_thread(lambda: frames_of(source))
    sandbox._helpers[0].process.kill()
    sandbox._helpers[0].process.wait()
    decoded, _ = in_a_thread(lambda: frames_of(source))
    assert (decoded == expected).all()


# What a broken decoder could do; the process is forked, so it inherits these.


def crash(*_):
    yield np.zeros((1, SOUND.bands), np.float32)
    faulthandler.disable()  # pytest would print the place
    ctypes.string_at(0)


def hang(*_):
    yield np.zeros((1, SOUND.bands), np.float32)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    time.sleep(3600)


def spin(*_):
    yield np.zeros((1, SOUND.bands), np.float32)
    pow(3, 10**9)  # a call of C that takes minutes


def hoard(*_):
    yield np.ones((1 << 28, SOUND.bands), np.float32)


def write(*_):
    with open("/tmp/never", "wb") as file:
        file.write(bytes(2 << 20))
    yield np.zeros((1, SOUND.bands), np.float32)


def open_many(*_):
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(9000)]
    yield np.full((len(opened), SOUND.bands), 0, np.float32)


@pytest.mark.parametrize(
    ("fault", "limits", "reason"),
    [
        (crash, SHORT, "worker_died"),
        (hang, SHORT, "too_slow"),
        (spin, Limits(cpu_seconds=0.1, wall_seconds=200), "worker_died"),  # RLIMIT_CPU: 2 s
        (hoard, SHORT, "too_much_memory"),
    ],
)
def test_a_broken_decoder_is_a_reason(source, monkeypatch, fault, limits, reason):
    monkeypatch.setattr(sandbox_child, "decode_frames", fault)
    began = time.monotonic()
    assert refusal(source, limits).reason == reason
    assert time.monotonic() - began < 150  # 3 where no other job runs
    assert children() == []


@pytest.mark.parametrize(
    ("fault", "message"), [(write, "File too large"), (open_many, "Too many open files")]
)
def test_a_decoder_can_neither_fill_the_disk_nor_open_much(source, monkeypatch, fault, message):
    monkeypatch.setattr(sandbox_child, "decode_frames", fault)
    error = refusal(source, Limits(spool_bytes=1 << 20))
    assert error.reason == "broken"
    assert message in str(error)


def test_a_stopped_decoder_costs_one_song_and_the_run_goes_on(source, monkeypatch, tmp_path):
    """A real decoder, stopped by a signal in the middle of its file."""
    sources = [source]
    for name in "ab":
        write_waveform(tmp_path / f"{name}.wav", np.zeros(22050, np.float32), 22050)
        sources.append(Source(path=str(tmp_path / f"{name}.wav")))
    original = decode_frames

    def stopping(source, *rest):
        for block in original(source, *rest):
            yield block
            if source.path.endswith("a.wav"):
                os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(sandbox_child, "decode_frames", stopping)
    receipts = list(extract_all(sources, SOUND, tmp_path / "cache", SHORT, workers=1))
    assert [receipt.reason for receipt in receipts] == ["", "too_slow", ""]


def test_time_that_the_caller_takes_is_not_counted(source):
    limits = msgspec.structs.replace(SHORT, wall_seconds=0.5)
    blocks = decode_in_sandbox(source, SOUND, AudioReport(), limits)
    first = next(blocks)
    time.sleep(1)
    assert len(first) + sum(map(len, blocks)) == 1 + 22050 * 20 // SOUND.hop_length


def test_an_abandoned_song_leaves_no_process(source, runs):
    blocks = decode_in_sandbox(source, SOUND, AudioReport(), Limits())
    runs(lambda: (next(blocks), blocks.close()))
    deadline = time.monotonic() + 5
    while children():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_decoder_ends_soon_after_its_caller(source, tmp_path):
    code = (
        "import sys, time; from songbag.audio.sandbox import decode_in_sandbox\n"
        "from songbag.settings import *; from songbag.audio.audio_file import Source\n"
        "from songbag.audio.audio_file import AudioReport\n"
        "blocks = decode_in_sandbox(Source(path=sys.argv[1]), Sound(hop_length=16), AudioReport(), Limits())\n"
        "next(blocks); print('going', flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, source.path], stdout=subprocess.PIPE)
    caller.stdout.readline()
    listed = subprocess.run(["pgrep", "-P", str(caller.pid)], capture_output=True, text=True)
    (decoder,) = map(int, listed.stdout.split())
    caller.kill()
    caller.wait()
    caller.stdout.close()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{decoder}") and "Z" not in _state(decoder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
