"""The same work on a real scheduler and two worker processes: the same bytes, whatever dies."""

import csv
import io
import os
import signal
import sys
import time

import cloudpickle
import numpy as np
import pytest
from click.testing import CliRunner

from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.errors import ClusterError
from songbag.parallel.cluster import connect_cluster
from tests.helpers import clusters, killing
from tests.helpers.encoders import write_encoder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes by /proc")
# The workers do not have this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with clusters.Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A table of eight short songs, one of them no song."""
    folder = tmp_path_factory.mktemp("few")
    lines = ["path,id,mood"]
    for number in range(8):
        name = f"{number}{('.wav', '.flac', '.mp3', '.opus')[number % 4]}"
        waveform = synthesise(GENRES[number % 3], np.random.default_rng(number), 6.0)
        write_waveform(folder / name, waveform, 22050)
        lines.append(f'{name},"song {number}",calm')
    (folder / "3.opus").write_bytes(b"no song at all")
    (folder / "songs.csv").write_text("\n".join(lines))
    return folder / "songs.csv"


def songbag(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments), "--quiet"])
    assert done.exit_code in (0, 1), f"{done.output}{done.exception!r}"
    return done


def test_two_workers_give_the_same_bytes(cluster, few, model_path, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    on = ("--cluster", cluster.address)
    one = songbag("extract", few, "--cache", here, "--workers", 1)
    two = songbag("extract", few, "--cache", there, *on)
    assert one.exit_code == two.exit_code == 1
    assert one.stdout == two.stdout
    rows = list(csv.DictReader(io.StringIO(two.stdout)))
    assert [row["id"] for row in rows] == [f"song {number}" for number in range(8)]
    assert [row["reason"] for row in rows if row["reason"]] == ["not_audio"]
    assert killing.tree(here, ["index"]) == killing.tree(there, ["index"])
    answers = [
        songbag("predict", model_path, few, "--cache", tmp_path / "none", "--windows", *more).stdout
        for more in (("--workers", 1), on)
    ]
    assert answers[0] == answers[1]


def test_encoders_of_the_package_and_of_a_file_listen_on_two_workers(cluster, few, tmp_path):
    mine = write_encoder(tmp_path / "mine.onnx")
    for encoder in ("musicnn", mine):
        heard = []
        for name, more in (("here", ("--workers", 1)), ("there", ("--cluster", cluster.address))):
            out, cache = tmp_path / f"{name}.csv", tmp_path / name
            songbag("embed", few, "-o", out, "--encoder", encoder, "--cache", cache, *more)
            heard.append(out.read_bytes())
            songbag(
                "extract", few, "--recipe", "fast", "--encoder", encoder, "--cache", cache, *more
            )
        assert heard[0] == heard[1]
        assert heard[0].count(b",ok,") == 7
    assert killing.tree(tmp_path / "here", ["index"]) == killing.tree(tmp_path / "there", ["index"])


def test_a_killed_worker_and_a_song_that_kills_cost_no_other(cluster):
    def work(item):
        time.sleep(0.02)
        if item == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with connect_cluster(cluster.address) as engine:
        found = []
        for one in engine(work, range(40), lambda item: f"{item} died"):
            found.append(one)
            if len(found) == 20:
                os.kill(clusters.worker_of(cluster.nannies[0]), signal.SIGKILL)
    assert found == [*range(7), "7 died", *range(8, 40)]


def test_what_no_cluster_is_is_said(few):
    with (
        pytest.raises(ClusterError, match="write local: and a number"),
        connect_cluster("local:no"),
    ):
        pass
    with (
        pytest.raises(ClusterError, match="no scheduler answers there"),
        connect_cluster("nonsense"),
    ):
        pass
    both = CliRunner().invoke(main, ["extract", str(few), "--workers", "2", "--cluster", "local:2"])
    assert both.exit_code == 2
    assert "give one" in both.stderr
