"""The exported file in a real browser, by the example page, says what the library says."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

import songbag

pytestmark = pytest.mark.full

EXAMPLE = Path(__file__).parent.parent / "examples" / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

DROP = """([name, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", options));
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def folder(model_path, tmp_path_factory):
    """The example page with its runtime and a model."""
    if CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("Chromium or npm is not here")
    folder = tmp_path_factory.mktemp("browser")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if (EXAMPLE / "node_modules").exists():
        (folder / "node_modules").symlink_to(EXAMPLE / "node_modules")
    else:
        subprocess.run(["npm", "install", "--silent"], cwd=folder, check=True)
    songbag.load(model_path).export(folder / "genre.onnx")
    return folder


@pytest.fixture
def address(folder):
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda one: page.faults.append(one.url) if _outside(one.url) else None)
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_function("document.getElementById('said').textContent == 'Ready.'")
        yield page
        assert page.faults == []
        browser.close()


def _outside(url):
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def ask(page, song):
    """Drop a song on the page and return what it says."""
    page.evaluate("window.answer = null")
    page.evaluate(DROP, [song.name, base64.b64encode(song.read_bytes()).decode()])
    page.wait_for_function(
        "window.answer || /did not work/.test(document.getElementById('said').textContent)"
    )
    return page.evaluate("window.answer")


def compare(page, model_path, song, tolerance):
    model = songbag.load(model_path)
    found = ask(page, song)
    row = model.predict(song).iloc[0]
    columns = [f"p_{label}" for label in model.labels]
    np.testing.assert_allclose(found["probabilities"], list(row[columns]), atol=tolerance)
    windows = model.predict(song, windows=True)
    np.testing.assert_allclose(found["window_probabilities"], windows[columns], atol=tolerance)
    assert f"{song.name}: {row['predicted']} " in page.text_content("#said")
    return windows


def test_a_song_at_the_model_s_rate_has_the_library_s_answer(page, model_path, tmp_path):
    import soundfile

    from songbag.audio.synthesis import synthesise

    song = tmp_path / "waltz.wav"
    soundfile.write(
        song, synthesise("waltz", np.random.default_rng(5), 60.0), 22050, subtype="PCM_16"
    )
    windows = compare(page, model_path, song, 1e-4)
    assert page.locator("tbody tr").count() == 3
    assert page.locator("tbody tr:first-child svg rect").count() == len(windows) == 23
    heights = page.eval_on_selector_all(
        "tbody tr:first-child svg rect", "bars => bars.map(bar => +bar.getAttribute('height'))"
    )
    np.testing.assert_allclose(heights, windows.iloc[:, 0], atol=1e-4)
    page.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_song_at_another_rate_in_stereo_is_near(page, model_path, tmp_path, rate):
    import soundfile

    from songbag.audio.synthesis import synthesise

    left = synthesise("gallop", np.random.default_rng(6), 30.0, rate)
    right = synthesise("drift", np.random.default_rng(7), 30.0, rate)
    song = tmp_path / "both.wav"
    soundfile.write(song, 0.9 * np.stack([left, right], axis=1), rate, subtype="PCM_16")
    # Two resamplers; with the browser's own one windows differ by up to 0.7.
    compare(page, model_path, song, 0.03)


@pytest.mark.parametrize("kind", [".mp3", ".flac", ".m4a", ".opus"])
def test_compressed_songs_are_near(page, model_path, songs, kind):
    song = next(path for path in sorted((songs.parent / "audio").iterdir()) if path.suffix == kind)
    compare(page, model_path, song, 0.03)


def test_what_is_no_song_or_no_model_is_said(page, tmp_path):
    photo = tmp_path / "photo.mp3"
    photo.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(1000))
    assert ask(page, photo) is None
    assert "did not work" in page.text_content("#said")
    page.set_input_files("#model", photo)
    page.wait_for_function("/not an ONNX file/.test(document.getElementById('said').textContent)")
