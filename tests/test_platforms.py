"""Windows and macOS, forced here: commands run as they would where these things are missing.

A process loads the libraries as what it is, and is then told that it is elsewhere: without fork,
limits, locks, alarms, hard links, /proc. It must answer the same bytes.
"""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from songbag.collection import playlists, sort_files
from songbag.collection.answers import Answer
from songbag.collection.journal import JOURNAL, open_collection
from songbag.data.find_file import find_file
from songbag.storage.files import read_csv, relative_path, rename_new
from songbag.tasks.check import Survey, write_cleaned
from tests.helpers.songs import audio_dataset

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs on these systems anyway")
LIBRARIES = """
import asyncio, builtins, concurrent.futures.process, ctypes, io, multiprocessing, os, shutil
import signal, socket, subprocess, sys, tempfile
import av, blake3, click, jinja2, loky, msgspec, numpy, onnxruntime, platformdirs, rich.console
import rich.progress, safetensors, soxr

def without(owner, *names):
    for name in names:
        delattr(owner, name)

def no_proc(path, *rest, plain=builtins.open, **more):
    if str(path).startswith("/proc/self"):  # psutil reads those of others
        raise FileNotFoundError(path)
    return plain(path, *rest, **more)

builtins.open = no_proc
without(os, "sched_getaffinity")
"""
SYSTEMS = {
    "windows": """
sys.platform = "win32"
sys.modules["resource"] = sys.modules["fcntl"] = None
without(os, "fork", "link", "getuid", "geteuid")
without(signal, "SIGALRM", "SIGKILL", "SIGCHLD", "setitimer")
""",
    "macos": """
sys.platform = "darwin"
""",
}


def songbag(system, *arguments, cwd):
    code = LIBRARIES + SYSTEMS.get(system, "") + "from songbag.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"SONGBAG_CACHE": str(cwd / "cache")},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def answers(songs, model_path, tmp_path_factory):
    return songbag("", "predict", model_path, songs, cwd=tmp_path_factory.mktemp("linux"))


@pytest.mark.full
@pytest.mark.parametrize("system", SYSTEMS)
def test_songs_are_predicted_sorted_and_brought_back(answers, songs, model_path, tmp_path, system):
    # Other workers of this system are interpreters that know nothing of the pretence.
    one = ("--workers", 1)
    predict = ("predict", model_path, songs)
    assert songbag(system, *predict, *one, cwd=tmp_path) == answers
    again = songbag(system, *predict, *one, cwd=tmp_path)  # from the cache
    assert again == answers
    songbag(system, "sort", model_path, songs, "--into", "sorted", *one, cwd=tmp_path)
    assert len([path for path in (tmp_path / "sorted").rglob("*.*") if path.is_file()]) >= 24
    songbag(system, "undo", "sorted", cwd=tmp_path)
    assert not list((tmp_path / "sorted").rglob("*.*"))


@pytest.mark.full
def test_workers_of_macos_are_new_interpreters_and_answer_the_same(
    answers, songs, model_path, tmp_path
):
    assert songbag("macos", "predict", model_path, songs, "--workers", 2, cwd=tmp_path) == answers


@pytest.fixture
def other_drive(monkeypatch):
    """Nothing is below or beside anything, as between drives of Windows."""

    def refuse(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)


def test_a_path_on_another_drive_stays_whole(other_drive, songs, tmp_path):
    assert relative_path("/d/a b.mp3", tmp_path) == "/d/a b.mp3"
    dataset = audio_dataset(songs, workers=None)
    write_cleaned(dataset, Survey([], {}), tmp_path / "clean.csv")
    rows = read_csv(tmp_path / "clean.csv")
    assert [row["path"] for row in rows] == [song.path for song in dataset.songs]


def test_a_playlist_names_files_of_another_drive_by_url(other_drive, tmp_path):
    answer = Answer(str(tmp_path / "a b.mp3"), ("rock",), 0.5)
    playlists.write_playlists([answer], tmp_path, {"rock": "rock"})
    assert (tmp_path / "a b.mp3").as_uri() in (tmp_path / "rock.m3u8").read_text().splitlines()


def test_a_url_of_another_drive_is_its_path(tmp_path):
    (tmp_path / "D:").mkdir()
    (tmp_path / "D:" / "a b.mp3").touch()
    found, how = find_file(tmp_path, "file:///D:/a%20b.mp3")
    assert (found, bool(how)) == (tmp_path / "D:" / "a b.mp3", True)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, None])
def test_where_files_have_one_name_they_are_renamed_and_links_symbolic(
    tmp_path, monkeypatch, number
):
    """EINVAL is what Windows says of an exFAT disk; None: there is no such function."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    if number is None:
        monkeypatch.delattr(os, "link")
    else:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.wav").write_bytes(b"a")
    rename_new(tmp_path / "a.wav", tmp_path / "b.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["b.wav"]
    (tmp_path / "a.wav").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "a.wav", tmp_path / "b.wav")
    folder = tmp_path / "sorted"
    with open_collection(folder / JOURNAL) as journal:
        plan = sort_files.plan_steps(
            [Answer(str(tmp_path / "b.wav"), ("x",), 0.5)], folder, {"x": "x"}
        )
        done = sort_files.take_steps(plan, "link", journal)
    assert (done.problems, done.symbolic) == ({}, 1)
    assert Path(folder / "x" / "b.wav").is_symlink()


def test_names_that_differ_in_case_alone_are_two_files_on_any_disk(tmp_path):
    answers = []
    for name in ("one/Song.wav", "two/song.wav", "three/SONG.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
        answers.append(Answer(str(tmp_path / name), ("x",), 0.5))
    steps = sort_files.plan_steps(answers, tmp_path / "sorted", {"x": "x"})
    assert [step.target.name for step in steps] == ["Song.wav", "song (2).wav", "SONG (3).wav"]


def test_a_terminal_of_few_letters_gets_every_id(songs, model_path, tmp_path):
    """A Windows console may know 256 letters; the CSV is UTF-8 all the same."""
    audio = tmp_path / "𝄞 é.wav"
    audio.symlink_to(sorted((songs.parent / "audio").iterdir())[0])
    for words in (["predict", model_path, audio], ["tag", audio], ["check", audio.parent]):
        done = subprocess.run(
            [sys.executable, "-m", "songbag", *map(str, words)],
            env=os.environ | {"PYTHONIOENCODING": "cp1252"},
            capture_output=True,
            timeout=120,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode("cp1252")
        if words[0] == "predict":
            (row,) = csv.DictReader(done.stdout.decode("utf-8").splitlines())
            assert row["status"] == "ok" and "𝄞 é" in row["id"]
