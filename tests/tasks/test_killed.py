"""Kill -9 loses nothing: the next run goes on, and its result is that of an undisturbed one."""

import os
import sys
import time

import numpy as np
import pytest

from songbag.audio.audio_file import Source
from songbag.audio.cache import DamagedFramesError, Index, read_frames
from songbag.audio.extract import extract_all
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.settings import Sound
from tests.helpers import killed_work, killing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes by /proc")
EXTRACT = (
    "import sys; from pathlib import Path; from songbag.settings import Sound\n"
    "from songbag.audio.audio_file import Source; from songbag.audio.extract import extract_all\n"
    "cache, workers, *paths = sys.argv[1:]\n"
    "for r in extract_all([Source(path=p) for p in paths], Sound(), Path(cache), workers=int(workers)):\n"
    "    assert r.status == 'ok', r"
)


@pytest.fixture(scope="module")
def short_songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    for number in range(10):
        genre, ending = GENRES[number % 3], (".wav", ".flac", ".mp3", ".opus")[number % 4]
        waveform = synthesise(genre, np.random.default_rng(number), 8.0)
        write_waveform(folder / f"{number:02d}{ending}", waveform, 22050)
    return folder


@pytest.mark.full
@pytest.mark.torture
def test_a_killed_extraction_goes_on_bit_for_bit(short_songs, tmp_path, often, figure):
    songs = sorted(short_songs.iterdir())
    truth = tmp_path / "truth"
    list(extract_all([Source(path=str(path)) for path in songs], Sound(), truth, workers=1))
    expected = killing.tree(truth, ["index"])
    caches, left = [], 0

    def reset():
        caches.append(tmp_path / f"cache{len(caches)}")
        command[3] = caches[-1]

    def verify():
        nonlocal left
        found = killing.tree(caches[-1], ["index"])
        left += sum(name.endswith(".tmp") for name in found)
        assert {k: v for k, v in found.items() if not k.endswith(".tmp")} == expected
        known = Index(caches[-1], Sound()).lookup([Source(path=str(path)) for path in songs])
        assert None not in known

    for workers in often([2], [1, 2]):
        command = [sys.executable, "-c", EXTRACT, "", workers, *songs]
        times = often(3, 50, 8)
        hits = killing.torment(command, times, np.random.default_rng(workers), verify, reset)
        figure(f"{workers} workers", f"{hits} kills while running, {left} temporary files left")
        assert hits >= times // 2


@pytest.mark.full
@pytest.mark.torture
def test_a_killed_prediction_goes_on_byte_for_byte(
    short_songs, model_path, tmp_path, often, figure
):
    command = [sys.executable, "-m", "songbag", "predict", model_path, short_songs, "--quiet"]
    command += ["--cache", tmp_path / "cache", "--windows", "--csv"]
    truth = tmp_path / "truth"
    killing.run([*command, truth / "p.csv"])
    expected = killing.tree(truth)
    assert set(expected) == {"p.csv", "p-windows.csv"}
    outs = []

    def reset():
        outs.append(tmp_path / f"out{len(outs)}")
        running[-1] = outs[-1] / "p.csv"

    def verify():
        found = killing.tree(outs[-1])
        assert {k: v for k, v in found.items() if not k.endswith(".tmp")} == expected

    for workers in often([1], [1, 2]):
        running = [*command[:-1], "--workers", workers, "--csv", ""]
        times = often(3, 50, 8)
        hits = killing.torment(running, times, np.random.default_rng(workers), verify, reset)
        figure(f"{workers} workers", f"{hits} kills while running")
        assert hits >= times // 2


@pytest.mark.torture
@pytest.mark.full
def test_a_killed_packing_goes_on_byte_for_byte(short_songs, tmp_path, often, figure):
    folders, whole = [], {}
    packing = killing.Forked(killed_work.pack)

    def reset():
        folders.append(tmp_path / f"packed{len(folders)}")
        packing.arguments = (short_songs, folders[-1], folders[-1].with_suffix(".cache"))

    def verify():
        found = {k: v for k, v in killing.tree(folders[-1]).items() if not k.endswith(".tmp")}
        assert len(whole.setdefault("files", found)) > 4
        assert found == whole["files"]

    times = often(3, 100, 8)
    hits = killing.torment(packing, times, np.random.default_rng(0), verify, reset)
    figure("packing", f"{times} kills, {hits} while running")
    assert hits >= times // 2


@pytest.mark.full
@pytest.mark.torture
def test_a_killed_export_leaves_the_old_file_or_the_new(model_path, tmp_path, often, figure):
    graph, whole = tmp_path / "genre.onnx", {}
    exporting = killing.Forked(killed_work.export)
    exporting.arguments = (model_path, graph)

    def reset():
        graph.write_bytes(b"an older export")

    def verify():
        found = graph.read_bytes()
        assert found == whole.setdefault("graph", found)
        assert len(found) > 10_000

    def old_or_new():
        assert graph.read_bytes() in (b"an older export", whole["graph"])

    times, rng = often(5, 100), np.random.default_rng(0)
    hits = killing.torment(exporting, times, rng, verify, reset, after_kill=old_or_new)
    figure("export", f"{times} kills, {hits} while running")
    assert hits >= times // 2


@pytest.mark.torture
def test_a_killed_training_goes_on_to_the_very_weights(tmp_path, often, figure):
    folders, whole = [], {}
    training = killing.Forked(killed_work.train)

    def reset():
        folders.append(tmp_path / f"training{len(folders)}")
        training.arguments = (folders[-1],)

    def verify():
        found = (folders[-1] / "weights.safetensors").read_bytes()
        assert found == whole.setdefault("weights", found)

    times = often(3, 100, 8)
    hits = killing.torment(training, times, np.random.default_rng(0), verify, reset)
    kept = sum((folder / "state").exists() for folder in folders)
    figure("training", f"{times} kills, {hits} while running, {kept} states kept")
    assert hits >= times // 2


@pytest.mark.full
@pytest.mark.torture
def test_a_killed_comparison_goes_on_at_any_moment(tmp_path, often, figure):
    folders, whole = [], {}
    comparing = killing.Forked(killed_work.compare)

    def reset():
        folders.append(tmp_path / f"comparison{len(folders)}")
        comparing.arguments = (folders[-1],)

    def verify():
        names = ("differences.csv", "answers.csv")  # others hold seconds
        found = [(folders[-1] / name).read_bytes() for name in names]
        assert found == whole.setdefault("tables", found)

    times = often(3, 100, 8)
    hits = killing.torment(comparing, times, np.random.default_rng(0), verify, reset)
    figure("comparison", f"{times} kills, {hits} while running")
    assert hits >= times // 2


def test_workers_of_a_killed_run_end_by_themselves(short_songs, tmp_path):
    import subprocess

    songs = sorted(short_songs.iterdir())
    command = [sys.executable, "-c", EXTRACT, str(tmp_path / "cache"), "2", *map(str, songs)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache").rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    killing.wait_for_orphans(process.pid)


def test_a_temporary_file_is_never_read_and_swept_after_a_day(short_songs, tmp_path):
    song = Source(path=str(sorted(short_songs.iterdir())[0]))
    (receipt,) = extract_all([song], Sound(), tmp_path, workers=1)
    file = tmp_path / receipt.key
    whole = file.read_bytes()
    old, young = (file.with_name(f".{file.name}.{name}.tmp") for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(whole[:1000])
    os.utime(old, (time.time() - 90_000,) * 2)
    file.unlink()
    with pytest.raises(DamagedFramesError):
        read_frames(file)
    (again,) = extract_all([song], Sound(), tmp_path, workers=1)
    assert again == receipt
    assert file.read_bytes() == whole
    assert not old.exists()
    assert young.exists()  # it may be another process's, at work


def test_results_sweep_only_their_own_name(tmp_path):
    from songbag.storage.files import write_bytes

    mine, other = tmp_path / ".a.csv.1.tmp", tmp_path / ".b.csv.1.tmp"
    for path in (mine, other):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 90_000,) * 2)
    write_bytes(tmp_path / "a.csv", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.csv.1.tmp", "a.csv"]
