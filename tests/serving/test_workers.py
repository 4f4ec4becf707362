"""Worker processes that are busy, hang, die or get more songs than they can take."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from songbag.audio.waveform import write_waveform
from tests.helpers.serving_process import Server, alive, resident


@pytest.fixture(scope="module")
def server(strict_server):
    return strict_server


def test_a_recording_beyond_the_limit_has_a_reason(server, tmp_path):
    write_waveform(tmp_path / "long.opus", np.zeros(48000 * 40, dtype=np.float32), 48000, 8000)
    answer = server.predict(tmp_path / "long.opus")
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_long")


def test_when_all_places_are_taken_the_next_is_told_when_to_come_back(server, song):
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as threads:
        taken = [threads.submit(server.predict, song, f"{k}.x") for k in range(3)]
        server.until(lambda: server.health()["waiting"] == 2 and server.health()["at_work"] == 1)
        refused = server.predict(song)
        os.kill(worker, signal.SIGCONT)
        answers = [one.result() for one in taken]
    assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert [one.json()["song"]["id"] for one in answers] == ["0.x", "1.x", "2.x"]
    assert server.predict(song).ok


def test_a_hung_process_is_one_lost_answer(server, song):
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)  # nothing but a kill moves it now
    began = time.monotonic()
    answer = server.predict(song, csv=True)
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_slow")
    assert 1.9 < time.monotonic() - began < 8
    assert answer.json()["song"]["reason"] == "too_slow"
    assert f"{song.name},failed,too_slow," in answer.json()["csv"]["songs"]
    server.until(lambda: not alive(worker))
    assert server.predict(song).ok
    assert not server.uploads()


def test_a_killed_process_is_one_lost_answer(server, song):
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(server.predict, song)
        server.until(lambda: server.health()["at_work"] == 1)
        other = threads.submit(server.predict, song)
        os.kill(worker, signal.SIGKILL)
        assert (lost.result().status_code, lost.result().json()["reason"]) == (422, "worker_died")
        assert other.result().ok
    assert server.predict(song).ok
    assert not server.uploads()


def test_a_process_killed_while_idle_costs_no_answer(server, song):
    os.kill(server.workers()[0], signal.SIGKILL)
    time.sleep(0.3)  # until its death is known
    assert server.predict(song).ok


@pytest.mark.full
def test_ctrl_c_in_the_middle_of_work_stops_all_the_same(model_path, song, tmp_path):
    with Server(model_path, tmp_path) as server, ThreadPoolExecutor(1) as threads:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        asked = threads.submit(server.predict, song)
        server.until(lambda: server.health()["at_work"] == 1)
        assert server.stop() == 0
        assert (asked.result().status_code, asked.result().json()["reason"]) == (503, "stopping")
        assert "Traceback" not in server.text()
        assert "Stopped." in server.text()
        assert not alive(worker)
    assert not list(server.temporary.glob("songbag-serve-*"))


@pytest.mark.full
@pytest.mark.torture
def test_memory_is_flat_over_many_requests(model_path, songs, nine, tmp_path, often, figure):
    files = [*sorted((songs.parent / "audio").iterdir())[:8], *sorted(nine.iterdir())]
    with Server(model_path, tmp_path, workers=2, waiting=8) as server:
        expected = {path: server.predict(path, kept=True).content for path in files}
        todo = [files[k % len(files)] for k in range(often(120, 5000))]
        sizes = []
        lock = threading.Lock()

        def ask(number):
            right = server.predict(todo[number], kept=True).content == expected[todo[number]]
            if number % (len(todo) // 20) == 0:
                with lock:
                    sizes.append([resident(server.process.pid), server.memory()])
            return right

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(len(todo))))
        assert not server.uploads()
    own, whole = np.array(sizes).T
    figure("server", f"{own.min():.0f} to {own.max():.0f} MB, workers too {whole.max():.0f} MB")
    assert own[-4:].mean() - own[3:7].mean() < 5
    assert whole[-4:].mean() - whole[3:7].mean() < 30


@pytest.mark.torture
def test_under_twice_its_capacity_no_answer_is_wrong_or_lost(
    model_path, songs, capsys, often, figure
):
    sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
    import serving

    results = serving.measure(
        model_path, sorted((songs.parent / "audio").iterdir())[:8], often(2.0, 10.0)
    )
    for load, found in results.items():
        figure(load, found)
        assert found["wrong"] == found["lost"] == 0, load
        assert found["answered"] > 0
    assert results["0.5x"]["busy"] == 0
