"""Write docs/serving.png: the page on songs of `songbag demo` that its model never heard."""

import sys
import tempfile
from pathlib import Path

from songbag.storage.files import read_csv
from tests.helpers.browser import all_answered, browser, drop, expect, opened
from tests.helpers.serving_process import Server


def main(demo: Path) -> None:
    """Take the picture with the model and the test songs of a demo folder."""
    predictions = read_csv(demo / "demo-training" / "predictions.csv")
    rows = [row for row in predictions if row["predicted"] == row["label"]]
    files = [demo / row["id"] for row in rows[:: max(1, len(rows) // 4)]][:5]
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(demo / "demo.songbag", folder) as server,
        browser() as chrome,
        opened(chrome, server.address, 1280, 860) as page,
    ):
        drop(page, *files)
        all_answered(page)
        page.locator("#chart").focus()
        page.keyboard.press("End")
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
        page.locator("#chart").blur()
        expect(page.locator("#window-title")).to_contain_text("Window 7")
        page.wait_for_timeout(500)
        page.screenshot(path=Path(__file__).with_name("serving.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo").resolve())  # the browser is elsewhere
