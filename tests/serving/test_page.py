"""The page in a real browser: what it shows, how it is used, and that it stays at home."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import requests
from playwright.sync_api import expect

from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.inference.model_file import load_model
from tests.helpers.browser import all_answered, browser, drop, opened, picture
from tests.helpers.serving_process import Server, with_card


@pytest.fixture(scope="module")
def chrome():
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(model_path, tmp_path_factory):
    with Server(model_path, tmp_path_factory.mktemp("server"), workers=2, max_megabytes=2) as one:
        yield one


@pytest.fixture(scope="module")
def mp3(tmp_path_factory):
    """A minute of stereo mp3."""
    path = tmp_path_factory.mktemp("mp3") / "minute waltz.mp3"
    left = synthesise("waltz", np.random.default_rng(3), 60.0, 44100)
    write_waveform(path, np.stack([left, 0.8 * left]), 44100, 128_000)
    return path


@pytest.fixture(scope="module")
def rows(model_path, mp3):
    """What `songbag predict --windows` says of the mp3."""
    command = [sys.executable, "-m", "songbag", "predict", str(model_path), mp3.name]
    songs, windows = (
        subprocess.run([*command, *more], cwd=mp3.parent, capture_output=True, text=True).stdout
        for more in ([], ["--windows"])
    )
    return songs, windows


def test_a_walk_over_the_page(chrome, server, mp3, rows, tmp_path):
    songs, windows = ([*csv.DictReader(io.StringIO(text))] for text in rows)
    (song,) = songs
    label = song["predicted"]
    bad = tmp_path / 'a <img src=x onerror="alert(1)">.mp3'
    bad.write_bytes(b"not sound")
    with opened(chrome, server.address, refused=1) as page:
        expect(page.locator("#knows")).to_contain_text(label)
        picture(page, "empty")
        drop(page, mp3, bad)
        all_answered(page)
        expect(page.locator("#verdict")).to_have_text(label)
        expect(page.locator("#sure")).to_contain_text("23 windows · 1:00")
        share = page.locator(".label-row", has_text=label).locator(".share").text_content()
        assert float(re.sub(r"[^\d.]", "", share)) == pytest.approx(
            100 * float(song[f"p_{label}"]), abs=0.6
        )

        # A click on a window's bar hears that window, at the window's own time.
        chart = page.locator("#chart")
        widths = page.locator("#leading li").evaluate_all("all => all.map(n => n.style.width)")
        assert sum(float(width.rstrip("%")) for width in widths) == pytest.approx(100, abs=0.1)
        box = chart.bounding_box()
        fifth = windows[4]
        middle = (float(fifth["start"]) + float(fifth["end"])) / 2
        page.mouse.click(box["x"] + box["width"] * middle / 60, box["y"] + box["height"] / 2)
        start = f"0:{float(fifth['start']):05.2f}"
        expect(page.locator("#window-title")).to_contain_text(f"Window 5 · {start}")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
        expect(page.locator("#clock")).to_have_text("0:10", timeout=5000)
        assert chart.get_attribute("aria-valuenow") == "5"
        assert start in chart.get_attribute("aria-valuetext")
        picture(page, "playing")
        wave = page.locator("#wave").bounding_box()
        page.mouse.click(wave["x"] + wave["width"] / 2, wave["y"] + 20)
        expect(page.locator("#clock")).to_have_text(re.compile("0:3[0-2]"))
        expect(page.locator("#window-title")).to_contain_text("Window 12")
        page.mouse.click(box["x"] + box["width"] * middle / 60, box["y"] + box["height"] / 2)

        # Leaving it out pools the others again.
        page.click("#leave")
        expect(page.locator("#without-says")).to_contain_text("Without 1 window")
        left = [float(row[f"p_{label}"]) for row in windows if row is not fifth]
        said = re.findall(r"([\d.]+)\s%", page.locator("#without-says").text_content())
        assert float(said[0]) == pytest.approx(100 * np.mean(left), abs=0.6)
        picture(page, "one-left-out")
        page.click("#restore")
        expect(page.locator("#without")).to_be_hidden()

        # The colours follow the label.
        page.click("#play")
        before = page.locator("#wave").screenshot()
        other = page.locator("input[name=label]").last.get_attribute("value")
        page.check(f'input[value="{other}"]')
        expect(page.locator(".of-label").first).to_have_text(other)
        assert page.locator("#wave").screenshot() != before

        # The bad file has its reason, and its name is only a name.
        page.click(".song.failed")
        expect(page.locator("#reason")).to_have_text("This is not a sound file that can be read.")
        expect(page.locator("#advice")).to_contain_text("Add the song as MP3, FLAC, WAV")
        expect(page.locator("#details")).to_contain_text("not an audio file that can be read")
        assert bad.name in page.locator("#details").text_content()
        assert page.locator("img").count() == 0
        picture(page, "bad-file")

        # What is saved is what `songbag predict` writes.
        with page.expect_download() as saved:
            page.click("#save-windows")
        assert saved.value.path().read_text() == rows[1]
        with page.expect_download() as saved:
            page.click("#save-csv")
        text = saved.value.path().read_text()
        assert text.startswith(rows[0])
        assert [row["status"] for row in csv.DictReader(io.StringIO(text))] == ["ok", "failed"]
        with page.expect_download() as saved:
            page.click("#save-json")
        found = json.loads(saved.value.path().read_text())
        assert [len(one["windows_detail"]) for one in found] == [23, 0]
        assert found[0]["confidence"] == pytest.approx(float(song["confidence"]), abs=1e-6)


def on(page):
    """What has the focus, by id or text."""
    return page.evaluate(
        "() => document.activeElement.id || document.activeElement.value "
        "|| document.activeElement.textContent.trim()"
    )


@pytest.mark.full
def test_with_the_keyboard_alone(chrome, server, mp3):
    with opened(chrome, server.address) as page:
        # Playwright takes file choosers over only after it is asked to, and does not wait for it.
        page.on("filechooser", lambda _: None)
        expect(page.locator("#knows")).to_contain_text("waltz")
        for _ in range(3):  # the way past everything, what the model is, the button
            page.keyboard.press("Tab")
        assert on(page) == "choose"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files([mp3])
        all_answered(page)
        expect(page.locator("#live")).to_contain_text(f"{mp3.name}: ")
        reached = []
        page.focus("#more")
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.append(on(page))
            if on(page) == "chart":
                break
        for stop in ("save-csv", "save-json", "clear", "play", "position", "chart"):
            assert stop in reached, reached
        ring = page.locator("#chart").evaluate("node => getComputedStyle(node).outlineStyle")
        assert ring == "solid"
        page.keyboard.press("End")
        expect(page.locator("#window-title")).to_contain_text("Window 23")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#window-title")).to_contain_text("Window 2 ")
        page.keyboard.press("Delete")
        expect(page.locator("#without")).to_be_visible()
        expect(page.locator("#live")).to_contain_text("Without 1 window")
        page.keyboard.press("Delete")
        expect(page.locator("#without")).to_be_hidden()
        page.keyboard.press("Enter")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
        page.focus("#play")
        page.keyboard.press("Space")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        page.focus("#position")
        page.keyboard.press("End")
        expect(page.locator("#clock")).to_have_text("1:00")
        page.focus("input[name=label]:checked")
        page.keyboard.press("ArrowDown")
        second = page.locator("input[name=label]").nth(1)
        expect(second).to_be_checked()
        expect(page.locator(".of-label").first).to_have_text(second.get_attribute("value"))
        page.focus("#about summary")
        page.keyboard.press("Enter")
        expect(page.locator("#figures")).to_contain_text("not in training")


@pytest.mark.full
def test_every_control_has_a_name(chrome, server, mp3):
    with opened(chrome, server.address) as page:
        drop(page, mp3)
        all_answered(page)
        page.click("#every summary")
        session = page.context.new_cdp_session(page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "slider", "radio", "link", "textbox", "progressbar", "group", "region"}
        named = {}
        for node in nodes:
            role = node.get("role", {}).get("value")
            if role in roles and not node["ignored"]:
                named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
        for role in ("button", "slider", "radio"):
            assert named[role] and all(named[role]), named
        assert {"Position in the song", "Window"} <= set(named["slider"])


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1600, 1000)])
def test_every_size_and_scheme(chrome, server, mp3, nine, width, height, scheme):
    name = f"{width}-{scheme}"
    long = nine / f"{'a very long name ' * 8}.mp3"
    long.write_bytes(mp3.read_bytes())
    with opened(chrome, server.address, width, height, scheme, refused=2) as page:
        expect(page.locator("#knows")).to_contain_text("waltz")
        picture(page, f"{name}-empty")
        drop(page, mp3, long, *sorted(path for path in nine.iterdir() if path != long))
        all_answered(page)
        page.locator("#chart").focus()
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Delete")
        expect(page.locator("#without")).to_be_visible()
        page.wait_for_timeout(500)
        picture(page, name)
        page.click("#every summary")
        for part in ("html", "body", "#answer", "#songs", ".player"):
            inside = page.locator(part).evaluate("node => node.scrollWidth <= node.clientWidth + 1")
            assert inside, f"{part} is wider than its place"
        assert page.locator("#answer").bounding_box()["width"] <= width
        page.get_by_title(long.name).click()
        expect(page.locator("#song-name")).to_have_text(long.name)
        picture(page, f"{name}-table")


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark")])
def test_the_page_of_addresses_is_made_of_the_description(chrome, server, width, height, scheme):
    made = requests.get(f"{server.url}/openapi.json", timeout=10).json()
    with opened(chrome, f"{server.url}/docs", width, height, scheme, home=server.url) as page:
        heads = page.locator(".address h2")
        expect(heads).to_have_count(sum(map(len, made["paths"].values())))
        shown = {"".join(text.split()) for text in heads.all_inner_texts()}
        assert {"POST/predict", "GET/readyz", "POST/models/genre/without"} <= shown
        expect(page.locator("pre", has_text="--data-binary").first).to_contain_text(
            f"curl --data-binary @song.mp3 {server.url}/predict"
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture(page, f"docs-{width}-{scheme}")


@pytest.mark.full
def test_what_goes_wrong_is_said(chrome, server, mp3, tmp_path):
    (tmp_path / "large.wav").write_bytes(bytes(3 << 20))
    with opened(chrome, server.address) as page:
        drop(page, tmp_path / "large.wav", mp3)
        all_answered(page)
        drop(page, mp3)
        all_answered(page)
        expect(page.locator("#advice")).to_contain_text("--max-megabytes")
        expect(page.locator("#details")).to_contain_text("files of up to 2 MB are accepted")
        expect(page.locator(".song-id").nth(2)).to_have_text(f"{mp3.name} (2)")
        with page.expect_download() as saved:
            page.click("#save-csv")
        found = [*csv.DictReader(io.StringIO(saved.value.path().read_text()))]
        assert [row["reason"] for row in found] == ["too_large", "", ""]
        page.click("#clear")
        expect(page.locator("#drop")).to_be_visible()


def test_thresholds_of_several_labels_are_shown(chrome, model_path, mp3, tmp_path):
    thresholds = (0.05, 0.55, 0.99)
    changes = {"multilabel": True, "thresholds": thresholds}
    path = with_card(model_path, tmp_path / "several.songbag", **changes)
    names = [
        f"A long name of an album that many songs share - {k:02d} take.mp3" for k in range(1, 8)
    ]
    for name in names:
        (tmp_path / name).write_bytes(mp3.read_bytes())
    with (
        Server(path, tmp_path) as server,
        opened(chrome, server.address, 390, 844) as page,
    ):
        labels = load_model(path).card.labels
        expect(page.locator("#knows")).to_contain_text(labels[0])
        drop(page, *(tmp_path / name for name in names))
        all_answered(page)
        expect(page.locator("#songs-title")).to_have_text("7 songs")
        given = set(page.locator(".song-says").first.text_content().split(", "))
        for label, threshold in zip(labels, thresholds, strict=True):
            row = page.locator(".label-row", has_text=label)
            expect(row.locator(".from")).to_have_text(f"from {100 * threshold:.0f}\u00a0%")
            assert ("given" in row.get_attribute("class").split()) == (label in given)
            bar, mark = (row.locator(f".bar{part}").bounding_box() for part in ("", " u"))
            assert mark["x"] + 1 - bar["x"] == pytest.approx(threshold * bar["width"], abs=1)
        # The list scrolls, and the ends of the names, which differ, are seen.
        assert len(set(page.locator(".song .end").all_text_contents())) == len(names)
        hidden = page.locator("#list").evaluate("list => list.scrollHeight - list.clientHeight")
        assert hidden > 50
        for k, name in enumerate(names[:3]):
            song = page.locator(".song").nth(k)
            assert song.locator(".song-id").text_content() == name
            end, whole, says = (
                song.locator(part).bounding_box() for part in (".end", ".song-id", ".song-says")
            )
            assert end["x"] + end["width"] <= whole["x"] + whole["width"] + 0.5
            assert whole["x"] + whole["width"] + 8 <= says["x"]
        picture(page, "several-labels")


def test_the_box_covers_the_chosen_window(chrome, server, mp3):
    with opened(chrome, server.address) as page:
        drop(page, mp3)
        all_answered(page)
        page.locator("#chart").focus()
        page.keyboard.press("ArrowRight")
        bars = page.locator("#chart rect:not(.column, .zero)")
        chosen, next_one = (bars.nth(k).bounding_box() for k in (1, 2))
        column = page.locator("#chart .column").bounding_box()
        middle = chosen["x"] + chosen["width"] / 2
        assert column["x"] + column["width"] / 2 == pytest.approx(middle, abs=1)
        assert column["width"] == pytest.approx(next_one["x"] - chosen["x"], abs=2)
        box, wave = (page.locator(part).bounding_box() for part in ("#chosen-span", "#wave"))
        begin, finish = re.findall(r"0:(\d+\.\d+)", page.locator("#window-title").text_content())
        seconds = page.locator("#position").get_attribute("max")
        left = float(begin) / float(seconds) * wave["width"]
        assert box["x"] - wave["x"] == pytest.approx(left, abs=1)
        wide = (float(finish) - float(begin)) / float(seconds) * wave["width"]
        assert box["width"] == pytest.approx(wide, abs=1)
        assert box["y"] + box["height"] <= column["y"]


@pytest.mark.full
def test_a_folder_may_be_dropped(chrome, server, songs, tmp_path):
    (tmp_path / "music" / "album").mkdir(parents=True)
    for number, path in enumerate(sorted((songs.parent / "audio").iterdir())[:3]):
        (tmp_path / "music" / "album" / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    with opened(chrome, server.address) as page:
        drop(page, tmp_path / "music")
        all_answered(page)
        assert page.locator(".song").count() == 3


@pytest.mark.full
def test_a_busy_server_is_asked_again(chrome, model_path, songs, tmp_path):
    files = sorted((songs.parent / "audio").iterdir())[:2]
    with Server(model_path, tmp_path, waiting=0) as small:
        (worker,) = small.workers()
        os.kill(worker, signal.SIGSTOP)
        with opened(chrome, small.address, refused=None) as page:
            drop(page, *files)
            expect(page.locator(".song", has_text="waiting")).to_have_count(1)
            expect(page.locator(".song", has_text="working")).to_have_count(1)
            os.kill(worker, signal.SIGCONT)
            all_answered(page)
            assert page.locator(".song.failed").count() == 0


@pytest.mark.full
def test_the_token_travels_by_a_key_that_works_once(chrome, model_path, mp3, tmp_path):
    token = "a token of some letters"
    with Server(model_path, tmp_path, token=token) as server:
        with opened(chrome, server.address) as page:
            expect(page.locator("#knows")).to_contain_text("waltz")
            assert "#" not in page.url
            drop(page, mp3)
            all_answered(page)
            page.reload()
            expect(page.locator("#knows")).to_contain_text("waltz")
        with opened(chrome, server.address, refused=2) as page:  # the key is spent: 403, 401
            expect(page.locator("#ask")).to_be_visible()
            picture(page, "token")
            page.fill("#token", token)
            page.keyboard.press("Enter")
            expect(page.locator("#knows")).to_contain_text("waltz")


@pytest.mark.full
def test_emotify_songs_are_shown(chrome, emotify, model_path, tmp_path):
    files = sorted((emotify.parent / "audio").iterdir())[::60]
    with (
        Server(model_path, tmp_path, workers=2) as server,
        opened(chrome, server.address) as page,
    ):
        drop(page, *files)
        all_answered(page)
        assert page.locator(".song.failed").count() == 0
        page.click("#play")
        expect(page.locator("#clock")).to_have_text("0:01", timeout=5000)
        picture(page, "emotify")
