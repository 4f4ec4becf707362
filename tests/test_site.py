"""The site of the pages: every link holds, nothing is asked of another host, search works alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//[^\"]+")


@pytest.mark.full
def test_the_site_is_whole_and_needs_no_network(tmp_path):
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", ROOT / "docs"]
    done = subprocess.run([*command, ROOT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.html")}
    sources = {*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.ipynb")}
    assert {str(page.relative_to(ROOT).with_suffix(".html")) for page in sources} <= pages
    for page in pages:
        assert not ELSEWHERE.findall((tmp_path / page).read_text()), page
    assert "docs/index.html" in (tmp_path / "index.html").read_text()
    assert "attent" in (tmp_path / "searchindex.js").read_text()
    assert (tmp_path / "examples" / "own_songs.html").read_text().count("<img") >= 2
