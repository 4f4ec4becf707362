"""The labelling page in a real browser, by its keys alone, and what a kill leaves of it."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import requests
import soundfile
from playwright.sync_api import expect

from tests.helpers.browser import browser, opened, picture

LABELS = ["waltz", "march", "drift"]


@pytest.fixture(scope="module")
def chrome():
    with browser() as one:
        yield one


@pytest.fixture(autouse=True, scope="module")
def _patience():
    expect.set_options(timeout=20_000)  # a busy machine starts a process in seconds
    yield
    expect.set_options(timeout=5_000)


class Labelling:
    """A `songbag label` of a table, in a process of its own."""

    def __init__(self, table, *options):
        command = [sys.executable, "-m", "songbag", "label", table, "--labels", ",".join(LABELS)]
        command += ["--port", "0", "--no-browser", *options]
        self.log = open(table.with_suffix(f".{time.monotonic_ns()}.log"), "w+")  # noqa: SIM115
        self.process = subprocess.Popen(list(map(str, command)), stderr=self.log)
        until = time.monotonic() + 60
        while " is at http" not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < until, "it did not start in a minute"
            time.sleep(0.02)
        said = next(line for line in self.text().splitlines() if " is at http" in line)
        self.address = said.rpartition(" ")[2]
        self.url = self.address.partition("#")[0]

    def text(self):
        with open(self.log.name) as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self.log.close()


@pytest.fixture
def table(songs, tmp_path):
    """Twelve songs to be labelled, in four formats; a file that is none, and one that is missing."""
    files = sorted((songs.parent / "audio").iterdir())[:10]
    (tmp_path / "audio").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "audio")
    (tmp_path / "audio" / "broken.mp3").write_bytes(b"not sound")
    names = [*(file.name for file in files), "broken.mp3", "missing.mp3"]
    path = tmp_path / "next.csv"
    lines = [f"audio/{name},,{'model' if k % 5 else 'random'}" for k, name in enumerate(names)]
    path.write_text("\n".join(["path,label,chosen", *lines, ""]))
    return path


def rows(table):
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decided(table):
    return [(row["label"], row["decision"]) for row in rows(table) if row.get("decision")]


def shows(page, table, number):
    name = rows(table)[number]["path"].rpartition("/")[2]
    expect(page.locator("#song-name")).to_have_text(name)


def test_ten_songs_by_keys_with_a_kill_in_the_middle(chrome, table):
    said = []  # what the pages decided, in the order of the songs
    first = Labelling(table)
    with opened(chrome, first.address, refused=None) as page:
        for number, (key, wanted) in enumerate(
            [("1", "waltz"), ("2", "march"), ("0", ""), ("3", "drift"), ("s", "")]
        ):
            shows(page, table, number)
            expect(page.locator("#length")).to_have_text("0:18")
            page.keyboard.press(key)
            decision = {"0": "none", "s": "skipped"}.get(key, "labelled")
            said.append((wanted, decision))
            shows(page, table, number + 1)
            assert decided(table) == said  # on the disk before the next song shows
        first.kill()
        page.keyboard.press("1")
        expect(page.locator("#problem")).to_contain_text("Not saved: the server cannot be reached")
        shows(page, table, 5)
    assert decided(table) == said
    with Labelling(table) as second, opened(chrome, second.address, refused=None) as page:
        shows(page, table, 5)
        expect(page.locator("#so-far")).to_have_text("Song 6 of 12. 5 decided, 7 to go")
        page.keyboard.press("n")
        page.keyboard.type("2 voices, 1 guitar")
        page.keyboard.press("Enter")
        page.keyboard.press("2")
        shows(page, table, 6)
        page.keyboard.press("1")
        shows(page, table, 7)
        page.keyboard.press("u")  # and another label for it
        shows(page, table, 6)
        assert rows(table)[6]["decision"] == ""
        page.keyboard.press("3")
        for number, key in ((7, "1"), (8, "2"), (9, "3")):
            shows(page, table, number)
            page.keyboard.press(key)
        shows(page, table, 10)
    found = rows(table)
    assert [row["label"] for row in found[:10]] == [
        *("waltz", "march", "", "drift", "", "march", "drift", "waltz", "march", "drift"),
    ]  # fmt: skip
    assert found[5]["note"] == "2 voices, 1 guitar"
    assert [row["chosen"] for row in found] == ["model" if k % 5 else "random" for k in range(12)]


def test_it_plays_prefetches_and_says_what_it_cannot_play(chrome, table):
    with Labelling(table) as server, opened(chrome, server.address, refused=None) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
        page.reload()
        shows(page, table, 0)
        expect(page.locator("#length")).to_have_text("0:18")
        page.keyboard.press("Space")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#clock")).to_have_text("0:10", timeout=5000)
        page.keyboard.press("Space")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        assert {"songs/1/audio", "songs/1/wave"} <= set(asked)  # the next, before it shows
        assert "songs/2/audio" not in asked
        page.keyboard.press("1")
        shows(page, table, 1)
        expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")  # it plays at once
        assert asked.count("songs/1/audio") == 1
        for number in range(1, 10):
            shows(page, table, number)
            page.keyboard.press("2")
        shows(page, table, 10)
        expect(page.locator("#unplayable")).to_contain_text("not an audio file that can be read")
        page.keyboard.press("s")
        expect(page.locator("#unplayable")).to_contain_text("there is no such file")
        page.keyboard.press("s")
        expect(page.locator("#done-title")).to_have_text("All 12 songs are decided.")
        expect(page.locator("#done-says")).to_contain_text("10 labelled, 2 skipped")
        picture(page, "label-done")
        page.click("#again")
        shows(page, table, 10)
        page.keyboard.press("s")
        shows(page, table, 11)
        page.keyboard.press("0")
        expect(page.locator("#done-says")).to_contain_text("1 none of the labels, 1 skipped")
        page.keyboard.press("u")
        shows(page, table, 11)


def test_what_the_browser_cannot_play_is_decoded(chrome, table):
    """No browser but Safari plays AIFF; two of the songs become that."""
    for row in rows(table)[:2]:
        source = table.parent / row["path"]
        samples, rate = soundfile.read(source)
        soundfile.write(source, samples, rate, format="AIFF", subtype="PCM_16")
    with Labelling(table) as server, opened(chrome, server.address, refused=None) as page:
        with page.expect_response("**/songs/0/audio?decoded=true") as answer:
            page.reload()
        assert answer.value.status == 200
        shows(page, table, 0)
        expect(page.locator("#length")).to_have_text("0:18")
        page.keyboard.press("Space")
        expect(page.locator("#clock")).to_have_text("0:01", timeout=5000)
        expect(page.locator("#unplayable")).to_be_hidden()
        decoded = requests.get(answer.value.url, timeout=20)
        assert decoded.headers["content-type"] == "audio/wav"
        sound, rate = soundfile.read(io.BytesIO(decoded.content))
        assert (len(sound) / rate) == pytest.approx(18, abs=0.2)


def test_several_labels_are_pressed_and_saved(chrome, table):
    with Labelling(table, "--multilabel") as server, opened(chrome, server.address) as page:
        shows(page, table, 0)
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_contain_text("No label is chosen")
        for key in ("1", "3", "2", "3"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        shows(page, table, 1)
        page.keyboard.press("0")
        shows(page, table, 2)
    assert [(row["labels"], row["decision"]) for row in rows(table)[:3]] == [
        ("march;waltz", "labelled"), ("", "none"), ("", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_it_fits_a_phone_and_a_desk(chrome, table, width, height, scheme):
    with (
        Labelling(table) as server,
        opened(chrome, server.address, width, height, scheme, refused=None) as page,
    ):
        shows(page, table, 0)
        expect(page.locator("#length")).to_have_text("0:18")
        page.click("text=march")
        shows(page, table, 1)
        expect(page.locator("#length")).to_have_text("0:18")
        page.wait_for_timeout(300)
        picture(page, f"label-{width}-{scheme}")
        for part in ("html", "body", "#song", ".player", "#choices"):
            inside = page.locator(part).evaluate("node => node.scrollWidth <= node.clientWidth + 1")
            assert inside, f"{part} is wider than its place"
        last = page.locator("#undo").bounding_box()
        assert last["y"] + last["height"] <= height  # all buttons are reached without scrolling


def test_strangers_are_refused(table):
    token = "a token of some letters"
    with Labelling(table, "--token", token) as server:
        bearer = {"authorization": f"Bearer {token}"}
        for path in ("songs", "songs/0/audio", "songs/0/wave"):
            assert requests.get(server.url + path, timeout=20).status_code == 401
            assert requests.get(server.url + path, headers=bearer, timeout=20).status_code == 200
        what = {"decision": "labelled", "labels": ["waltz"]}
        post = {"url": f"{server.url}songs/0", "json": what, "timeout": 20}
        assert requests.post(**post).status_code == 401
        other = {**bearer, "origin": "http://elsewhere.example"}
        assert requests.post(**post, headers=other).status_code == 403
        rebound = {**bearer, "host": "elsewhere.example"}
        assert requests.post(**post, headers=rebound).status_code == 421
        assert decided(table) == []
        assert requests.post(**post, headers=bearer).json()["decision"] == "labelled"
        bad = {**post, "json": what | {"labels": ["polka"]}}
        assert requests.post(**bad, headers=bearer).status_code == 409
        for path in ("songs/99/audio", "songs/-1/wave", "songs/..%2Fnext.csv/audio"):
            status = requests.get(server.url + path, headers=bearer, timeout=20).status_code
            assert status in (404, 422)
        assert decided(table) == [("waltz", "labelled")]


def test_any_kill_leaves_every_answered_decision(table):
    for number in range(8):
        with Labelling(table) as server:
            answer = requests.post(
                f"{server.url}songs/{number}", json={"decision": "labelled", "labels": ["drift"]},
                timeout=20,
            )  # fmt: skip
            assert answer.status_code == 200
            os.kill(server.process.pid, signal.SIGKILL)
        assert decided(table) == [("drift", "labelled")] * (number + 1)
