"""The report in a real browser: heard, by keyboard, small, dark, printed, without scripts."""

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from songbag.report.write import write_report
from songbag.storage.files import write_json
from tests.helpers.report_pages import all_wrong, compared, copied_run, leaked, two_models

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
ARGUMENTS = [
    "--no-sandbox",  # tests may run as root
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
KINDS = ("run", "comparison", "leakage", "models")

# The contrast of every text with what lies behind it, lowest first.
CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, style") || !element.getClientRects().length) continue;
    const behind = [];
    for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const back = ["white", ...behind];
    const a = light(paint(back)), b = light(paint([...back, getComputedStyle(element).color]));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim().slice(0, 60)]);
  }
  return found.sort((x, y) => x[0] - y[0]).slice(0, 5);
}"""


@pytest.fixture(scope="module")
def chrome():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(trained, songs, tmp_path_factory):
    """A page of every kind."""
    folder = tmp_path_factory.mktemp("pages")
    run = all_wrong(copied_run(trained, songs, folder))
    found = {"run": write_report(run)}
    for kind, values in (("comparison", compared(systems=9)), ("leakage", leaked())):
        (folder / kind).mkdir()
        write_json(folder / kind / f"{kind}.json", values)
        found[kind] = write_report(folder / kind)
    values = two_models(trained, songs, folder / "models")
    write_json(folder / "models" / "comparison.json", values)
    found["models"] = write_report(folder / "models")
    return found


@contextmanager
def opened(browser, path, width=1280, scheme="light", script=True):
    """Open a page from the disk and afterwards hold that it stayed calm and at home."""
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert not said
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    context.close()


def until(page, expression, seconds=20):
    """Wait until something is true; Playwright's own waiting is forbidden by the page's policy."""
    last = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < last, expression
        page.wait_for_timeout(20)


def picture(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report-{name}.png", full_page=True)


def test_a_walk_over_the_report(chrome, pages):
    """The windows that made a mistake are heard, one at a time, and marked while they sound."""
    with opened(chrome, pages["run"]) as page:
        picture(page, "run-light")
        buttons = page.locator("button.play")
        assert buttons.count() >= 4
        assert not page.locator("audio:visible").count()
        song = page.locator(".song").first
        buttons.nth(0).click()
        assert buttons.nth(0).get_attribute("aria-pressed") == "true"
        until(page, "document.querySelectorAll('audio')[0].currentTime > 0.05")
        assert song.locator(".here").is_visible()
        buttons.nth(1).click()
        until(page, "document.querySelectorAll('audio')[1].currentTime > 0.05")
        assert page.evaluate("document.querySelectorAll('audio')[0].paused")
        assert page.locator("button[aria-pressed=true]").count() == 1

        # By keyboard: Tab reaches every button, Space stops, Enter plays.
        buttons.nth(0).focus()
        page.keyboard.press("Tab")
        assert buttons.nth(1).evaluate("one => one === document.activeElement")
        page.keyboard.press("Space")
        assert not page.locator("button[aria-pressed=true]").count()
        assert not song.locator(".here").is_visible()
        page.keyboard.press("Enter")
        until(page, "!document.querySelectorAll('audio')[1].paused")
        # What has sounded to its end is no longer marked.
        page.evaluate("document.querySelectorAll('audio')[1].currentTime = 100")
        until(page, "!document.querySelector('button[aria-pressed=true]')")


def test_songs_whose_answer_changed_can_be_heard(chrome, pages):
    with opened(chrome, pages["models"], width=390) as page:
        picture(page, "models-390-light")
        card = page.locator(".song").first
        assert "became wrong" in card.inner_text()
        assert ", now " in card.inner_text()
        button = card.locator("button.play").first
        button.click()
        until(page, "document.querySelectorAll('audio')[0].currentTime > 0.05")
        assert button.get_attribute("aria-pressed") == "true"


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_readable_in_every_size_and_light(chrome, pages, kind, width, scheme):
    with opened(chrome, pages[kind], width, scheme) as page:
        picture(page, f"{kind}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        lowest = page.evaluate(CONTRASTS)
        assert lowest[0][0] >= 4.5, lowest
        for name in ("--for", "--against", "--mark"):  # what drawings are made of
            paint = "name => getComputedStyle(document.documentElement).getPropertyValue(name)"
            colours = [page.evaluate(paint, one).strip() for one in (name, "--card")]
            assert ratio(*colours) >= 3, name
        small = "all => all.filter(one => one.getBoundingClientRect().height < 24).length"
        assert not page.locator("button:visible").evaluate_all(small)


def ratio(*colours):
    """Return the contrast of two colours such as #0b7267 (WCAG 2)."""
    lights = []
    for colour in colours:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        lights.append(sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_printed_page_is_light_whole_and_without_players(chrome, pages, kind, tmp_path):
    with opened(chrome, pages[kind], scheme="dark") as page:
        page.emulate_media(media="print")
        paper = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
        assert page.evaluate(paper).strip() == "#1f1c17"
        assert not page.locator("button:visible, audio:visible").count()
        page.set_viewport_size({"width": 718, "height": 1000})  # A4 within its margins
        picture(page, f"{kind}-print")
        page.emulate_media(media=None)
        data = page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert data.startswith(b"%PDF")
        assert page.locator("details:not([open])").count() == 0
        assert len(data) > 20_000


@pytest.mark.full
def test_without_scripts_the_browsers_own_players_are_there(chrome, pages):
    with opened(chrome, pages["run"], script=False) as page:
        assert not page.locator("button.play:visible").count()
        assert page.locator("audio:visible").count() == page.locator("audio").count() > 0


@pytest.mark.full
def test_the_page_is_a_tree_that_can_be_read_aloud(chrome, pages):
    """Roles and names as assistive technology gets them."""
    with opened(chrome, pages["run"]) as page:
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("main").count() == 1
        for name in ("Confusion matrix", "Figures per label", "All figures"):
            group = page.get_by_role("group", name=name)
            assert group.get_by_role("table").count() == 1
            assert group.get_by_role("rowheader").count() >= 3
        for one in page.get_by_role("img").all():
            assert len(one.get_attribute("aria-label")) > 10
        plays = page.get_by_role("button")
        names = plays.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        assert all(name.startswith("Play 0:") and " a window for " in name for name in names)
