"""`songbag check` on planted faults: real files, each fault named, nothing else touched."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soxr

import songbag
from songbag.audio.sandbox import stop_decoder
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.data.song_table import read_songs
from songbag.errors import SettingsError, SongTableError
from songbag.quality import file_facts
from songbag.quality.findings import COLUMNS, KINDS
from tests.helpers.audio import read_waveform
from tests.helpers.command import songbag as command
from tests.helpers.songs import audio_dataset
from tests.helpers.terminal import on_terminal

RATE = 22050


def run(*arguments):
    return command("check", *arguments)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class Planted:
    """A collection with faults, and what should be found: kind to ids."""

    def __init__(self, folder, songs):
        self.folder = folder
        self.rows = [dict(row, note=f"note {n}", split="") for n, row in enumerate(rows_of(songs))]
        self.expected = {kind: set() for kind in KINDS}
        (folder / "audio").mkdir()
        for row in self.rows:
            shutil.copy(songs.parent / row["path"], folder / row["path"])

    def wave(self, place):
        return read_waveform(self.folder / self.rows[place]["path"], RATE)[0]

    def path(self, ending):
        """Return the place of some song with that ending, none of which `plant_copies` shifts."""
        fits = (n for n, row in enumerate(self.rows) if row["path"].endswith(ending))
        return next(n for n in fits if n % 3)

    def add(self, name, kind, like=0, waveform=None, rate=RATE, bit_rate=128_000, **cells):
        """Append a row, written from a waveform if there is one, and expect a finding."""
        target = self.folder / "audio" / name
        if waveform is not None:
            write_waveform(target, np.clip(waveform, -1, 1).astype(np.float32), rate, bit_rate)
        row = self.rows[like] | {"path": f"audio/{name}", "note": "planted"} | cells
        self.rows.append(row)
        if kind:
            self.expected[kind].add(row["path"])
        return target


@pytest.fixture(scope="module")
def planted(songs, tmp_path_factory):
    made = Planted(tmp_path_factory.mktemp("planted"), songs)
    rng = np.random.default_rng(3)
    noise = (0.1 * rng.standard_normal(RATE * 12)).astype(np.float32)
    made.add("empty.mp3", "unreadable").touch()
    made.add("photo.mp3", "unreadable").write_bytes(b"\xff\xd8\xff\xe0JFIF" + rng.bytes(5000))
    made.add("gone.wav", "unreadable")
    made.add("zeros.wav", "silent", waveform=np.zeros(RATE * 12))
    made.add("zeros2.wav", "silent", waveform=np.zeros(RATE * 12))
    made.add("hum.flac", "silent", waveform=noise * 1e-4)
    made.add("loud.flac", "clipped", waveform=noise * 12)
    made.add("tiny.wav", "short", waveform=noise[: RATE * 2])
    for ending, bit_rate in ((".mp3", 64_000), (".wav", 0), (".opus", 64_000), (".flac", 0)):
        fresh = synthesise("waltz", np.random.default_rng([9, len(ending), bit_rate]), 20.0, RATE)
        file = made.add(f"half{ending}", "truncated", waveform=fresh, bit_rate=bit_rate or 128_000)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
    fresh = synthesise("drift", np.random.default_rng(77), 20.0, RATE)
    file = made.add("holes.mp3", "damaged", waveform=fresh)
    data = bytearray(file.read_bytes())
    data[60_000:90_000] = rng.bytes(30_000)
    file.write_bytes(bytes(data))
    plant_copies(made, rng)
    made.add("solo.wav", None, waveform=noise[::-1], label="polka", artist="solo")
    made.expected["small_class"].add("")
    made.rows[2]["artist"] = "Gallop-Band 1 "
    made.rows[-1]["artist"] = "The  Sólo"
    rough = 0.1 * rng.standard_normal(RATE * 10)
    made.add("other.wav", None, waveform=rough, label="Polka", artist="solo")
    write_rows(made.folder / "songs.csv", made.rows)
    return made


def plant_copies(made, rng):
    """Add copies of every sort: re-tagged, re-wrapped, re-encoded, shifted, relabelled."""
    mp3, wav = made.path(".mp3"), made.path(".wav")
    tagged = made.add("tagged.mp3", "duplicate", like=mp3)
    original = (made.folder / made.rows[mp3]["path"]).read_bytes()
    tagged.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + original)
    made.add("wrapped.flac", "duplicate", like=wav, waveform=made.wave(wav))
    for number, (ending, rate, bit_rate) in enumerate(
        [
            *[(".mp3", 22050, 32_000), (".mp3", 44100, 64_000), (".m4a", 44100, 64_000)],
            *[(".opus", 48000, 32_000), (".wav", 16000, 0), (".flac", 22050, 0)],
        ]
    ):
        place = number * 3
        shift = int(RATE * rng.uniform(0.3, 5))
        wave = made.wave(place)[shift:] * 10 ** (rng.uniform(-12, 0) / 20)
        wave = wave if rate == RATE else soxr.resample(wave, RATE, rate)
        kind, cells = ("copy", {}) if number < 4 else ("label_conflict", {"label": "waltz"})
        if made.rows[place]["label"] == "waltz":
            kind = "copy"
        made.add(f"copy{number}{ending}", kind, place, wave, rate, bit_rate or 128_000, **cells)


@pytest.fixture(scope="module")
def checked(planted, tmp_path_factory):
    """The command on the planted songs: (process, findings)."""
    out = tmp_path_factory.mktemp("out") / "findings.csv"
    done = run(planted.folder / "songs.csv", "-o", out, "--fix", planted.folder / "cleaned.csv")
    return done, rows_of(out)


def pairs_of(row):
    return frozenset((row["id"], row["other_id"]))


def test_every_planted_fault_is_found_and_named(planted, checked):
    done, found = checked
    assert done.returncode == 1, done.stderr
    assert list(found[0]) == COLUMNS
    for kind in ("unreadable", "silent", "clipped", "short", "truncated", "damaged", "small_class"):
        ids = {row["id"] for row in found if row["kind"] == kind}
        assert planted.expected[kind] <= ids, kind
        # what is cut may be damaged at its end as well, and the other way round
        both = planted.expected["truncated"] | planted.expected["damaged"]
        assert kind == "small_class" or ids - planted.expected[kind] <= both, kind
    assert {row["severity"] for row in found} <= {"error", "warning", "note"}
    assert all(row["found"] and row["advice"] for row in found)
    reasons = " ".join(row["found"] for row in found if row["kind"] == "unreadable")
    assert "empty" in reasons and "missing" in reasons and "not_audio" in reasons


def test_every_copy_is_found_and_no_other_pair(planted, checked):
    _, found = checked
    for kind in ("duplicate", "copy", "label_conflict"):
        pairs = [row for row in found if row["kind"] == kind]
        wanted = planted.expected[kind]
        assert len(pairs) == len(wanted), kind
        for row in pairs:
            assert wanted & pairs_of(row), row
            assert (row["label"] != row["other_label"]) == (kind == "label_conflict")
    assert not [row for row in found if row["kind"] == "shared_part"]


def test_names_written_two_ways_are_reported(checked):
    _, found = checked
    said = [row["found"] for row in found if row["kind"] == "spelling"]
    assert any("artist 'Gallop-Band 1'" in text and "'gallop band 1'" in text for text in said)
    assert any("'The  Sólo'" in text and "'solo'" in text for text in said)
    assert any(text.startswith("label") and "'Polka'" in text for text in said)
    assert len(said) == 3


def test_the_cleaned_table_keeps_columns_and_order(planted, checked):
    done, _ = checked
    before, after = planted.rows, rows_of(planted.folder / "cleaned.csv")
    assert list(after[0]) == list(before[0])
    kept = [row["path"] for row in after]
    assert kept == [row["path"] for row in before if row["path"] in kept]
    assert {row["path"]: row["note"] for row in before}.items() >= {
        row["path"]: row["note"] for row in after
    }.items()
    gone = {row["path"] for row in before} - set(kept)
    assert planted.expected["unreadable"] | planted.expected["silent"] <= gone
    assert planted.expected["label_conflict"] <= gone
    for path in gone:
        assert f"dropped: {path}: " in done.stderr
    again = run(planted.folder / "cleaned.csv", "-o", planted.folder / "again.csv")
    kinds = {row["kind"] for row in rows_of(planted.folder / "again.csv")}
    assert again.returncode == 1
    assert not kinds & {"unreadable", "silent", "duplicate", "copy", "label_conflict"}


def test_the_best_copy_stays(planted, checked):
    wav = planted.rows[planted.path(".wav")]["path"]
    kept = {row["path"] for row in rows_of(planted.folder / "cleaned.csv")}
    # the same sound: the larger file, or the first
    assert len(kept & {wav, "audio/wrapped.flac"}) == 1
    trimmed = [path for path in planted.expected["copy"] if path.endswith((".mp3", ".opus"))]
    assert trimmed and not kept & set(trimmed)


def test_a_cleaned_table_elsewhere_still_names_its_songs(planted, tmp_path):
    (tmp_path / "sub").mkdir()
    output = tmp_path / "sub" / "cleaned.csv"
    run(planted.folder / "songs.csv", "--fix", output)
    table = read_songs(output, allow_outside=True)
    assert all(Path(song.path).is_file() for song in table.songs)
    assert {song.id for song in table.songs} <= {row["path"] for row in planted.rows}
    refused = run(planted.folder / "songs.csv", "--fix", planted.folder / "songs.csv")
    assert refused.returncode == 2
    assert "the table itself" in refused.stderr


def test_a_clean_collection_is_exit_0_and_no_table_is_exit_2(songs, tmp_path):
    rows = [{k: v for k, v in row.items() if k != "artist"} for row in rows_of(songs)]
    write_rows(songs.parent / "plain.csv", rows)
    done = run(songs.parent / "plain.csv", "-o", tmp_path / "f.csv")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "f.csv").read_text().splitlines() == [",".join(COLUMNS)]
    assert run(tmp_path / "none.csv").returncode == 2
    assert run(songs, "--crossval", tmp_path).returncode == 2


def test_piped_it_is_a_line_a_finding(checked):
    done, found = checked
    lines = done.stdout.splitlines()
    assert len(lines) == len(found)
    assert all(re.match(r"(error|warning|note): [a-z_]+: ", line) for line in lines)
    assert lines[0].startswith("error")


def test_on_a_terminal_it_fits_80_columns(planted, checked):
    code, output = on_terminal("check", planted.folder / "songs.csv")
    assert code == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    lines = [line.rstrip() for line in text.replace("\r", "\n").split("\n")]
    assert max(map(len, lines)) <= 80
    for kind in ("label_conflict", "truncated", "spelling"):
        assert kind in text


def test_from_python_it_is_a_data_frame(planted, checked):
    frame = songbag.check(planted.folder / "songs.csv", quiet=True)
    assert list(frame.columns) == COLUMNS
    assert frame.to_dict("records") == checked[1]
    table = pandas.read_csv(planted.folder / "songs.csv").head(24)
    table["id"] = table["path"]
    table["path"] = f"{planted.folder}/" + table["path"]
    few = songbag.check(table, quiet=True, fix=planted.folder / "frame.csv")
    assert set(few.kind) <= {"spelling", "small_class", "giveaway"}
    assert len(rows_of(planted.folder / "frame.csv")) == 24


def test_a_second_check_reads_no_file_again(planted, checked, monkeypatch):
    monkeypatch.setattr(file_facts, "run_in_sandbox", lambda *a: pytest.fail("read again"))
    assert len(songbag.check(planted.folder / "songs.csv", quiet=True, workers=1))


def test_a_file_that_kills_its_reader_is_a_finding(songs, monkeypatch, tmp_path):
    """Files are read in processes apart, and a check goes on when one of those dies."""
    real, evil = file_facts.decode_facts, rows_of(songs)[3]["path"]

    def heard(source, *rest):
        if source.path.endswith(evil):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(source, *rest)

    stop_decoder()  # a child of an earlier test would have the function of before
    # So would the helper that forks for callers with threads, which earlier tests may have left.
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr(file_facts, "decode_facts", heard)
    monkeypatch.setenv("SONGBAG_CACHE", str(tmp_path))
    frame = songbag.check(songs, quiet=True, workers=1)
    unreadable = frame[frame.kind == "unreadable"]
    assert list(unreadable.id) == [evil]
    assert unreadable.found.str.startswith("worker_died").all()


def test_answers_of_a_cross_validation_rank_labels(songs, tmp_path):
    rows = rows_of(songs)
    answers = []
    for number, row in enumerate(rows):
        right = GENRES[(GENRES.index(row["label"]) + (number < 2)) % 3]
        shares = {f"p_{genre}": 0.8 if genre == right else 0.1 for genre in GENRES}
        answers.append({"id": row["path"], "status": "ok", "label": row["label"], **shares})
    answers[5] |= {"status": "failed"} | {f"p_{genre}": "" for genre in GENRES}
    write_rows(tmp_path / "predictions.csv", answers)
    done = run(songs, "--crossval", tmp_path, "-o", tmp_path / "f.csv")
    assert done.returncode == 1
    found = [row for row in rows_of(tmp_path / "f.csv") if row["kind"] == "suspicious_label"]
    assert {row["id"] for row in found} == {rows[0]["path"], rows[1]["path"]}
    assert found[0]["found"].startswith("rank 1 of 2")
    one = [songs.parent / "audio" / Path(rows[0]["path"]).name]
    with pytest.raises(SongTableError, match="answers none"):
        songbag.check(one, crossval=tmp_path)


def test_a_training_says_what_costs_nothing(songs, tmp_path):
    from songbag.recipes.load import load_recipe
    from songbag.tasks.check import remarks

    rows = rows_of(songs)
    rows[3]["artist"] = "GALLOP band 1"
    extra = dict(rows[0], path="audio/again" + Path(rows[0]["path"]).suffix, label="waltz")
    shutil.copy(songs.parent / rows[0]["path"], songs.parent / extra["path"])
    write_rows(songs.parent / "again.csv", [*rows, extra])
    dataset = audio_dataset(songs.parent / "again.csv", tmp_path)
    lines = remarks(dataset.load(load_recipe("founding")))
    assert lines[0].startswith("error: label_conflict: audio/again")
    assert any("'GALLOP band 1' (1 song)" in line for line in lines)
    (songs.parent / extra["path"]).unlink()


def test_a_cleaned_table_has_a_csv_name(songs, tmp_path):
    with pytest.raises(SettingsError, match="name it so"):
        songbag.check(songs, fix=tmp_path / "cleaned.txt", quiet=True)


def test_check_needs_neither_torch_nor_sklearn_nor_pandas(songs):
    code = (
        "import sys\n"
        "from songbag.cli import main\n"
        "try: main(['check', sys.argv[1], '-q'])\n"
        "except SystemExit as end: assert end.code in (0, 1), end.code\n"
        "assert not {'torch', 'sklearn', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(songs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "check" in main.commands
