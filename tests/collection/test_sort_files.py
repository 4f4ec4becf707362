"""Sorting and undoing, where files cannot be linked or written."""

import errno
import os

import pytest

from songbag.collection.answers import Answer, label_names
from songbag.collection.journal import JOURNAL, Entry, open_collection
from songbag.collection.sort_files import plan_steps, take_steps
from songbag.collection.undo import undo
from songbag.errors import SettingsError
from songbag.storage.files import add_checksum
from tests.helpers import killing

NAMES = label_names(["rock", "Rock", "a/b", ".."])


@pytest.fixture
def songs(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for k in range(4):
        (folder / f"{k}.wav").write_bytes(bytes([k]) * 1000)
    return folder


def sort(songs, folder, action, labels=("rock", "Rock", "a/b", "..")):
    answers = [
        Answer(str(file), (label,), 0.5)
        for file, label in zip(sorted(songs.iterdir()), labels, strict=False)
    ]
    with open_collection(folder / JOURNAL) as journal:
        return take_steps(plan_steps(answers, folder, NAMES), action, journal)


def no_links(monkeypatch, number):
    original = os.link

    def link(source, target, **options):
        if number == errno.EXDEV and os.path.dirname(source) == os.path.dirname(target):
            return original(source, target, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
def test_a_move_without_links_is_a_copy_or_a_rename(songs, tmp_path, monkeypatch, number):
    original, target = killing.tree(songs), tmp_path / "sorted"
    os.utime(songs / "0.wav", (1, 2))
    (songs / "0.wav").chmod(0o600)
    no_links(monkeypatch, number)
    assert sort(songs, target, "move").problems == {}
    assert killing.tree(songs) == {}
    moved = os.stat(target / "rock" / "0.wav")
    assert (moved.st_mtime, moved.st_mode & 0o777) == (2, 0o600)
    assert undo(target) == (4, [])
    assert killing.tree(songs) == original


def test_links_to_another_file_system_are_symbolic(songs, tmp_path, monkeypatch):
    no_links(monkeypatch, errno.EXDEV)
    result = sort(songs, tmp_path / "sorted", "link")
    assert result.symbolic == 4
    assert os.readlink(tmp_path / "sorted" / "rock" / "0.wav") == str(songs / "0.wav")
    assert undo(tmp_path / "sorted") == (4, [])


def test_several_labels_are_several_folders(songs, tmp_path):
    both = [Answer(str(songs / "0.wav"), ("rock", "a/b"), 0.5), Answer(str(songs / "1.wav"), (), 0)]
    targets = [step.target for step in plan_steps(both, tmp_path, NAMES)]
    expected = ["rock/0.wav", "a_b/0.wav", "_unsure/1.wav"]
    assert targets == [tmp_path / name for name in expected]


def test_a_last_copy_and_a_taken_place_stay(songs, tmp_path):
    copied, moved = tmp_path / "copied", tmp_path / "moved"
    sort(songs, copied, "copy")
    sort(songs, moved, "move")
    (songs / "1.wav").write_bytes(b"new")
    restored, problems = undo(copied)  # its originals are elsewhere
    assert (restored, len(problems)) == (0, 4)
    restored, problems = undo(moved)
    assert restored == 3 and "another file is at" in problems[0]
    assert (moved / "Rock (2)" / "1.wav").read_bytes() == b"\1" * 1000
    assert undo(copied)[0] == 3
    assert (songs / "1.wav").read_bytes() == b"new"


def test_a_folder_that_cannot_be_written_loses_nothing(songs, tmp_path, monkeypatch):
    original, target = killing.tree(songs), tmp_path / "sorted"
    (target / "rock").parent.mkdir()
    (target / "rock").write_bytes(b"a file, no folder")
    result = sort(songs, target, "move")
    assert len(result.problems) == 1 and len(result.done) == 3
    assert undo(target)[0] == 3
    assert killing.tree(songs) == original


def test_a_file_that_cannot_be_taken_away_has_one_place(songs, tmp_path, monkeypatch):
    unlink = os.unlink

    def refuse(path, **options):
        if os.path.dirname(path) == str(songs):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    result = sort(songs, tmp_path / "sorted", "move")
    assert len(result.problems) == 4
    assert len(killing.tree(songs)) == 4
    assert killing.tree(tmp_path / "sorted", ["journal"]) == {}


def test_a_journal_is_of_one_process_and_of_this_version(tmp_path):
    with (
        open_collection(tmp_path / "a.journal"),
        pytest.raises(SettingsError, match="another songbag"),
        open_collection(tmp_path / "a.journal"),
    ):
        pass
    assert not (tmp_path / "a.journal").exists()  # nothing was changed
    with open_collection(tmp_path / "b.journal") as journal:
        journal.append(Entry(do="folder"))
        journal.file.write(b"half a li")
    with open_collection(tmp_path / "b.journal") as journal:
        assert journal.entries == [Entry(do="folder")]
    (tmp_path / "c.journal").write_bytes(add_checksum({"do": "burn"}) + b"\n")
    with pytest.raises(SettingsError, match="not a journal of this version"):
        undo(tmp_path / "c.journal")


@pytest.mark.parametrize("data", [b"a model\n", b"\n", b"\0" * 5000, b"path,label\na.wav,x\n"])
def test_another_file_is_never_taken_for_a_journal(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(SettingsError, match="not a journal"):
        undo(tmp_path / "file")
    with pytest.raises(SettingsError, match="not a journal"), open_collection(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == data
