"""Two workers, an S3 server, no disk in common: the same bytes as here."""

import sys

import pytest
from pyarrow import parquet

from songbag.storage import remote
from tests.helpers import clusters, killing
from tests.parallel.test_cluster import few, songbag  # noqa: F401

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes by /proc"),
]


@pytest.fixture
def store(tmp_path, monkeypatch):
    pytest.importorskip("moto")
    from tests.helpers.stores import Store, s3

    running = Store(tmp_path)
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    running.files = s3(running.environment)
    running.files.mkdir("bucket")
    yield running
    running.close()


def test_extract_and_predict_with_everything_in_a_store(store, few, model_path, tmp_path):  # noqa: F811
    remote._filesystem.cache_clear()
    store.files.put(str(few.parent), "bucket/", recursive=True)
    table = f"s3://bucket/{few.parent.name}/songs.csv"
    assert store.files.exists(table)
    with clusters.Cluster(tmp_path, environment=store.environment) as cluster:
        on = ("--cluster", cluster.address)
        here = songbag("extract", few, "--cache", tmp_path / "here", "--workers", 1).stdout
        before = len(store.requests())
        there = songbag("extract", table, "--cache", "s3://bucket/frames", *on).stdout
        songs = [path for _, path in store.requests()[before:] if "/0.wav" in path]
        assert len(songs) == 3  # HEAD for its stamp, HEAD for its size, GET
        frames = [method for method, path in store.requests()[before:] if "/frames/" in path]
        assert sorted(frames) == ["HEAD"] * 8 + ["PUT"] * 7  # is it there? no, here it is
        assert there.replace(table.rpartition("/")[0], str(few.parent)) == here
        store.files.get("bucket/frames/", str(tmp_path / "frames/"), recursive=True)
        assert killing.tree(tmp_path / "frames") == killing.tree(tmp_path / "here", ["index"])
        parts = ("--windows", "--part", 3, "-o")
        songbag("predict", model_path, table, *parts, "s3://bucket/answers", *on)
        songbag("predict", model_path, few, *parts, tmp_path / "answers", "--workers", 1)
        store.files.get("bucket/answers/", str(tmp_path / "stored/"), recursive=True)
        for kind in ("songs", "windows"):
            one, two = (
                parquet.read_table(tmp_path / name / kind).to_pylist()
                for name in ("answers", "stored")
            )
            for row in two if kind == "songs" else ():
                row["warnings"] = row["warnings"].replace(table.rpartition("/")[0], str(few.parent))
            assert one == two
        before = len(store.requests())
        assert songbag("extract", table, "--cache", "s3://bucket/frames", *on).stdout == there
        assert len(store.requests()) - before == 2  # the table and a list of its folder
