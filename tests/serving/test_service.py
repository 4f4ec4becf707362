"""What programs and systems ask of the server: other bodies, several models, checks, metrics."""

import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from songbag.inference.model_file import load_model
from tests.helpers.serving_process import Server, with_card


def post(url, **options):
    return requests.post(url, timeout=60, **options)


def test_a_body_is_a_song(server, audio):
    """Under any type but a form's: curl says that --data-binary is a form of letters."""
    expected = server.predict(audio[0], name="a song").content
    for kind in ("application/x-www-form-urlencoded", "audio/ogg", None):
        headers = {"Content-Type": kind} if kind else {}
        body = audio[0].read_bytes()
        answer = post(f"{server.url}/predict", data=body, params={"id": "a song"}, headers=headers)
        assert answer.content == expected
    refused = post(f"{server.url}/predict", data=b"no song")
    assert (refused.status_code, refused.json()["reason"]) == (422, "not_audio")
    assert refused.json()["song"]["id"] == "song"
    assert not server.uploads()


def test_several_files_are_several_answers(server, audio, nine):
    paths = [audio[0], nine / "empty.mp3", audio[1]]
    alone = [server.predict(path).json() for path in paths]
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    together = post(f"{server.url}/predict", files=files)
    assert together.status_code == 200
    assert together.json() == {"answers": alone}
    ids = [("id", (None, name)) for name in ("a", "b", "c")]
    named = post(f"{server.url}/predict", files=[*files, *ids]).json()["answers"]
    assert [one["song"]["id"] for one in named] == ["a", "b", "c"]
    unclear = post(f"{server.url}/predict", files=[*files, *ids[:2]])
    assert unclear.status_code == 422
    assert "3 files and 2 ids" in unclear.json()["message"]


def test_what_is_too_large_names_the_option(strict_server):
    for form in ({"data": bytes(2 << 20)}, {"files": {"file": bytes(2 << 20)}}):
        answer = post(f"{strict_server.url}/predict", **form)
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["message"] and "--max-megabytes" in answer.json()["message"]


def test_a_page_of_an_allowed_origin_may_ask_and_no_other(model_path, audio, tmp_path):
    asked = {"Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization"
    token = {"token": "a token of some letters", "allow_remote": True}
    with Server(model_path, tmp_path, allow_origins=("https://a.example",), **token) as server:
        for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
            before = requests.options(
                f"{server.url}/predict", headers={"Origin": origin, **asked}, timeout=10
            )
            assert before.ok == allowed
            bearer = {"Origin": origin, "Authorization": f"Bearer {token['token']}"}
            answer = server.predict(audio[0], headers=bearer | {"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code == (200 if allowed else 403)
            for each in (before, answer):
                found = each.headers.get("access-control-allow-origin")
                assert found == (origin if allowed else None)


def test_checks_of_a_system(server, strict_server, model_path, tmp_path):
    assert requests.get(f"{server.url}/healthz", timeout=10).json() == {"status": "ok"}
    assert requests.get(f"{server.url}/readyz", timeout=10).json() == {"status": "ready"}
    # A process that hangs while it is idle is found, and replaced.
    (worker,) = strict_server.workers()
    os.kill(worker, signal.SIGSTOP)
    answer = requests.get(f"{strict_server.url}/readyz", timeout=20)
    assert (answer.status_code, answer.json()["reason"]) == (503, "not_ready")
    assert requests.get(f"{strict_server.url}/healthz", timeout=10).ok
    assert requests.get(f"{strict_server.url}/readyz", timeout=20).ok
    assert strict_server.workers() != [worker]


def numbers(server):
    answer = requests.get(f"{server.url}/metrics", timeout=10)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    pattern = re.compile(r'(songbag_\w+(?:\{(?:\w+="[^"]*",?)+\})?) ([\d.e+-]+)')
    found = [pattern.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found), answer.text
    return {one[1]: float(one[2]) for one in found}


def test_metrics_count_what_happened(server, audio):
    before = numbers(server)
    assert server.predict(audio[0]).ok
    assert post(f"{server.url}/predict", data=b"no song").status_code == 422
    assert requests.get(f"{server.url}/made/up", timeout=10).status_code == 404
    after = numbers(server)

    def more(name):
        return after[name] - before.get(name, 0)

    assert more('songbag_requests_total{route="/predict",status="200"}') == 1
    assert more('songbag_requests_total{route="/predict",status="422"}') == 1
    assert more('songbag_requests_total{route="other",status="404"}') == 1
    assert more('songbag_request_seconds_bucket{route="/predict",le="+Inf"}') == 2
    assert more('songbag_request_seconds_count{route="/predict"}') == 2
    assert 0 < more('songbag_request_seconds_sum{route="/predict"}') < 60
    assert after["songbag_workers"] == 2
    assert after["songbag_songs_at_work"] == after["songbag_songs_waiting"] == 0


@pytest.fixture(scope="module")
def other_path(model_path, tmp_path_factory):
    """A model of the same songs that calls their labels otherwise."""
    card = load_model(model_path).card
    path = tmp_path_factory.mktemp("other") / "other.songbag"
    return with_card(model_path, path, labels=tuple(f"my {label}" for label in card.labels))


def test_two_models_at_one_address(model_path, other_path, audio, tmp_path, labels):
    with Server([model_path, other_path], tmp_path) as server:
        names = requests.get(f"{server.url}/models", timeout=10).json()
        assert names == {"models": ["genre", "other"]}
        first, named, other = (
            post(f"{server.url}{path}/predict", data=audio[0].read_bytes(), params={"kept": True})
            for path in ("", "/models/genre", "/models/other")
        )
        assert first.content == named.content
        assert other.json()["song"]["predicted"] == f"my {first.json()['song']['predicted']}"
        card = requests.get(f"{server.url}/models/other", timeout=10).json()
        assert card["labels"] == [f"my {label}" for label in labels]
        again = {"kept": other.json()["kept"], "removed": []}
        assert post(f"{server.url}/models/other/without", json=again).ok
        wrong = post(f"{server.url}/without", json=again)
        assert "another model" in wrong.json()["message"]
        schemas = requests.get(f"{server.url}/openapi.json", timeout=10).json()["components"]
        assert f"p_my {labels[0]}" in schemas["schemas"]["Song2"]["properties"]


def test_a_replaced_file_takes_over_without_a_lost_request(model_path, other_path, song, tmp_path):
    served = tmp_path / "genre.songbag"
    shutil.copy(model_path, served)
    with Server(served, tmp_path, workers=1, waiting=8) as server:
        answers, done = [], threading.Event()

        def ask():
            while not done.is_set():
                answers.append(server.predict(song))

        with ThreadPoolExecutor(3) as threads:
            asking = [threads.submit(ask) for _ in range(3)]
            try:
                server.until(lambda: len(answers) > 3)
                served.write_bytes(served.read_bytes()[:1000])  # a copy that broke off
                server.until(lambda: "goes on answering" in server.text())
                (tmp_path / "new").write_bytes(other_path.read_bytes())
                (tmp_path / "new").replace(served)
                server.until(lambda: "was read again" in server.text(), seconds=60)
                last = len(answers)
                server.until(lambda: len(answers) > last + 5, seconds=30)
            finally:
                done.set()
            for one in asking:
                one.result()
        assert {one.status_code for one in answers} == {200}
        predicted = [one.json()["song"]["predicted"] for one in answers]
        assert not predicted[0].startswith("my ")
        assert predicted[-1].startswith("my ")
        server.until(lambda: len(server.workers()) == 1)  # the old process has gone
        assert not server.uploads()


def test_sigterm_answers_what_has_come_and_takes_no_more(model_path, song, tmp_path):
    with Server(model_path, tmp_path) as server, ThreadPoolExecutor(2) as threads:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        asked = [threads.submit(server.predict, song) for _ in range(2)]
        server.until(lambda: server.health()["at_work"] == server.health()["waiting"] == 1)
        server.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                server.health()
            except requests.ConnectionError:
                return True

        server.until(refused)
        time.sleep(6)  # longer than Ctrl-C waits
        assert server.process.poll() is None
        os.kill(worker, signal.SIGCONT)
        assert [one.result().status_code for one in asked] == [200, 200]
        assert server.process.wait(20) == 0
        assert server.text().endswith("Stopped.\n")
        assert "Traceback" not in server.text()
