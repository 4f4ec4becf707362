"""What greets people who want to help: the map of the code, the Makefile, CI, and the forms."""

import re
import subprocess
from pathlib import Path

import songbag

ROOT = Path(__file__).parent.parent


def test_the_map_of_the_code_is_what_the_files_say():
    from docs.make_code_map import page

    written = (ROOT / "docs" / "explanation" / "code-map.md").read_text()
    assert written == page(), "run: PYTHONPATH=. python docs/make_code_map.py"
    rows = re.findall(r"^\| `(\w+)\.py` \| (.*) \|$", written, re.M)
    files = [path for path in (ROOT / "songbag").rglob("*.py") if path.name != "__init__.py"]
    assert sorted(name for name, _ in rows) == sorted(path.stem for path in files)
    assert all(text.endswith(".") for _, text in rows)


def test_make_help_lists_every_target():
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    listed = dict(re.findall(r"^make (\S+) +(.+)$", shown, re.M))
    phony = re.findall(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert set(listed) == set(" ".join(phony).split())


def test_ci_runs_what_exists():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "- run: .ci/run\n" in text
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    named = re.findall(r"tests/[\w./]+", text)
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {songbag.__version__}\n" in text
    assert "\nlicense: MIT\n" in text
