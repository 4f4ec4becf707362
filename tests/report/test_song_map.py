"""The page of a map in a real browser: what it draws, finds and shows, and what it never runs."""

import itertools
import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.data.song import Song
from songbag.report.song_map import DARK, LIGHT, Colouring, write_song_map
from tests.helpers.browser import browser, opened, picture, until
from tests.helpers.report_pages import Page

HOSTILE = '</script><script>document.title="run"</script><!-- \'"&<img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def chrome():
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """A page of three songs that can be heard, one of them a part of its file."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "songs").mkdir()
    songs = []
    for number, genre in enumerate(["waltz", "drift", "gallop"]):
        file = folder / "songs" / f"{genre} #{number}.wav"
        write_waveform(file, synthesise(genre, np.random.default_rng(number), 3.0, 22050), 22050)
        songs.append(Song(f"{genre}.wav", str(file), genre, start=float(number == 2)))
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    colourings = [
        Colouring("label", [song.label for song in songs]),
        Colouring("confidence", [0.31, 0.998, None]),
    ]
    path = folder / "map.html"
    write_song_map(path, songs, points, colourings, [f"{HOSTILE}: not audio"])
    return path


def data_of(path):
    (text,) = re.findall(
        '<script type="application/json" id="data">(.*?)</script>', path.read_text()
    )
    return json.loads(text)


def test_links_are_relative_and_the_page_asks_for_nothing(page_path):
    data = data_of(page_path)
    assert data["files"] == [
        "songs/waltz%20%230.wav",
        "songs/drift%20%231.wav",
        "songs/gallop%20%232.wav#t=1",
    ]
    page = Page(page_path)
    assert "1 song could not be read" in page.said
    assert not page.all("link") + page.all("img") + page.all("iframe")
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
    (policy,) = (one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy.replace(
        "style-src 'unsafe-inline'", ""
    )


def test_a_folder_that_is_a_link_makes_no_detour(tmp_path):
    (tmp_path / "real" / "music").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "music")
    songs = [Song("a", str(tmp_path / "link" / "a.mp3")), Song("b", "/elsewhere/b.mp3")]
    write_song_map(tmp_path / "link" / "m.html", songs, np.eye(2), [], [])
    first, second = data_of(tmp_path / "link" / "m.html")["files"]
    assert first == "a.mp3" and second.startswith("../") and second.endswith("/elsewhere/b.mp3")


def test_it_draws_searches_and_plays_a_song(chrome, page_path):
    with opened(chrome, page_path.as_uri(), home=page_path.parent.as_uri()) as page:
        until(page, "order.length === 3 && canvas.width > 300")
        drawn = "image.data.filter((value, k) => k % 4 === 3 && value).length"
        until(page, f"{drawn} > 60")
        every = page.evaluate(drawn)
        page.locator("#classes button", has_text="waltz").click()
        until(page, f"{drawn} < {every}")
        page.locator("#toggle").click()

        page.fill("#search", "DRIFT")
        expect(page.locator("#found button")).to_have_text(["drift.wav"])
        page.press("#search", "Enter")
        expect(page.locator("#song")).to_have_text("drift.wav")
        expect(page.locator("#facts")).to_contain_text("99.8")
        page.evaluate("byId('player').play()")
        until(page, "byId('player').currentTime > 0.1")
        page.fill("#search", "nobody")
        expect(page.locator("#found")).to_have_text("no song has that in its name")
        page.fill("#search", "")
        page.locator("#close").click()
        expect(page.locator("#card")).to_be_hidden()

        # A press on a point shows its song, and a song without a number says so in the legend.
        page.locator("#whole").click()
        x, y = page.evaluate(
            "[2].map(k => [(data.x[k] - view.x) * view.scale + canvas.clientWidth / 2,"
            " (data.y[k] - view.y) * view.scale + canvas.clientHeight / 2])[0]"
        )
        page.locator("#map").click(position={"x": x, "y": y})
        expect(page.locator("#song")).to_have_text("gallop.wav")
        assert page.locator("#file").get_attribute("href").endswith("#t=1")
        page.select_option("#colouring", "confidence")
        expect(page.locator("#classes")).to_contain_text("no confidence")


def test_wheel_fingers_and_keys_move_it_on_a_phone_in_the_dark(chrome, page_path):
    with opened(chrome, page_path.as_uri(), 390, 844, "dark") as page:
        until(page, "canvas.dataset.sized")
        box = page.locator("#map").bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        upright = page.evaluate("view.scale")
        page.set_viewport_size({"width": 844, "height": 390})  # turned
        until(page, f"view.scale < {upright}")
        page.set_viewport_size({"width": 390, "height": 844})
        until(page, f"view.scale === {upright}")
        scale = page.evaluate("view.scale")
        page.mouse.move(*middle)
        page.mouse.wheel(0, -300)
        until(page, f"view.scale > 1.2 * {scale}")
        session = page.context.new_cdp_session(page)
        scale = page.evaluate("view.scale")
        for kind, apart in (
            ("touchStart", 40),
            ("touchMove", 60),
            ("touchMove", 80),
            ("touchEnd", 0),
        ):
            points = [
                {"x": middle[0] + side * apart, "y": middle[1], "id": side + 1} for side in (-1, 1)
            ]
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []}
            )
        until(page, f"Math.abs(view.scale / {scale} - 2) < 0.05")
        x = page.evaluate("view.x")
        page.focus("#map")
        page.keyboard.press("ArrowLeft")
        until(page, f"view.x < {x}")
        page.keyboard.press("Escape")
        page.fill("#search", "waltz")
        page.press("#search", "Enter")
        card = page.locator("#card").bounding_box()
        assert card["x"] >= 0 and card["x"] + card["width"] <= 390
        picture(page, "map-phone")


def test_names_of_strangers_are_text(chrome, tmp_path):
    songs = [Song(HOSTILE, str(tmp_path / "a.wav"), HOSTILE, HOSTILE) for _ in range(2)]
    values = [song.label for song in songs]
    write_song_map(tmp_path / "m.html", songs, np.eye(2), [Colouring(HOSTILE, values)], [HOSTILE])
    with opened(chrome, (tmp_path / "m.html").as_uri()) as page:
        page.fill("#search", "onerror")
        page.press("#search", "Enter")
        expect(page.locator("#song")).to_have_text(HOSTILE)
        expect(page.locator("#classes button")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0
        assert page.title() == "2 songs · m · Songbag"


def test_twenty_thousand_points_stay_fluid(chrome, tmp_path):
    """A frame takes 10 ms on a free core; the limit leaves room for a busy machine."""
    rng = np.random.default_rng(0)
    songs = [Song(f"{k}.mp3", f"/music/{k}.mp3", f"g{k % 40}") for k in range(20_000)]
    labels = Colouring("label", [song.label for song in songs])
    write_song_map(tmp_path / "m.html", songs, rng.normal(size=(20_000, 2)), [labels], [])
    with opened(chrome, (tmp_path / "m.html").as_uri()) as page:
        until(page, "order.length === 20000 && image")
        times = page.evaluate(
            "Array.from({ length: 20 }, () => { const begun = performance.now(); draw(); return performance.now() - begun; })"
        )
        print(f"a frame of 20,000 points: {np.median(times):.1f} ms")
        assert np.median(times) < 60


def test_frequent_classes_have_paints_of_their_own_and_the_rest_are_counted():
    painted = Colouring("artist", [str(k % 50) for k in range(120)] + [None]).painted()
    paints = [(one["light"], one["shape"]) for one in painted["classes"]]
    assert len(set(paints[:32])) == 32
    assert [one["name"] for one in painted["classes"][32:]] == ["18 others", "no artist"]
    assert [painted["classes"][k]["name"] for k in painted["of"][:2]] == ["0", "1"]
    assert painted["of"][-1] == 33 and painted["texts"][-1] is None
    sets = Colouring("label", ["", "calm;sad", None]).painted()
    assert sets["texts"] == ["none", "calm;sad", None] and len(sets["classes"]) == 3
    steps = Colouring("confidence", [0.999, 1.0, 0.3, 0.0]).painted()
    assert [one["name"] for one in steps["classes"]] == ["0 to 10 %", "30 to 40 %", "90 to 100 %"]
    assert steps["of"] == [2, 2, 1, 0]


# Machado, Oliveira and Fernandes (2009), severity 1: protanopia and deuteranopia.
BLIND = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    ]
)  # fmt: skip


@pytest.mark.parametrize(("colours", "paper"), [(LIGHT, "#fffefb"), (DARK, "#1d1b17")])
def test_colours_differ_for_the_colour_blind_and_from_the_paper(colours, paper):
    def linear(text):
        share = np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)

    def lab(rgb):
        to_xyz = np.array(
            [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        )
        xyz = np.clip(to_xyz @ rgb, 0, None) / [0.9505, 1, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for one, other in itertools.combinations(colours, 2):
        for seen in BLIND:
            first, second = (lab(np.clip(seen @ linear(colour), 0, 1)) for colour in (one, other))
            assert np.linalg.norm(first - second) > 20, (one, other)
    luminance = [
        np.dot(linear(colour), [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (*colours, paper)
    ]
    assert all(max(one, luminance[-1]) / min(one, luminance[-1]) > 3 for one in luminance[:-1])
