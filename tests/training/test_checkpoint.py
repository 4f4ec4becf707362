"""A training killed in the middle goes on and ends with the very same model."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas
import pytest

from songbag.inference.model_file import PARTS, load_model
from tests.helpers.command import songbag as command


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = [
        {"song": f"s{k}", "label": "abc"[k % 3], **dict(zip("uvwxyz", rng.normal(k % 3, 2, 6)))}
        for k in range(30)
        for _ in range(8)
    ]
    path = tmp_path_factory.mktemp("resume") / "windows.csv"
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def start(table, model, *more):
    command = [sys.executable, "-m", "songbag", "train", table, "-o", model, "--song", "song"]
    for name in "uvwxyz":
        command += ["--feature", name]
    command += ["--label", "label", "--threads", "1", *more]
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)


def test_a_state_of_another_training_is_refused(table, tmp_path):
    model = tmp_path / "m.songbag"
    (tmp_path / "m.songbag.state").write_bytes(b"no state at all")
    arguments = ["train", table, "-o", model, "--song", "song", "--label", "label", "--epochs", 2]
    refused = command(*arguments, "--resume")
    assert refused.returncode == 2
    assert "no state of a training" in refused.stderr
    assert command(*arguments).returncode == 0  # begins anew, and leaves nothing behind
    assert not (tmp_path / "m.songbag.state").exists()


@pytest.mark.full
def test_a_killed_training_goes_on_to_the_same_model(table, tmp_path):
    model, state = tmp_path / "m.songbag", tmp_path / "m.songbag.state"
    whole = tmp_path / "whole.songbag"
    assert start(table, whole, "--epochs", "2500").wait() == 0
    resume = []
    for _ in range(2):
        process = start(table, model, "--epochs", "2500", *resume)
        seen = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None:
            if state.exists() and state.stat().st_mtime_ns != seen:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        process.communicate()
        resume = ["--resume"]
    process = start(table, model, "--epochs", "2500", "--resume")
    assert "going on after epoch" in process.communicate()[1]
    assert not state.exists()
    ours, theirs = (load_model(path, PARTS) for path in (model, whole))
    assert ours.parts["weights.safetensors"] == theirs.parts["weights.safetensors"]
    changed = start(table, model, "--epochs", "3", "--resume")
    assert changed.wait() == 0  # nothing to go on from: begins anew
