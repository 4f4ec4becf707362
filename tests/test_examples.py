"""The examples run as they are, and their models answer from the file alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("own_network", marks=pytest.mark.full),
        pytest.param("own_loss", marks=pytest.mark.full),
        pytest.param("own_keras", marks=pytest.mark.full),
        pytest.param("own_pooling", marks=pytest.mark.full),
    ],
)
def test_own_parts(name, tmp_path):
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^song_(\d)\s+(\w+)\s+(\S+)$", done.stdout, re.MULTILINE)
    assert len(said) == 5
    right = [("classical", "metal")[int(song) % 2] == label for song, label, _ in said]
    assert all(right)
    assert (tmp_path / f"{name}.songbag").exists()


@pytest.mark.full
def test_the_founding_program_runs_on_a_table(songs, tmp_path):
    lines = songs.read_text().splitlines()
    short = songs.parent / "few.csv"
    picked = [line for line in lines[1:] if ".m4a" not in line][:6]
    short.write_text(
        "\n".join(["path,label", *(",".join(p.split(",")[:2]) for p in picked)]) + "\n"
    )
    done = subprocess.run(
        [sys.executable, EXAMPLES / "founding_keras.py", short], cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in picked:
        assert line.split(",")[0] in done.stdout
