"""A sorting, a tagging and an undo that are killed at any change of the disk: nothing is lost."""

import shutil
import sys
from functools import cache
from itertools import count

import pytest

from songbag.audio.tags import read_field
from tests.helpers import killed_work, killing
from tests.helpers.collections import answers_for, packets, write_collection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")


@pytest.fixture(scope="module")
def collection(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("collection")
    full = request.config.getoption("--full") or request.config.getoption("--torture")
    write_collection(folder, 200 if full else 5)
    return folder


def killed_moments(work, arguments, reset):
    """Kill ``work`` before its 1st, 2nd, 4th, 8th ... change of the disk; yield after each."""
    for power in count():
        reset()
        if not _killed(work, (*arguments, 2**power)):
            return
        yield


@cache
def _forked(work):
    return killing.Forked(work)


def _killed(work, arguments):
    forked = _forked(work)
    forked.arguments = arguments
    process = forked.started()
    process.join(100)
    assert process.exitcode in (0, -9), process.exitcode
    return process.exitcode == -9


def finish(work, *arguments):
    assert not _killed(work, (*arguments, 0))


def contents(*folders):
    """The hashes of all songs below folders, without temporary files and journals."""
    every = [killing.tree(folder, [".tmp", ".journal"]) for folder in folders if folder.exists()]
    return {content for files in every for content in files.values()}


@pytest.mark.torture
@pytest.mark.parametrize(
    "action",
    [
        "move",
        pytest.param("copy", marks=pytest.mark.full),
        pytest.param("link", marks=pytest.mark.full),
    ],
)
def test_a_killed_sorting_goes_on_and_is_undone(collection, tmp_path, action, figure):
    songs, sorted_songs = tmp_path / "songs", tmp_path / "sorted"
    original = killing.tree(collection)

    def reset():
        for folder in (songs, sorted_songs):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(collection, songs)

    reset()
    answers = answers_for(songs)
    kills = 0
    for _ in killed_moments(killed_work.sort_files, (answers, sorted_songs, action), reset):
        kills += 1
        assert contents(songs, sorted_songs) == set(original.values())
        finish(killed_work.sort_files, answers, sorted_songs, action)
        assert contents(sorted_songs) == set(original.values())
        assert len(killing.tree(sorted_songs, [".tmp", ".journal"])) == len(original)
        assert killing.tree(songs) == ({} if action == "move" else original)
        finish(killed_work.undo_changes, sorted_songs)
        assert killing.tree(songs) == original
        assert not sorted_songs.exists()
    figure(action, f"{kills} kills of the sorting")

    def sort_again():
        reset()
        finish(killed_work.sort_files, answers, sorted_songs, action)

    for _ in killed_moments(killed_work.undo_changes, (sorted_songs,), sort_again):
        kills += 1
        assert contents(songs, sorted_songs) == set(original.values())
        if (sorted_songs / "songbag.journal").exists():
            finish(killed_work.undo_changes, sorted_songs)
        assert killing.tree(songs) == original
    assert kills >= 8


@pytest.mark.torture
def test_killed_tagging_leaves_whole_files_and_is_undone(collection, tmp_path, figure):
    songs, journal = tmp_path / "songs", tmp_path / "songbag.journal"
    shutil.copytree(collection, songs)
    answers = answers_for(songs)
    sound = {one.path: packets(one.path) for one in answers}
    old = {one.path: read_field(one.path, "genre", raw=True) for one in answers}
    artists = {one.path: read_field(one.path, "artist") for one in answers}

    def reset():
        if journal.exists():
            finish(killed_work.undo_changes, journal)

    def require(genres):
        assert {one.path: packets(one.path) for one in answers} == sound
        assert {one.path: read_field(one.path, "artist") for one in answers} == artists
        for one in answers:
            assert read_field(one.path, "genre", raw=True) in genres(one)
        assert set(killing.tree(songs, [".tmp"])) == set(killing.tree(collection))

    kills = 0
    for _ in killed_moments(killed_work.tag_files, (answers, journal), reset):
        kills += 1
        require(lambda one: (old[one.path], one.labels))
        finish(killed_work.tag_files, answers, journal)
        require(lambda one: (one.labels or old[one.path],))
        finish(killed_work.undo_changes, journal)
        require(lambda one: (old[one.path],))
        assert not journal.exists()
    figure("tags", f"{kills} kills")
    assert kills >= 3
