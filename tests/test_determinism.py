"""The same songs, settings, seed and threads: the same bytes, in any process."""

import os
import subprocess
import sys

import pytest

from tests import killing


def songbag(environment, *arguments):
    command = [sys.executable, "-m", "songbag", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("job", ["predict", "evaluate"])
def test_answers_are_the_same_bytes_in_every_process(songs, model_path, tmp_path, job):
    """Hash seeds, numbers of processes, cold and warm caches, one or two threads of BLAS."""
    found = []
    for number, (seed, workers, threads, cache) in enumerate(
        [("0", 1, "1", "cold"), ("1", 2, "2", "cold2"), ("12345", 2, "1", "cold")]
    ):
        out = tmp_path / f"out{number}"
        environment = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        environment["OPENBLAS_NUM_THREADS"] = threads
        if job == "predict":
            output = ["--windows", "--csv", out / "p.csv", "--json", out / "p.json"]
        else:
            output = ["--all", "-o", out]
        common = ["--workers", workers, "--cache", tmp_path / cache, "--quiet"]
        songbag(environment, job, model_path, songs, *output, *common)
        found.append(killing.tree(out, ["report.html"]))
    assert len(found[0]) == 3
    assert found[0] == found[1] == found[2]


def test_training_twice_is_the_same_model_and_the_same_predictions(songs, tmp_path):
    """On one machine, with one number of threads; between machines nothing is promised."""
    found = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        environment = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        arguments = ["-o", out / "m.songbag", "--recipe", "founding", "--epochs", 2, "--seed", 7]
        songbag(environment, "train", songs, *arguments, "--threads", 1, "--quiet")
        found.append(killing.tree(out, ["report.html", "history.csv"]))
    assert found[0] == found[1]
    assert "m.songbag" in found[0]
    assert "m-training/predictions.csv" in found[0]
