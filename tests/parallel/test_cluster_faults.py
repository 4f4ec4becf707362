"""What happens to machines, on a real scheduler with two workers: every id once, whatever fails."""

import csv
import io
import os
import resource
import signal
import subprocess
import sys
import time

import cloudpickle
import pytest

from songbag.parallel.cluster import connect_cluster
from tests.helpers import clusters, killing

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes by /proc"),
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def cluster(tmp_path):
    with clusters.Cluster(tmp_path) as running:
        yield running


def extract(table, cache, *more):
    command = [sys.executable, "-m", "songbag", "extract", table, "--cache", cache, *more]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process, code=0):
    out, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    return list(csv.DictReader(io.StringIO(out))), said


@pytest.fixture
def truth(songs, tmp_path):
    rows, _ = finished(extract(songs, tmp_path / "truth", "--workers", 2))
    return rows, killing.tree(tmp_path / "truth", ["index"])


def frames(cache):
    return list(cache.rglob("*.safetensors"))


def test_a_worker_killed_in_the_middle_costs_nothing(cluster, songs, truth, tmp_path):
    running = extract(songs, tmp_path / "c", "--cluster", cluster.address)
    clusters.wait_until(lambda: len(frames(tmp_path / "c")) >= 5)
    os.kill(clusters.worker_of(cluster.nannies[0]), signal.SIGKILL)
    rows, _ = finished(running)
    assert (rows, killing.tree(tmp_path / "c", ["index", ".tmp"])) == truth


def test_a_restarted_scheduler_costs_nothing(cluster, songs, truth, tmp_path):
    running = extract(songs, tmp_path / "c", "--cluster", cluster.address)
    clusters.wait_until(lambda: len(frames(tmp_path / "c")) >= 5)
    os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    cluster.scheduler.wait()
    for nanny in cluster.nannies:  # they end with it; whoever runs a cluster starts them again
        nanny.wait(60)
    cluster.start_scheduler()
    cluster.nannies = [cluster.start_worker() for _ in range(2)]
    rows, _ = finished(running)
    assert (rows, killing.tree(tmp_path / "c", ["index", ".tmp"])) == truth


def test_a_full_disk_of_one_worker_leaves_the_work_to_the_other(cluster, songs, truth, tmp_path):
    small = 100_000  # bytes a file may have: fewer than the frames of a song
    pid = clusters.worker_of(cluster.nannies[0])
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (small, small))
    rows, _ = finished(extract(songs, tmp_path / "c", "--cluster", cluster.address))
    assert (rows, killing.tree(tmp_path / "c", ["index"])) == truth


def test_full_disks_everywhere_end_the_run_with_the_file_and_the_next_goes_on(
    cluster, songs, truth, tmp_path
):
    for nanny in cluster.nannies:
        resource.prlimit(clusters.worker_of(nanny), resource.RLIMIT_FSIZE, (100_000, 100_000))
    _, said = finished(extract(songs, tmp_path / "c", "--cluster", cluster.address), 2)
    assert "File too large" in said and str(tmp_path / "c") in said
    for nanny in cluster.nannies:
        os.kill(clusters.worker_of(nanny), signal.SIGKILL)
    rows, _ = finished(extract(songs, tmp_path / "c", "--cluster", cluster.address))
    assert (rows, killing.tree(tmp_path / "c", ["index"])) == truth


def test_an_interrupted_run_leaves_what_is_done_and_the_next_goes_on(
    cluster, songs, truth, tmp_path
):
    running = extract(songs, tmp_path / "c", "--cluster", cluster.address)
    clusters.wait_until(lambda: len(frames(tmp_path / "c")) >= 5)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 1
    time.sleep(3)  # for the songs that workers had begun
    there = {file: file.stat().st_mtime_ns for file in frames(tmp_path / "c")}
    assert 5 <= len(there) < 24
    rows, _ = finished(extract(songs, tmp_path / "c", "--cluster", cluster.address))
    assert (rows, killing.tree(tmp_path / "c", ["index"])) == truth
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in there.items())


def test_a_slow_song_holds_up_no_other(cluster):
    def work(item):
        time.sleep(4 if item == 0 else 0.05)
        return item, time.time()

    with connect_cluster(cluster.address) as engine:
        found = list(engine(work, range(100), lambda item: item))
    assert [item for item, _ in found] == list(range(100))
    slow = found[0][1]
    assert sum(moment < slow for _, moment in found[1:]) >= 60


def test_few_songs_wait_at_the_scheduler_and_its_memory_does_not_grow(cluster, figure):
    import distributed

    def work(item):
        return item

    most = 0
    with connect_cluster(cluster.address) as engine, distributed.Client(cluster.address) as client:
        run = engine(work, range(20_000), lambda item: item)
        for item, found in enumerate(run):
            assert found == item
            if item % 2000 == 0:
                most = max(most, client.run_on_scheduler(_tasks))
    figure("tasks", most)
    assert most < 4200


def _tasks(dask_scheduler):
    return len(dask_scheduler.tasks)
