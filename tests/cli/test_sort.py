"""songbag sort, undo, predict --m3u and --write-field, from the command to the files."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

import songbag as songbag_api
from songbag.audio.cache import Index, file_stamp
from songbag.audio.tags import read_field, write_field
from songbag.data.open_songs import open_audio
from songbag.data.song_table import read_songs
from songbag.errors import SettingsError
from songbag.inference.model_file import load_model
from songbag.tasks.predict import Withholding
from songbag.tasks.sort import Sorting
from tests.helpers import command, killing
from tests.helpers.collections import packets, write_collection
from tests.helpers.songs import QUIET, audio_dataset


def songbag(*arguments):
    """A command, in this process alone where it predicts."""
    alone = ("--workers", 1) if arguments[0] != "undo" else ()
    return command.songbag(*arguments, *alone)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    write_collection(folder, 7)
    shutil.copy(folder / "cd 1" / "one.mp3", folder / "cd 2" / "one.mp3")  # the same twice
    return folder


@pytest.fixture
def music(collection, tmp_path):
    """A copy of the collection, in which one file is not audio."""
    shutil.copytree(collection, tmp_path / "music")
    (tmp_path / "music" / "broken.mp3").write_bytes(b"not audio")
    return tmp_path / "music"


def test_a_move_is_shown_first_then_done_then_undone(model_path, music, tmp_path):
    original, target = killing.tree(tmp_path), tmp_path / "sorted"
    words = ("sort", model_path, music, "--into", target, "--move", "--below", "0.4")
    shown = songbag(*words)
    assert shown.returncode == 1  # broken.mp3
    assert "would move" in shown.stdout and "--yes" in shown.stdout
    assert "broken.mp3" in shown.stderr
    assert killing.tree(tmp_path) == original
    done = songbag(*words, "--yes")
    assert done.returncode == 1
    assert "moved" in done.stdout and "songbag undo" in done.stdout
    left = sorted(killing.tree(music))
    twice = [name for name in left if name != "broken.mp3"]  # the same content is left
    assert twice == ["cd 2/one.mp3"]
    labels = set(load_model(model_path).card.labels) | {"_unsure"}
    assert {Path(name).parts[0] for name in killing.tree(target, ["journal"])} <= labels
    assert len(killing.tree(target, ["journal"])) == 7
    again = songbag(*words, "--yes")
    assert "1 there already" in again.stdout
    undone = songbag("undo", target)
    assert undone.returncode == 0, undone.stderr
    assert killing.tree(tmp_path) == original
    assert not target.exists()
    assert songbag("undo", tmp_path).returncode == 2  # SettingsError: no journal


@pytest.mark.parametrize("how", [(), ("--link",)])
def test_copies_and_links_are_removed_unless_changed(model_path, music, tmp_path, how):
    target = tmp_path / "sorted"
    original = killing.tree(music)
    assert (
        "nothing was changed"
        in songbag("sort", model_path, music, "--into", target, "--dry-run", *how).stdout
    )
    assert not target.exists()
    songbag("sort", model_path, music, "--into", target, *how)
    files = sorted(file for file in target.rglob("*.*") if file.parent != target)
    assert len(files) == 7
    if how:
        assert all(file.stat().st_nlink == 2 for file in files)
        files[0].unlink()
        files[0].write_bytes(b"mine")
    else:
        files[0].write_bytes(files[0].read_bytes() + b"mine")
    (files[1].parent / "notes.txt").write_text("mine")
    undone = songbag("undo", target)
    assert undone.returncode == 1
    assert files[0].name.encode("unicode_escape").decode()[:3] in undone.stderr
    assert files[0].read_bytes().endswith(b"mine")
    assert (files[1].parent / "notes.txt").exists()
    assert not any(file.exists() for file in files[1:])
    assert killing.tree(music) == original
    files[0].unlink()
    assert songbag("undo", target).returncode == 0
    assert [file.name for file in target.rglob("*.*")] == ["notes.txt"]


def test_another_file_of_the_name_is_never_overwritten(model_path, music, tmp_path):
    target = tmp_path / "sorted"
    for name in ("cd 1", "cd 2"):
        write_field(music / name / "one.mp3", "genre", [name])
    for label in (*load_model(model_path).card.labels, "_unsure"):
        (target / label).mkdir(parents=True)
        (target / label / "one.mp3").write_bytes(b"another")
        (target / label / "one (2).mp3").symlink_to("nowhere")
    done = songbag("sort", model_path, music, "--into", target)
    assert "one (3).mp3" in done.stdout and "one (4).mp3" in done.stdout
    assert all(file.read_bytes() == b"another" for file in target.rglob("one.mp3"))
    assert songbag("undo", target).returncode == 0
    assert len(list(target.rglob("one.mp3"))) == 4


def test_what_cannot_be_sorted_is_refused(model_path, music, tmp_path):
    (tmp_path / "parts.csv").write_text("path,start,end\nmusic/cd 1/one.mp3,0,0.2\n")
    target = tmp_path / "sorted"
    for songs, options, reason in (
        (tmp_path / "parts.csv", (), "whole files"),
        ("s3://bucket/a.mp3", (), "URL"),
        (music, ("--move", "--link"), "give one"),
        (music, ("--yes",), "--move"),
        (music, ("--below", "0.5", "--precision", "0.9"), "give one"),
        (tmp_path / "none", (), "none"),
    ):
        done = songbag("sort", model_path, songs, "--into", target, *options)
        assert done.returncode == 2
        assert reason in done.stderr, (songs, done.stderr)
    assert not (target / "rock").exists()
    several = load_model(model_path).with_card(multilabel=True)
    with pytest.raises(SettingsError, match="several labels"):
        Sorting(several, audio_dataset(music), target, "move", Withholding(), QUIET)


def test_sorting_and_undoing_from_python(model_path, music, tmp_path):
    target, before = tmp_path / "sorted", {p: p.read_bytes() for p in music.rglob("*.mp3")}
    planned = songbag_api.sort(model_path, [music], target, dry_run=True, quiet=True)
    assert not target.exists()
    sorted_files = songbag_api.sort(songbag_api.load(model_path), [music], target, quiet=True)
    failed = sorted_files[sorted_files.status == "failed"]
    assert [Path(name).name for name in failed.source] == ["broken.mp3"]
    assert "not an audio file" in failed.reason.iloc[0]
    assert sorted(planned.target) == sorted(sorted_files.target)
    assert set(planned.status) == {"planned", "there", "failed"}  # two have the same content
    copies = sorted_files[sorted_files.status == "done"]
    assert all(Path(target).is_file() for target in copies.target)
    assert songbag_api.undo(target) == []
    assert not target.exists()
    assert {p: p.read_bytes() for p in music.rglob("*.mp3")} == before


def test_symbolic_links_and_files_that_are_listed_twice(model_path, music, tmp_path):
    link = tmp_path / "link.mp3"
    link.symlink_to(music / "cd 1" / "one.mp3")
    target = tmp_path / "sorted"
    moved = songbag("sort", model_path, link, "--into", target, "--move", "--yes")
    assert moved.returncode == 1 and "symbolic link stays" in moved.stderr
    assert link.is_symlink()
    copied = songbag("sort", model_path, link, music / "cd 1" / "one.mp3", "--into", target)
    assert copied.returncode == 0
    files = list(target.rglob("*.mp3"))
    assert [file.name for file in files] == ["link.mp3"]
    assert not files[0].is_symlink()


def test_playlists_are_read_again_as_the_same_files(model_path, music, tmp_path):
    lists = tmp_path / "my lists"
    done = songbag("predict", model_path, music, "--m3u", lists, "--csv", tmp_path / "p.csv")
    assert done.returncode == 1
    labels = load_model(model_path).card.labels
    assert {file.name for file in lists.iterdir()} == {f"{label}.m3u8" for label in labels}
    read = []
    for file in lists.iterdir():
        text = file.read_bytes().decode()
        assert text.startswith("#EXTM3U\n")
        assert "#EXTINF" not in text or "#EXTINF:1," in text or "#EXTINF:0," in text
        if text.count("\n") > 1:
            read += [os.path.realpath(song.path) for song in read_songs(file).songs]
    everything = {str(p) for p in music.rglob("*") if p.is_file() and p.name != "broken.mp3"}
    assert sorted(read) == sorted(everything)
    inside = music / "cd 1"  # paths that begin with # and with a space
    songbag("predict", model_path, inside, "--m3u", inside)
    songs = [s.path for f in inside.glob("*.m3u8") if f.read_text().count("\n") > 1
             for s in read_songs(f).songs]  # fmt: skip
    assert {os.path.realpath(s) for s in songs} == {s for s in everything if "/cd 1/" in s}


@pytest.mark.parametrize("field", ["genre", "SONGBAG_GENRE"])
def test_labels_become_tags_and_undo_brings_the_old_ones(model_path, music, tmp_path, field):
    files = sorted(p for p in music.rglob("*") if p.is_file() and p.name != "broken.mp3")
    shutil.copy(files[0], music / "read only.mp3")
    (music / "read only.mp3").chmod(0o444)
    (music / "song.mkv").write_bytes(b"")
    sound = {file: packets(file) for file in files}
    old = {file: read_field(file, field, raw=True) for file in files}
    artist = {file: read_field(file, "artist") for file in files}
    journal, cache = tmp_path / "genres.journal", tmp_path / "cache"
    dataset = open_audio(music, None)
    sound_settings = load_model(model_path).card.recipe.sound
    list(audio_dataset(str(music), cache).load(load_model(model_path).card.recipe).songs)
    words = ("predict", model_path, music, "--write-field", field, "--journal", journal)
    done = songbag(*words, "--csv", tmp_path / "p.csv", "--cache", cache)
    assert done.returncode == 1
    assert "read only.mp3" in done.stderr and f"songbag undo {journal}" in done.stderr
    rows = {row["id"]: row for row in json_rows(tmp_path, model_path, music)}
    for file in files:
        assert read_field(file, field) == (rows[str(file)]["predicted"],)
        assert packets(file) == sound[file]
        assert read_field(file, "artist") == artist[file]
    known = Index(cache, sound_settings).lookup(
        [song.source(load_model(model_path).card.recipe.excerpt) for song in dataset.songs
         if Path(song.path) in files]
    )  # fmt: skip
    assert all(receipt and receipt.status == "ok" for receipt in known)
    again = songbag(*words, "--csv", tmp_path / "p.csv", "--cache", cache)
    assert f"there already in {len(files)}" in again.stderr
    write_field(files[2], field, ["mine"])
    undone = songbag("undo", journal)
    assert undone.returncode == 1 and "changed since" in undone.stderr
    for file in files:
        expected = ("mine",) if file == files[2] else old[file]
        assert read_field(file, field, raw=True) == expected
        assert packets(file) == sound[file]
    assert stat.S_IMODE((music / "read only.mp3").stat().st_mode) == 0o444


def json_rows(tmp_path, model_path, music):
    """The rows of --json .jsonl."""
    file = tmp_path / "rows.jsonl"
    songbag("predict", model_path, music, "--json", file, "--windows")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_json_lines_nest_by_label(model_path, music, tmp_path):
    rows = json_rows(tmp_path, model_path, music)
    labels = list(load_model(model_path).card.labels)
    failed = next(row for row in rows if row["status"] == "failed")
    assert failed["windows_detail"] == [] and set(failed["probabilities"].values()) == {None}
    row = next(row for row in rows if row["status"] == "ok")
    assert list(row["probabilities"]) == labels
    first, second = sorted(row["probabilities"].values(), reverse=True)[:2]
    assert row["margin"] == pytest.approx(first - second)
    assert list(row["windows_detail"][0]["contributions"]) == labels


def test_a_spreadsheet_is_told_that_it_is_utf8(model_path, music, tmp_path):
    for name, options in (("plain.csv", ()), ("marked.csv", ("--bom",))):
        songbag("predict", model_path, music, "--csv", tmp_path / name, *options)
    plain, marked = ((tmp_path / f"{name}.csv").read_bytes() for name in ("plain", "marked"))
    assert marked == b"\xef\xbb\xbf" + plain
    assert plain.startswith(b"id,status,reason,label,predicted,confidence,margin,p_")


def test_destinations_that_do_not_fit_are_refused_first(model_path, music, tmp_path):
    for options, reason in (
        (("--write-field", "gener"), "Did you mean 'genre'"),
        (("--m3u", tmp_path / "l", "-o", tmp_path / "parts"), "-o writes Parquet"),
        (("--write-field", "genre", "--journal", music), "Is a directory"),
    ):
        done = songbag("predict", model_path, music, *options)
        assert done.returncode == 2
        assert reason in done.stderr
    assert file_stamp(str(tmp_path / "l")) == (-1, -1)
