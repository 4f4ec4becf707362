"""What clients and files may do to a server, and what it may not do back."""

import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from songbag.audio.waveform import write_waveform
from tests.helpers.serving_process import Server, alive, resident

BOUNDARY = "a-boundary"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
).encode()


@pytest.fixture(scope="module")
def server(model_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    options = {
        "waiting": 2,
        "max_megabytes": 1,
        "max_hours": 0.01,
        "idle_seconds": 1,
        "upload_seconds": 2,
    }
    with Server(model_path, folder, **options, max_seconds=2) as one:
        yield one


@pytest.fixture(scope="module")
def song(songs):
    return min((songs.parent / "audio").iterdir(), key=lambda path: path.stat().st_size)


def connection(server):
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20)


def begin(server, length=None):
    """Send the head of an upload, chunked unless a length is given."""
    body = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{body}\r\n"
    opened = connection(server)
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    opened.sendall((head + kind).encode())
    if length is None:
        send_part(opened, HEAD)
    return opened


def send_part(opened, data):
    opened.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def answer_of(opened):
    """Read a whole response: its status, headers and JSON."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(opened)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += received(opened)
    return int(lines[0].split()[1]), headers, json.loads(body)


def received(opened):
    data = opened.recv(65536)
    assert data, "the connection ended before the answer"
    return data


def idle(server):
    health = server.health()
    return health["at_work"] == health["waiting"] == 0


# --- uploads ----------------------------------------------------------------------------


def test_a_stream_without_a_length_is_cut_off_at_the_limit(server, song):
    opened = begin(server)
    sent = 0
    opened.settimeout(0.02)
    for _ in range(200):  # of 1 MB, when 1 MB is allowed
        try:
            opened.settimeout(20)
            send_part(opened, bytes(1 << 20))
        except (BrokenPipeError, ConnectionResetError):
            break
        sent += 1 << 20
        opened.settimeout(0.02)
        try:
            if opened.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            pass
    opened.settimeout(20)
    status, _, body = answer_of(opened)
    opened.close()
    assert (status, body["reason"]) == (413, "too_large")
    assert "1 MB" in body["message"]
    assert sent <= 20 << 20
    server.until(lambda: idle(server))
    assert not server.uploads()
    assert server.predict(song).ok


def test_an_announced_length_is_refused_before_it_comes(server):
    opened = begin(server, length=1 << 40)
    status, _, body = answer_of(opened)
    opened.close()
    assert (status, body["reason"]) == (413, "too_large")


def test_an_ordinary_client_reads_the_refusal(server, tmp_path):
    (tmp_path / "large.wav").write_bytes(bytes(12 << 20))
    answer = server.predict(tmp_path / "large.wav")
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


def test_an_aborted_upload_leaves_nothing(server, song):
    data = song.read_bytes()
    for part in (0, len(data) // 2, len(data)):
        opened = begin(server)
        if part:
            send_part(opened, data[:part])
        server.until(lambda: server.health()["waiting"] == 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        opened.close()
        server.until(lambda: idle(server))
        assert not server.uploads()
    assert server.predict(song).ok


def test_a_client_that_leaves_during_the_work_leaves_nothing(server, song):
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    opened = begin(server)
    send_part(opened, song.read_bytes())
    send_part(opened, f"\r\n--{BOUNDARY}--\r\n".encode())
    opened.sendall(b"0\r\n\r\n")
    server.until(lambda: server.uploads() and server.health()["at_work"] == 1)
    opened.close()
    os.kill(worker, signal.SIGCONT)
    server.until(lambda: idle(server))
    assert not server.uploads()


def test_a_silent_client_is_let_go_and_others_are_served(server, song):
    opened = begin(server)
    began = time.monotonic()
    assert server.predict(song).ok
    status, _, body = answer_of(opened)
    opened.close()
    assert (status, body["reason"]) == (408, "too_slow_upload")
    assert time.monotonic() - began < 5
    server.until(lambda: idle(server))


def test_a_client_that_trickles_is_let_go(server):
    opened = begin(server)
    began = time.monotonic()
    opened.settimeout(0.2)
    while time.monotonic() - began < 10:
        try:
            if opened.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            send_part(opened, b"x")
    opened.settimeout(20)
    assert answer_of(opened)[0] == 408
    opened.close()
    assert 1.9 < time.monotonic() - began < 6


def test_hostile_forms_are_refused(server):
    forms = {
        "two files": [("file", ("a.wav", b"x")), ("file", ("b.wav", b"x"))],
        "many fields": [("file", ("a.wav", b"x")), *((f"f{k}", (None, "x")) for k in range(50))],
        "a large field": [("file", ("a.wav", b"x")), ("id", (None, "x" * 5000))],
    }
    for name, files in forms.items():
        answer = requests.post(f"{server.url}/predict", files=files, timeout=20)
        assert (answer.status_code, answer.json()["reason"]) == (400, "bad_request"), name
    opened = begin(server)
    send_part(opened, b"\r\n--another\r\n" * 1000)
    opened.sendall(b"0\r\n\r\n")
    assert answer_of(opened)[0] in (400, 422)
    opened.close()
    assert not server.uploads()


# --- work -------------------------------------------------------------------------------


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


# --- full size --------------------------------------------------------------------------


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
