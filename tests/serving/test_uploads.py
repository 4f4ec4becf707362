"""Uploads that are too large, too slow, broken off or hostile."""

import json
import os
import signal
import socket
import time

import pytest
import requests


@pytest.fixture(scope="module")
def server(strict_server):
    return strict_server


BOUNDARY = "a-boundary"


HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
).encode()


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
        "many files": [("file", (f"{k}.wav", b"x")) for k in range(33)],
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
