"""Laws 5 and 9: frames are cached by content and settings, and files are written whole."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from songbag.audio import cache
from songbag.audio.cache import DamagedFramesError, Index, Source, frames_key, read_frames
from songbag.audio.extract import extract, extract_all
from songbag.audio.waveform import excerpt_span, write_waveform
from songbag.settings import Encoding, Excerpt, Limits, Sound

SOUND = Sound(mel_bands=20)


@pytest.fixture
def noises(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":
        noise = (0.1 * rng.standard_normal(22050 * 3)).astype(np.float32)
        write_waveform(tmp_path / f"{name}.wav", noise, 22050)
    return [Source(path=str(tmp_path / f"{name}.wav")) for name in "abcd"]


def test_the_pool_and_this_process_give_the_same_bytes(noises, tmp_path):
    receipts = list(extract_all(noises, SOUND, tmp_path / "one", workers=1))
    assert list(extract_all(noises, SOUND, tmp_path / "two", workers=2)) == receipts
    for receipt in receipts:
        first, second = tmp_path / "one" / receipt.key, tmp_path / "two" / receipt.key
        assert first.read_bytes() == second.read_bytes()


def test_an_unchanged_file_is_not_read_again(noises, tmp_path, monkeypatch):
    before = list(extract_all(noises, SOUND, tmp_path / "c", workers=1))
    monkeypatch.setattr("songbag.audio.extract.extract", lambda *a, **k: pytest.fail("read again"))
    assert list(extract_all(noises, SOUND, tmp_path / "c", workers=1)) == before


def test_a_changed_file_is_read_again(noises, tmp_path):
    (before,) = extract_all(noises[:1], SOUND, tmp_path / "c")
    write_waveform(Path(noises[0].path), np.zeros(22050, np.float32), 22050)
    (after,) = extract_all(noises[:1], SOUND, tmp_path / "c")
    assert after.key != before.key
    assert after.samples == 22050


def test_a_copied_file_shares_its_frames(noises, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(noises[0].path).read_bytes())
    sources = [noises[0], Source(path=str(copy))]
    first, second = extract_all(sources, SOUND, tmp_path / "c", workers=1)
    assert first.key == second.key


def test_what_another_version_cached_is_extracted_again(noises, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    monkeypatch.setattr(cache, "_CODE", 0)  # as before songs were warned of more
    before = list(extract_all(noises, SOUND, folder, workers=1))
    monkeypatch.setattr("songbag.audio.extract.extract", lambda *a, **k: pytest.fail("read again"))
    assert list(extract_all(noises, SOUND, folder, workers=1)) == before
    monkeypatch.undo()
    with pytest.raises(DamagedFramesError, match="another version"):
        read_frames(folder / before[0].key)
    assert list(extract_all(noises, SOUND, folder, workers=1)) == before
    assert read_frames(folder / before[0].key)[1].key == before[0].key


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_a_damaged_frames_file_is_noticed_and_made_again(noises, tmp_path, damage):
    folder = tmp_path / "c"
    receipt = extract(noises[0], SOUND, folder, Limits())
    file = folder / receipt.key
    good = file.read_bytes()
    bad = {
        "flip": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
        "truncate": good[:-100],
        "empty": b"",
        "delete": None,
    }[damage]
    file.unlink() if bad is None else file.write_bytes(bad)
    with pytest.raises(DamagedFramesError):
        read_frames(file)
    assert extract(noises[0], SOUND, folder, Limits()).key == receipt.key
    assert file.read_bytes() == good


def test_frames_read_the_same_without_zlib_ng(noises, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    receipt = extract(noises[0], SOUND, folder, Limits())
    monkeypatch.setattr(cache, "crc32", zlib.crc32)
    assert read_frames(folder / receipt.key)[1].key == receipt.key


def test_more_files_than_are_asked_for_at_once_are_all_known(noises, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    halves = [msgspec.structs.replace(source, end=1.5) for source in noises]
    before = list(extract_all([*noises, *halves], SOUND, folder))
    monkeypatch.setattr(cache, "_PATHS_PER_QUERY", 3)
    assert Index(folder, SOUND).lookup([*halves, *noises]) == [*before[4:], *before[:4]]


def test_a_lost_or_broken_index_costs_only_time(noises, tmp_path):
    folder = tmp_path / "c"
    before = list(extract_all(noises, SOUND, folder))
    (folder / "index.sqlite").write_bytes(b"not a database at all" * 100)
    assert list(extract_all(noises, SOUND, folder)) == before
    (folder / "index.sqlite").unlink()
    assert list(extract_all(noises, SOUND, folder)) == before


def test_failures_are_receipts_in_their_place(noises, tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"nothing")
    sources = [noises[0], Source(path=str(bad)), Source(path=str(tmp_path / "none.wav")), noises[1]]
    for workers in (1, 2):
        receipts = list(extract_all(sources, SOUND, tmp_path / f"c{workers}", workers=workers))
        assert [receipt.status for receipt in receipts] == ["ok", "failed", "failed", "ok"]
        assert [receipt.reason for receipt in receipts[1:3]] == ["not_audio", "missing"]


def test_excerpts_and_parts_have_their_own_frames(noises, tmp_path):
    source = noises[0]
    parts = [
        source,
        msgspec.structs.replace(source, start=1.0, end=2.0),
        msgspec.structs.replace(source, excerpt=Excerpt(seconds=1.0)),
        msgspec.structs.replace(source, excerpt=Excerpt(seconds=1.0, place="middle")),
    ]
    receipts = list(extract_all(parts, SOUND, tmp_path / "c"))
    assert len({receipt.key for receipt in receipts}) == 4
    assert [receipt.samples for receipt in receipts] == [66150, 22050, 22050, 22050]
    assert excerpt_span(parts[3], Limits()) == (1.0, 2.0)


def test_every_setting_of_the_sound_changes_the_key():
    source = Source(path="x")
    changes = {
        "feature": "mfcc",
        "sample_rate": 16000,
        "frame_length": 2048,
        "hop_length": 256,
        "mel_bands": 40,
        "coefficients": 20,
        "min_frequency": 30.0,
        "top_db": 80.0,
        "deltas": True,
        "code": 4,
        "encoding": Encoding(name="x", hash="0" * 32, values=7),
    }
    assert set(changes) == set(Sound.__struct_fields__)
    keys = {frames_key("0" * 32, source, Sound(**{name: value})) for name, value in changes.items()}
    assert len(keys | {frames_key("0" * 32, source, Sound())}) == len(changes) + 1


def test_the_index_serves_two_processes_at_once(noises, tmp_path):
    code = (
        "import sys; from pathlib import Path; from songbag.settings import Sound\n"
        "from songbag.audio.cache import Source; from songbag.audio.extract import extract_all\n"
        "list(extract_all([Source(path=p) for p in sys.argv[2:]], Sound(mel_bands=20), Path(sys.argv[1]), workers=1))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c"), *[source.path for source in noises]]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert None not in Index(tmp_path / "c", SOUND).lookup(noises)


@pytest.fixture(params=["copies", "new processes"])
def kind_of_worker(request, monkeypatch):
    """Whether workers are copies of this process: only where it has a single thread.

    The number of threads is patched: earlier tests may have left idle threads.
    """
    threads = {"copies": 1, "new processes": 2}[request.param]
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    return request.param


def test_a_killed_worker_loses_no_song(tmp_path, kind_of_worker):
    rng = np.random.default_rng(0)
    sources = []
    for number in range(24):
        noise = (0.1 * rng.standard_normal(22050 * 20)).astype(np.float32)
        write_waveform(tmp_path / f"{number}.flac", noise, 22050)
        sources.append(Source(path=str(tmp_path / f"{number}.flac")))
    receipts = []
    for receipt in extract_all(sources, SOUND, tmp_path / "c", workers=2):
        receipts.append(receipt)
        if len(receipts) == 4:
            workers = multiprocessing.active_children()
            copied = isinstance(workers[0], multiprocessing.context.ForkProcess)
            assert copied == (kind_of_worker == "copies" and sys.platform == "linux")
            os.kill(workers[0].pid, signal.SIGKILL)
    assert [receipt.status for receipt in receipts] == ["ok"] * 24
    assert receipts == list(extract_all(sources, SOUND, tmp_path / "other", workers=1))


def test_a_killed_run_goes_on_with_the_same_bytes(noises, tmp_path):
    code = (
        "import sys; from pathlib import Path; from songbag.settings import Sound\n"
        "from songbag.audio.cache import Source; from songbag.audio.extract import extract_all\n"
        "for r in extract_all([Source(path=p) for p in sys.argv[2:]], Sound(mel_bands=20), Path(sys.argv[1]), workers=1):\n"
        "    print('one', flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c"), *[source.path for source in noises]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    after = list(extract_all(noises, SOUND, tmp_path / "c", workers=1))
    whole = list(extract_all(noises, SOUND, tmp_path / "whole", workers=1))
    assert after == whole
    for receipt in after:
        ours, theirs = tmp_path / "c" / receipt.key, tmp_path / "whole" / receipt.key
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_index_is_a_database_anyone_can_open(noises, tmp_path):
    list(extract_all(noises, SOUND, tmp_path / "c"))
    with sqlite3.connect(tmp_path / "c" / "index.sqlite") as base:
        assert base.execute("select count(*) from files").fetchone() == (4,)
    base.close()
