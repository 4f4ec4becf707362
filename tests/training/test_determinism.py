"""The same songs, settings, seed and threads: the same bytes, in any process."""

import os
import subprocess
import sys

import pytest

from tests.helpers import killing


def songbag(environment, *arguments):
    command = [sys.executable, "-m", "songbag", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("job", ["predict", pytest.param("evaluate", marks=pytest.mark.full)])
def test_answers_are_the_same_bytes_in_every_process(songs, model_path, tmp_path, job):
    """Hash seeds, numbers of processes, cold and warm caches, one or two threads of BLAS."""
    found = []
    for number, (seed, workers, threads) in enumerate([("0", 1, "1"), ("12345", 2, "2")]):
        out = tmp_path / f"out{number}"
        environment = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        environment["OPENBLAS_NUM_THREADS"] = threads
        if job == "predict":
            output = ["--windows", "--csv", out / "p.csv", "--json", out / "p.json"]
        else:
            output = ["--all", "-o", out]
        common = ["--workers", workers, "--cache", tmp_path / "cold", "--quiet"]
        songbag(environment, job, model_path, songs, *output, *common)
        found.append(killing.tree(out, ["report.html"]))
    assert len(found[0]) == {"predict": 3, "evaluate": 5}[job]
    assert found[0] == found[1]
    if job == "predict":  # and where the frames lie in a cache already
        common = ["--workers", 1, "--cache", os.environ["SONGBAG_CACHE"], "--quiet"]
        arguments = ["--windows", "--csv", tmp_path / "warm" / "p.csv"]
        songbag({"PYTHONHASHSEED": "3"}, "predict", model_path, songs, *arguments, *common)
        warm = killing.tree(tmp_path / "warm")
        assert warm == {name: found[0][name] for name in warm}


@pytest.mark.full
def test_training_twice_is_the_same_model_and_the_same_predictions(songs, trained, tmp_path):
    """On one machine, with one number of threads; between machines nothing is promised."""
    arguments = ["-o", tmp_path / "genre.songbag", "--recipe", "founding", "--epochs", 8]
    songbag({"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}, "train", songs, *arguments, "--quiet")
    others = ["report.html", "history.csv", "audio.csv"]  # with times, or paths from the folder
    ours = killing.tree(tmp_path, others)
    theirs = killing.tree(trained.model_path.parent, others)
    assert set(ours) == {"genre.songbag"} | {
        f"genre-training/{name}"
        for name in ("split.csv", "predictions.csv", "windows.csv", "heard.csv", "metrics.json")
    }
    assert ours == {name: theirs[name] for name in ours}
