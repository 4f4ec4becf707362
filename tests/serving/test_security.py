"""Requests from elsewhere are refused, and answers carry the headers that protect browsers."""

import re

import requests

from tests.helpers.serving_process import Server

TOKEN = "a token of some letters"


def test_other_hosts_and_other_origins_are_refused(server, audio):
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.1:80", ""):
        answer = requests.get(f"{server.url}/health", headers={"Host": host}, timeout=10)
        assert (answer.status_code, answer.json()["reason"]) == (421, "wrong_host"), host
    port = server.url.rpartition(":")[2]
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert requests.get(f"{server.url}/health", headers={"Host": host}, timeout=10).ok
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": server.url, "Sec-Fetch-Site": "cross-site"},
    ):
        answer = server.predict(audio[0], headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "cross_origin"), headers
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.predict(audio[0], headers=own).ok


def test_every_answer_carries_the_policy(server):
    for path in ("/", "/health", "/static/app.js", "/nothing"):
        headers = requests.get(server.url + path, timeout=10).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    first, second = (requests.get(server.url, timeout=10).text for _ in range(2))
    assert re.search(r'nonce="[\w-]{20,}"', first)
    assert first != second


def test_with_a_token_every_request_needs_it(model_path, audio, tmp_path):
    with Server(model_path, tmp_path, token=TOKEN, allow_remote=True, host="0.0.0.0") as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        for path in ("/health", "/model", "/openapi.json", "/nothing"):
            assert requests.get(server.url + path, timeout=10).status_code == 401
        for given in ("Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", "Bearer é"):
            answer = server.predict(audio[0], headers={"Authorization": given.encode("latin-1")})
            assert (answer.status_code, answer.json()["reason"]) == (401, "no_token"), given
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert server.predict(audio[0], headers=good).status_code == 200
        # The page itself is open, and its key works once.
        assert requests.get(server.url, timeout=10).ok
        assert requests.get(f"{server.url}/static/app.js", timeout=10).ok
        key = server.address.partition("#key=")[2]
        session = f"{server.url}/session"
        assert requests.post(session, json={"key": "wrong"}, timeout=10).status_code == 403
        assert requests.post(session, json={"key": key}, timeout=10).json() == {"token": TOKEN}
        assert requests.post(session, json={"key": key}, timeout=10).status_code == 403
        assert TOKEN not in server.text()
