"""Disk full, read-only, damaged, shared: a clear error, nothing half-written, and a good cache."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from songbag.audio import cache
from songbag.audio.audio_file import Source
from songbag.audio.cache import DamagedFramesError, Index, read_frames
from songbag.audio.extract import extract, extract_all
from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.settings import Limits, Sound
from songbag.storage.files import append_line, open_journal, read_journal, write_bytes
from tests.helpers import killing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts")
SOUND = Sound(mel_bands=20)


@pytest.fixture
def noises(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":
        noise = (0.1 * rng.standard_normal(22050 * 20)).astype(np.float32)
        write_waveform(tmp_path / f"{name}.wav", noise, 22050)
    return [Source(path=str(tmp_path / f"{name}.wav")) for name in "abcd"]


@contextmanager
def mounted(folder, size):
    """A disk of its own, of so many bytes."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def may_mount():
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    return done.returncode == 0


@contextmanager
def no_file_over(size):
    """This process may write no longer file; Python turns the signal into an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["full disk", "file size limit"])
def little_room(request, tmp_path):
    """A folder, and a context in which there is room for so many bytes in it."""
    if request.param == "file size limit":
        (tmp_path / "disk").mkdir()
        yield tmp_path / "disk", no_file_over
        return
    if not may_mount():
        pytest.xfail("only root may mount a small disk; the limit on file sizes is tested")
    with mounted(tmp_path / "disk", 128 << 10) as disk:

        @contextmanager
        def filled(size):
            pages = (128 << 10) // 4096 - size // 4096
            (disk / "full").write_bytes(bytes(4096 * pages))
            yield
            (disk / "full").unlink()

        yield disk, filled


def songbag(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def nothing_half_written(disk):
    assert [path.name for path in disk.rglob("*") if path.name.endswith(".tmp")] == []


def test_extraction_names_the_file_and_keeps_the_cache_good(noises, little_room):
    disk, room = little_room
    with room(40_960), pytest.raises(OSError, match=r"No space left|File too large") as caught:
        list(extract_all(noises, SOUND, disk / "cache", workers=1))
    assert caught.value.filename.startswith(f"{disk}/cache/")
    assert caught.value.filename.endswith(".safetensors")
    nothing_half_written(disk)
    for file in disk.rglob("*.safetensors"):
        read_frames(file)
    (receipt,) = extract_all(noises[:1], SOUND, disk / "cache", workers=1)
    assert receipt.status == "ok"


@pytest.mark.parametrize(
    ("job", "size"), [("train", 90_000), ("predict", 8192), ("evaluate", 8192)]
)
def test_results_name_the_file_and_are_whole_or_not_there(
    songs, model_path, little_room, job, size
):
    disk, room = little_room
    arguments = {
        "train": ["train", songs, "-o", disk / "m.songbag", "--recipe", "founding", "--epochs", 1],
        "predict": ["predict", model_path, songs, "--windows", "--csv", disk / "p.csv"],
        "evaluate": ["evaluate", model_path, songs, "--all", "-o", disk / "e"],
    }[job]
    with room(size):
        done = songbag(*arguments, "--quiet", "--workers", 1)
    assert done.exit_code == 2, done.output
    assert "No space left" in done.stderr or "File too large" in done.stderr
    assert f"({disk}/" in done.stderr
    assert ".tmp" not in done.stderr
    nothing_half_written(disk)
    for file in disk.rglob("*.songbag"):
        assert songbag("info", file).exit_code == 0


def test_a_full_disk_leaves_the_old_results(tmp_path):
    if not may_mount():
        pytest.xfail("only root may mount a small disk")
    with mounted(tmp_path / "disk", 64 << 10) as disk:
        write_bytes(disk / "p.csv", b"old")
        with pytest.raises(OSError, match="No space left") as caught:
            write_bytes(disk / "p.csv", bytes(1 << 20))
        assert caught.value.filename == str(disk / "p.csv")
        assert [path.name for path in disk.iterdir()] == ["p.csv"]
        assert (disk / "p.csv").read_bytes() == b"old"


def test_a_prediction_without_room_goes_on_when_there_is_some(songs, model_path, tmp_path):
    """What is in the journal when the disk is full is not lost."""
    command = ["predict", model_path, songs, "--windows", "--workers", 1, "--quiet", "--csv"]
    out, truth = tmp_path / "out" / "p.csv", tmp_path / "truth" / "p.csv"
    with no_file_over(20_000):
        assert songbag(*command, out).exit_code == 2
    assert len(read_journal(f"{out}.journal")) > 0
    assert not out.exists()
    assert songbag(*command, out).exit_code == 0
    assert songbag(*command, truth).exit_code == 0
    assert killing.tree(out.parent) == killing.tree(truth.parent)


def test_a_read_only_cache_serves_and_is_named_when_it_cannot(noises, tmp_path):
    if not may_mount():
        pytest.xfail("only root may mount a read-only disk")
    with mounted(tmp_path / "disk", 4 << 20) as disk:
        before = list(extract_all(noises[:3], SOUND, disk, workers=1))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert list(extract_all(noises[:3], SOUND, disk, workers=1)) == before
        with pytest.raises(OSError, match="Read-only") as caught:
            list(extract_all(noises, SOUND, disk, workers=1))
        assert str(disk) in caught.value.filename


def test_a_folder_without_permission_is_named(noises, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    code = (
        "import os, sys; from songbag.storage.files import write_bytes\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "try: write_bytes(sys.argv[1], b'x')\n"
        "except OSError as error: sys.exit(f'{error.strerror}: {error.filename}')"
    )
    for parent in folder.parents:
        if parent.name.startswith(("pytest-", "popen-", "test_")):
            parent.chmod(parent.stat().st_mode | 0o055)
    command = [sys.executable, "-c", code, str(folder / "p.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.strip() == f"Permission denied: {folder / 'p.csv'}"


# --- damage -----------------------------------------------------------------------------


def test_every_flipped_bit_of_a_frames_file_is_noticed(noises, tmp_path):
    """Also in what the file says of itself: the samples, the warnings, the level."""
    (receipt,) = extract_all(noises[:1], SOUND, tmp_path / "c", workers=1)
    file = tmp_path / "c" / receipt.key
    good = file.read_bytes()
    places = [*range(0, 700, 3), *range(700, len(good), 997)]
    harmless = 0
    for place in places:
        file.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        try:
            frames, found = read_frames(file)
        except DamagedFramesError:
            continue
        harmless += 1  # spaces and names in the header that change nothing
        file.write_bytes(good)
        whole, truth = read_frames(file)
        assert found == truth
        assert (frames == whole).all()
    assert harmless < 0.1 * len(places)
    file.write_bytes(good[:-1])
    assert extract(noises[0], SOUND, tmp_path / "c", Limits()).key == receipt.key
    assert file.read_bytes() == good


def test_a_flipped_bit_of_the_index_changes_no_receipt(noises, tmp_path):
    before = list(extract_all(noises, SOUND, tmp_path / "c", workers=1))
    index = tmp_path / "c" / "index.sqlite"
    good = index.read_bytes()
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(good, np.uint8))
    for place in [*range(0, 100, 7), *rng.choice(used, 60)]:
        index.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        for receipt, truth in zip(Index(tmp_path / "c", SOUND).lookup(noises), before):
            assert receipt in (None, truth)
    index.write_bytes(good[: len(good) // 2])
    assert list(extract_all(noises, SOUND, tmp_path / "c", workers=1)) == before
    assert Index(tmp_path / "c", SOUND).lookup(noises) == before


def test_frames_that_were_damaged_and_a_song_that_has_gone_are_a_failed_song(noises, tmp_path):
    from songbag.data.audio_dataset import AudioDataset
    from songbag.data.song import Song
    from songbag.recipes.load import load_recipe

    songs = [Song(id=str(n), path=one.path, label="x") for n, one in enumerate(noises)]

    def damaging(receipts, _):
        """The frames go bad, and the file goes, between the extraction and its use."""
        receipts = list(receipts)
        (tmp_path / "c" / receipts[1].key).write_bytes(b"bad")
        os.unlink(noises[1].path)
        (tmp_path / "c" / receipts[2].key).write_bytes(b"bad")
        return receipts

    recipe = load_recipe("founding")
    dataset = AudioDataset(songs, "here", tmp_path / "c", workers=1).load(recipe, damaging)
    assert [song.id for song in dataset.songs] == [bag.id for bag in dataset] == ["0", "2", "3"]
    assert [(one.song.id, one.reason) for one in dataset.failures] == [("1", "missing")]


def test_a_locked_index_costs_only_time(noises, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_PATIENCE_SECONDS", 0.1)
    before = list(extract_all(noises[:3], SOUND, tmp_path / "c", workers=1))
    other = sqlite3.connect(tmp_path / "c" / "index.sqlite", isolation_level=None)
    other.execute("begin exclusive")
    assert list(extract_all(noises, SOUND, tmp_path / "c", workers=1))[:3] == before
    other.execute("commit")
    other.close()
    assert list(extract_all(noises, SOUND, tmp_path / "c", workers=1))[:3] == before


def test_failures_of_the_moment_are_not_remembered(noises, tmp_path):
    short = msgspec.structs.replace(Limits(), hours=0.001)
    (failed,) = extract_all(noises[:1], SOUND, tmp_path / "c", short, workers=1)
    assert failed.reason == "too_long"
    (found,) = extract_all(noises[:1], SOUND, tmp_path / "c", workers=1)
    assert found.status == "ok"


def test_two_processes_fill_one_cache(noises, tmp_path):
    """The same songs at the same time: both get them all, and the files are those of one."""
    truth = tmp_path / "truth"
    list(extract_all(noises, SOUND, truth, workers=1))
    code = (
        "import sys; from pathlib import Path; from songbag.settings import Sound\n"
        "from songbag.audio.audio_file import Source; from songbag.audio.extract import extract_all\n"
        "found = extract_all([Source(path=p) for p in sys.argv[2:]], Sound(mel_bands=20), Path(sys.argv[1]), workers=2)\n"
        "assert [one.status for one in found] == ['ok'] * 4"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c"), *[one.path for one in noises]]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(120) for process in running] == [0, 0]
    assert killing.tree(tmp_path / "c", ["index"]) == killing.tree(truth, ["index"])


def test_a_torn_journal_loses_only_its_last_line(tmp_path):
    path = tmp_path / "j"
    for number in range(3):
        with open_journal(path) as file:
            append_line(file, number)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert read_journal(path) == [0, 1]
    with open_journal(path) as file:
        append_line(file, 3)
    assert read_journal(path) == [0, 1, 3]
    shutil.rmtree(tmp_path)
    assert read_journal(path) == []
    assert Path(path).name == "j"
