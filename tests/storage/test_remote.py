"""Songs, tables, caches and answers in an object store, through a file system that stands for one."""

import shutil

import fsspec
import pandas
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from songbag.audio.audio_file import Source, local_source
from songbag.audio.extract import extract
from songbag.data.song_table import read_songs
from songbag.errors import AudioError, SettingsError, SongTableError
from songbag.settings import Limits, Sound
from songbag.storage import remote
from songbag.storage.remote import RemotePath, is_url, local_copy, parse_path
from tests.helpers import killing
from tests.parallel.test_cluster import few, songbag  # noqa: F401


class Standing(DirFileSystem):
    """A folder of this machine that answers as s3://."""

    protocol = "s3"

    def _join(self, path):
        return super()._join(_plain(path))

    def invalidate_cache(self, path=None):
        pass


def _plain(path):
    return [_plain(one) for one in path] if isinstance(path, list) else path.removeprefix("s3://")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that is s3://bucket in this process."""
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    local = fsspec.filesystem("file", auto_mkdir=True)
    standing = Standing(str(tmp_path / "store"), fs=local)
    monkeypatch.setattr(remote, "_filesystem", lambda protocol: standing)
    return tmp_path / "store" / "bucket"


@pytest.fixture
def stored(bucket, few):  # noqa: F811
    shutil.copytree(few.parent, bucket / "music")
    return "s3://bucket/music/songs.csv"


def test_a_table_in_a_store_gives_what_the_same_table_gives_here(
    stored,
    few,  # noqa: F811
    bucket,
    model_path,
    tmp_path,
):
    one = ("--workers", 1)
    here = songbag("extract", few, "--cache", tmp_path / "here", *one).stdout
    cache = ("--cache", "s3://bucket/frames")
    there = songbag("extract", stored, *cache, *one).stdout
    assert there.replace("s3://bucket/music", str(few.parent)) == here
    assert killing.tree(bucket / "frames") == killing.tree(tmp_path / "here", ["index"])
    assert songbag("extract", stored, *cache, *one).stdout == there  # by the index
    local = songbag("predict", model_path, few, "--cache", tmp_path / "none", *one).stdout
    answers = songbag("predict", model_path, stored, *one, *cache).stdout
    assert answers.replace("s3://bucket/music", str(few.parent)) == local
    parted = ("predict", model_path, stored, "-o", "s3://bucket/answers", "--part", 4)
    songbag(*parted, *one)
    parts = sorted((bucket / "answers" / "songs").iterdir())
    assert [part.name[:11] for part in parts] == ["part-00000-", "part-00001-"]
    assert list(pandas.read_parquet(bucket / "answers" / "songs")["id"]) == [
        f"song {number}" for number in range(8)
    ]
    parts[0].unlink()
    before = parts[1].stat().st_mtime_ns
    songbag(*parted, *one)
    assert parts[0].exists() and parts[1].stat().st_mtime_ns == before


def test_a_folder_in_a_store_is_read_to_the_bottom(stored):
    found = read_songs("s3://bucket/music")
    assert [song.path for song in found.songs][:2] == [
        "s3://bucket/music/0.wav",
        "s3://bucket/music/1.flac",
    ]
    assert [song.id for song in read_songs(["s3://bucket/music/0.wav"]).songs] == [
        "s3://bucket/music/0.wav"
    ]


def test_a_copy_with_its_sound_changed_is_made_of_a_stored_song(stored, tmp_path):
    path = "s3://bucket/music/0.wav"
    plain, changed = (
        extract(Source(path=path, change=change), Sound(), tmp_path, Limits())
        for change in ("", "telephone")
    )
    assert plain.status == changed.status == "ok"
    assert plain.samples == changed.samples and plain.key != changed.key


def test_a_changed_object_is_read_again(stored, bucket, tmp_path):
    first = songbag("extract", stored, "--cache", tmp_path, "--workers", 1).stdout
    shutil.copy(bucket / "music" / "0.wav", bucket / "music" / "4.wav")
    second = songbag("extract", stored, "--cache", tmp_path, "--workers", 1).stdout
    changed = [old != new for old, new in zip(first.splitlines(), second.splitlines(), strict=True)]
    assert changed == [False] * 5 + [True] + [False] * 3


@pytest.mark.parametrize("path", ["s3://bucket/music/0.wav", "file:///etc/passwd", "s3:/x/0.wav"])
def test_a_table_names_urls_only_where_the_user_allows(stored, few, path):  # noqa: F811
    table = few.parent / "urls.csv"
    table.write_text(f"path\n{path}\n")
    if path.startswith("s3:/x"):  # no URL: a file of that name in the table's folder
        assert read_songs(table).songs[0].path == str(few.parent / "s3:" / "x" / "0.wav")
        return
    with pytest.raises(SongTableError, match="URLs are not read"):
        read_songs(table)
    if path.startswith("file"):
        with pytest.raises(SongTableError, match="not in an object store"):
            read_songs(table, remote=True)
    else:
        assert read_songs(table, remote=True).songs[0].path == path


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret/a.wav", "a/../../b.wav"])
def test_a_table_in_a_store_names_nothing_outside_its_folder(bucket, path):
    (bucket / "t.csv").write_text(f"path\n{path}\n")
    for outside in (False, True):
        with pytest.raises(SongTableError, match="outside the table's folder"):
            read_songs("s3://bucket/t.csv", allow_outside=outside)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.wav", "file:///a.wav", "simplecache::s3://b/a.wav", "s3://b/../a",
            "memory://a.wav", "s3://b/zip://a::s3://c"],
)  # fmt: skip
def test_only_object_stores_are_spoken_to(url):
    with pytest.raises(SettingsError, match="not in an object store"):
        (parse_path if is_url(url) else remote.require_store_url)(url)


def test_what_cannot_be_fetched_is_a_reason(stored, bucket, tmp_path, monkeypatch):
    def reason(url, limits=None):
        return extract(Source(path=url), Sound(), tmp_path, limits or Limits()).reason

    with open(bucket / "big.wav", "wb") as big:
        big.truncate(2**28 + 100)
    assert reason("s3://bucket/none.wav") == "missing"
    assert reason("s3://bucket/big.wav", Limits(native_samples=1)) == "too_long"
    assert reason("s3://bucket/music/3.opus") == "not_audio"

    class OwnError(Exception):
        pass

    def fail(*_):
        raise OwnError("no route")

    monkeypatch.setattr(Standing, "info", fail)
    assert reason("s3://bucket/music/0.wav") == "unreachable"
    with pytest.raises(OSError, match="no route"), local_copy("s3://bucket/music/0.wav", 1e9):
        pass


def test_messages_name_the_url_and_no_copy_stays(stored):
    copies = []

    def refuse():
        with local_source(Source(path=stored), Limits()) as here:
            copies.append(here.path)
            raise AudioError("bad", f"{here.path}: bad")

    with pytest.raises(AudioError, match=f"^{stored}: bad$"):
        refuse()
    assert not remote.Path(copies[0]).parent.exists()


def test_paths_behave_as_those_of_this_machine():
    path = RemotePath("s3://bucket/a") / "b" / "c.parquet"
    assert (str(path), path.stem, path.suffix) == (
        "s3://bucket/a/b/c.parquet",
        "c",
        ".parquet",
    )
    assert path.parent == RemotePath("s3://bucket/a/b")
    assert parse_path("a/b") == remote.Path("a/b")
