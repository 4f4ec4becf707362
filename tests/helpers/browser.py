"""A real Chromium for the tests of the page, and what it must never do."""

import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
ARGUMENTS = [
    "--no-sandbox",  # tests may run as root
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    return found


@contextmanager
def browser():
    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def opened(browser, address, width=1280, height=900, scheme="light", refused=0, home=None):
    """Open a page and afterwards hold that it stayed calm and at home.

    ``refused`` is how many answers are errors of the API, which Chromium logs by itself;
    None is any number. ``home`` is what addresses that it asks for begin with, by default its own.
    """
    size = {"width": width, "height": height}
    context = browser.new_context(
        viewport=size, color_scheme=scheme, device_scale_factor=2 if width < 500 else 1
    )
    page = context.new_page()
    home = home or address.partition("#")[0]
    said, asked = [], []

    def note(message):
        # Chromium warns of fonts that wait, where the machine is busy.
        if message.type != "log" and "was preloaded using link preload" not in message.text:
            said.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(str(error)))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    away = [url for url in asked if not url.startswith((home, f"blob:{home}", "data:"))]
    assert not away, away
    loud = [text for text in said if "Failed to load resource" not in text]
    assert not loud, loud
    assert refused is None or len(said) == refused, said
    context.close()


def until(page, expression):
    """Wait for an expression in a page whose policy forbids Playwright's own waiting (eval)."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(30)


def drop(page, *paths):
    """Drop files on the middle of the page, as a hand does."""
    session = page.context.new_cdp_session(page)
    middle = {
        name: page.viewport_size[side] / 2 for name, side in (("x", "width"), ("y", "height"))
    }
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **middle})
    session.detach()


def all_answered(page):
    """Wait until every song has its answer."""
    expect(page.locator("#songs")).to_be_visible()
    expect(page.locator("#songs-title")).to_have_text(re.compile(r"^\d+ songs?$"), timeout=30_000)


def picture(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
