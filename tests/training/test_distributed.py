"""Several processes train as one; an order for collections larger than memory."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.inference.model_file import load_model
from songbag.recipes.load import load_recipe
from songbag.tasks.pack import pack_songs
from songbag.training.distributed import Ranks
from tests.helpers import killing, ranked_work
from tests.helpers.songs import QUIET, audio_dataset

PLAIN = {
    "windows_per_song": 0,
    "optimizer": "sgd",
    "schedule": "constant",
    "learning_rate": 0.05,
    "epochs": 1,
    "keep": "last",
    "weight_decay": 0.0,
}


@pytest.fixture
def packed(tmp_path):
    """Eighteen short songs of noise, in three shards and more."""
    rng = np.random.default_rng(0)
    for k in range(18):
        noise = (0.02 * (1 + k) * rng.standard_normal(22050 + 4000 * (k % 4))).astype(np.float32)
        folder = tmp_path / "songs" / ("drift", "gallop", "waltz")[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        write_waveform(folder / f"{k}.wav", noise, 22050)
    out = tmp_path / "packed"
    dataset = audio_dataset(tmp_path / "songs", tmp_path / "cache")
    pack_songs(dataset, load_recipe("founding"), out, QUIET, shard_bytes=12_000)
    return out


def fitted(count, out, settings, **more):
    """Train in ``count`` processes; return weights and losses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    work = killing.Forked(ranked_work.train)
    processes = []
    for rank in range(count):
        work.arguments = (rank, count, port, out, settings)
        processes.append(work.started(more))
    for process in processes:
        process.join(120)
        if process.exitcode != 0 and not more.get("stop"):
            raise AssertionError(process.exitcode)
        process.kill()
    return load_file(out) if out.exists() else None


@pytest.mark.parametrize("network", ["cnn", pytest.param("founding", marks=pytest.mark.full)])
def test_two_processes_step_as_one(tmp_path, network):
    settings = PLAIN | {"network": network}  # batches of 8, 8 and 3 songs; 13 of one label, 6
    ranked_work.train(0, 1, 0, tmp_path / "one.safetensors", settings)
    one, two = load_file(tmp_path / "one.safetensors"), fitted(2, tmp_path / "two", settings)
    assert abs(one["losses"] - two["losses"]).max() < 1e-5
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


@pytest.mark.full
def test_a_training_that_was_killed_in_an_epoch_goes_on_in_two_processes(tmp_path):
    settings = PLAIN | {"network": "cnn", "epochs": 2, "dropout": 0.3, "windows_per_song": 2}
    settings |= {"mixup": 0.2, "average": 0.9}
    out = tmp_path / "two.safetensors"
    whole = fitted(2, out, settings)
    out.unlink()
    assert fitted(2, out, settings, stop=2) is None  # after two of six batches
    state = tmp_path / "two.safetensors.state"
    for name, value in fitted(2, out, settings, state=state).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.full
@pytest.mark.parametrize("lanes", [2, 3])
def test_two_processes_with_shards_of_their_own_step_as_one(packed, tmp_path, lanes):
    settings = PLAIN | {"network": "founding", "shards_at_once": lanes, "songs_per_batch": 4}
    settings |= {"learning_rate": 1e-4}  # raw MFCC
    one, two = (fitted(n, tmp_path / f"{n}.safetensors", settings, folder=packed) for n in (1, 2))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


@pytest.mark.full
def test_torchrun_trains_one_model_and_prints_once(packed, tmp_path):
    model = tmp_path / "m.songbag"
    command = [Path(sys.executable).parent / "torchrun", "--nproc-per-node", "2"]
    command += ["--master-port", "29517", "-m", "songbag", "train", packed, "-o", model]
    command += ["--recipe", "founding", "--epochs", "2", "--set", "windows.seconds=1.0"]
    _, done = killing.run([*command, "--set", "windows.hop_seconds=0.5"])
    assert done.stdout.count("report ") == 1
    assert done.stderr.count("trained 2 epochs") == 1
    assert load_model(model).card.labels == ("drift", "gallop", "waltz")


def test_one_process_is_asked_for_what_is_not_trained_together(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in ("crossval", "compare", "leakage"):
        found = CliRunner().invoke(main, [command, str(tmp_path), "-o", str(tmp_path / "out")])
        assert found.exit_code == 2
        assert "cannot run under torchrun" in found.stderr


def test_ranks_share_a_batch():
    songs = np.arange(10, 15)
    shares = [Ranks(rank, 2).split_batch(songs) for rank in range(2)]
    assert [part.tolist() for part, _ in shares] == [[10, 12, 14], [11, 13]]
    assert Ranks().split_batch(songs) == (songs, 1.0)
    by_lane = [Ranks(rank, 2).split_batch(songs, np.array([0, 3, 2, 2, 0]))[0] for rank in range(2)]
    assert [part.tolist() for part in by_lane] == [[10, 12, 13, 14], [11]]
    for rank in range(3):  # one song for three: each takes a third of its loss
        part, counts = Ranks(rank, 3).split_batch(songs[:1])
        assert (part.tolist(), counts) == ([10], 1 / 3)
