"""Every command and snippet of the README and the tutorial runs."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(name):
    return BLOCK.findall((ROOT / name).read_text())


def run(kind, text, folder):
    """Run one block in a folder, as a user would; warnings are errors."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    # Keras 3.15 hands tensors to NumPy 2 in a way that NumPy deprecates.
    quiet = "error,ignore:__array__ implementation:DeprecationWarning"
    environment |= {"PYTHONWARNINGS": quiet}
    command = ["sh", "-ec", text] if kind == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_the_tutorial_runs(tmp_path):
    python = []
    for kind, text in blocks("docs/tutorial.md"):
        if kind == "python":
            python.append(text)
            continue
        run(
            "sh",
            text.replace("--epochs 15", "--epochs 3").replace("--folds 3", "--folds 2"),
            tmp_path,
        )  # the same, sooner
    run("python", "\n".join(python).replace("epochs=15", "epochs=3"), tmp_path)


def test_the_page_on_tables_runs(tmp_path):
    python = [text for kind, text in blocks("docs/tables.md") if kind == "python"]
    assert len(python) >= 6
    run("python", "\n".join(python), tmp_path)


def test_the_page_on_poolings_runs(tmp_path, request):
    with open(tmp_path / "windows.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["song", "label", "artist", "v1", "v2"])
        for k in range(24):
            for window in range(4):
                values = (k % 2 + 0.3 * window, (k * 7 + window * 3) % 5)
                rows.writerow([f"song {k}", "ab"[k % 2], f"artist {k // 2}", *values])
    shell = [text for kind, text in blocks("docs/poolings.md") if kind == "sh"]
    assert len(shell) == 3
    for text in shell:
        if "songbag compare" in text and not request.config.getoption("--full"):
            continue  # the README's comparison runs always
        sooner = text.replace("--folds 3", "--folds 2").replace(
            "--losses song,window", "--losses song"
        )
        run("sh", sooner, tmp_path)


def test_the_page_on_checking_runs(tmp_path):
    kinds = [kind for kind, _ in blocks("docs/check.md")]
    assert kinds == ["sh", "python", "sh"]
    for kind, text in blocks("docs/check.md"):
        run(kind, text, tmp_path)
    assert (tmp_path / "music" / "cleaned.csv").is_file()


def test_the_page_on_serving_runs(model_path, songs, tmp_path):
    from songbag.cli.serve import serve
    from tests.helpers.serving_process import Server

    shutil.copy(next((songs.parent / "audio").glob("*.mp3")), tmp_path / "song.mp3")
    known = {name for option in serve.params for name in option.opts}
    asked = 0
    with Server(model_path, tmp_path) as server:
        for kind, text in blocks("docs/serving.md"):
            if "songbag serve" in text:
                assert set(re.findall(r" (--[a-z-]+)", text)) <= known
            else:
                run(kind, text.replace("http://127.0.0.1:8765", server.url), tmp_path)
                asked += 1
    assert asked == 3


def test_the_page_on_collections_runs(songs, tmp_path, request):
    shutil.copytree(songs.parent / "audio", tmp_path / "audio")
    shutil.copy(songs, tmp_path / "songs.csv")
    kinds = [kind for kind, _ in blocks("docs/collections.md")]
    assert kinds == ["sh"] * 6 + ["python"]
    for kind, text in blocks("docs/collections.md"):
        if "songbag train" in text and not request.config.getoption("--full"):
            continue  # trainings take their time
        run(kind, re.sub(r"(-m songbag|songbag) train", r"\1 train --epochs 1", text), tmp_path)


@pytest.fixture
def own_songs(songs, tmp_path):
    """What the README's reader has: songs.csv, audio/ and new/."""
    shutil.copytree(songs.parent / "audio", tmp_path / "audio")
    shutil.copy(songs, tmp_path / "songs.csv")
    (tmp_path / "new").mkdir()
    for file in sorted((tmp_path / "audio").iterdir())[:3]:
        shutil.copy(file, tmp_path / "new")
    return tmp_path


@pytest.mark.full
def test_the_page_on_scale_runs(own_songs, model_path):
    shutil.copy(model_path, own_songs / "genre.songbag")
    assert [kind for kind, _ in blocks("docs/scale.md")] == ["sh", "python"]
    for kind, text in blocks("docs/scale.md"):
        run(kind, text, own_songs)


def test_the_readme_runs(own_songs):
    kinds = [kind for kind, _ in blocks("README.md")]
    assert kinds == ["sh", "sh", "python"]
    makes, commands, python = (text for _, text in blocks("README.md"))
    targets = re.findall(r"^make (\S+)", makes, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)
    # Fewer epochs: this is about the commands, not about the figures.
    quick = re.sub(r"(songbag (?:train|crossval|compare) \S+)", r"\1 --epochs 1", commands)
    quick = quick.replace(
        "songbag compare", "songbag compare --seeds 1 --folds 2 --recipe founding"
    )
    quick = quick.replace("--poolings mean,vote,attention", "--poolings mean,attention")
    quick = quick.replace("songbag crossval", "songbag crossval --folds 2")
    # Findings are exit code 1, as the page on checking says.
    quick = re.sub(r"^(songbag check [^#\n]*)", r"\1 || test $? = 1 ", quick, flags=re.MULTILINE)
    run("sh", quick, own_songs)
    run("python", python.replace('"genre.songbag")', '"genre.songbag", epochs=1)', 1), own_songs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_file_tree_of_the_readme_is_true():
    tree = (ROOT / "README.md").read_text().partition("songbag/\n")[2].partition("```")[0]
    for line in tree.splitlines():
        words = re.split(r"[\s,→;]+", line.partition("  ")[2] if line.startswith("  ") else line)
        room = next((word for word in words if word.endswith("/")), None)
        if room:
            assert (ROOT / "songbag" / room).is_dir(), room


def test_the_examples_are_python():
    for path in (ROOT / "examples").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")


def test_commands_named_in_the_readme_exist():
    from songbag.cli import main

    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("songbag "):
            assert shlex.split(line)[1] in main.commands


def test_every_test_that_the_page_on_reliability_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    file, named = "", 0
    for name, test in re.findall(r"`(test_\w+\.py)?::(test_\w+)`", page):
        file = name or file
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
        named += 1
    assert named > 35
