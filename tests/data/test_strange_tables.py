"""Song tables from strangers: nothing leaves the folder, and every id comes out as it went in."""

import csv
import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas
import pytest
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st

from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.console import visible
from songbag.data.song import Song
from songbag.data.song_table import read_songs
from songbag.errors import SongTableError
from songbag.inference.predictions import SongPrediction
from songbag.inference.predictor import Prediction
from songbag.report.write import write_report
from songbag.storage.files import csv_text
from songbag.tasks.evaluate import Evaluation, JudgedSong, compute_figures
from tests.helpers.terminal import on_terminal

EVIL = "\x1b[2J\x07\x1b]0;owned\x07=cmd|' /C calc'!A1\r\x9b31m\u202egpj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050 * 6)
    write_waveform(folder / "a.wav", noise.astype(np.float32), 22050)
    (folder / "secret").symlink_to("/etc")
    (folder / "circle").symlink_to("circle")
    return folder


def read(folder, text):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "t.csv").write_bytes(data)
    return read_songs(folder / "t.csv")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../x.wav", "outside the table's folder"),
        ("/etc/passwd", "outside the table's folder"),
        ("secret/passwd", "outside the table's folder"),
        ("a/../../../etc/passwd", "outside the table's folder"),
        ("http://127.0.0.1:9/x.wav", "URLs are not read"),
        ("file:///etc/passwd", "URLs are not read"),
        ("concat:http://127.0.0.1:9|b", "URLs are not read"),
        ("a\0.wav", "URLs are not read"),
    ],
)
def test_paths_that_lead_out_are_refused_with_the_line(folder, path, message):
    with pytest.raises(SongTableError, match=f"line 3: .*({message})"):
        read(folder, f"path,label\na.wav,x\n{path},x\n")


@pytest.mark.parametrize("path", ["concat:a.wav|a.wav", "pipe:0", "|ls", "file:a.wav", "$(ls).wav",
                                  "-", "~/x.wav", "%00.wav", "C:\\x.wav", "\\\\server\\x.wav"])  # fmt: skip
def test_other_tricks_are_only_names_of_missing_files(folder, path, model_path):
    text = f"path,id\na.wav,good\n{path},bad\n"
    (folder / "t.csv").write_text(text)
    done = CliRunner().invoke(main, ["predict", str(model_path), str(folder / "t.csv")])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["id"], row["reason"]) for row in rows] == [("good", ""), ("bad", "missing")]
    assert done.exit_code == 1


def test_links_in_a_circle_are_a_file_that_cannot_be_read(folder, model_path):
    """In every version of Python, of which some refuse to resolve them."""
    (folder / "t.csv").write_text("path\na.wav\ncircle/a.wav\n")
    done = CliRunner().invoke(main, ["predict", str(model_path), str(folder / "t.csv")])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["reason"] for row in rows] == ["", "unreadable"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label\n"a.wav,x\nb.wav,x\nc.wav,x\n', "quote may be open"),
        ('path,label\n"a.wav"b,x\n', "not a table"),
        (f"path,label\na.wav,{'x' * 200_000}\n", "longer than"),
        ("path,label\nb\xe9.wav,x\n".encode("latin-1"), "line 2: not UTF-8"),
        (b"\x80\x04\x95", "not UTF-8"),
        ("path,label,id\na.wav,x,1\na.wav,y,1\n", "id '1' already stands in line 2"),
        ("", "empty"),
        ("\0\0\0\nx\n", "no column 'path'"),
    ],
)
def test_what_is_no_table_is_refused(folder, text, message):
    with pytest.raises(SongTableError, match=message):
        read(folder, text)


def test_a_mark_of_order_and_long_names_do_no_harm(folder):
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (song,) = read(folder, "path,label\na.wav,x\n".encode(encoding)).songs
        assert song.label == "x"
    table = read(folder, f"path,id\n{'x' * 5000}.wav,long\na.wav,short\n")
    assert len(table.songs) == 2


AWKWARD = ["=1+1", "+1", "-x", "@sum", "\tx", "\rx", "a\rb", "a\nb", 'say "hi"', "a,b;c", " x ", "007",
           "NaN", "<script>alert(1)</script>", "caf\u00e9", "cafe\u0301", EVIL, "x\u2028", "\x00", "'", "𝄞"]  # fmt: skip


def test_every_id_comes_out_as_it_went_in(folder, model_path, tmp_path):
    rows = [{"path": "a.wav", "id": name, "mood": name} for name in AWKWARD]
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        file.write(csv_text(rows, ["path", "id", "mood"]))
    out = [tmp_path / "p.csv", tmp_path / "p.json"]
    arguments = ["predict", model_path, folder / "t.csv", "--csv", out[0], "--json", out[1]]
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    with open(out[0], newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == AWKWARD
    assert [row["id"] for row in json.loads(out[1].read_text())] == AWKWARD
    frame = pandas.read_csv(out[0], dtype=str, keep_default_na=False, encoding="utf-8")
    assert frame["id"].tolist() == AWKWARD
    assert "cells begin with one of = + - @" in done.stderr
    assert "\x1b" not in done.stderr


def test_ids_come_out_whatever_the_locale(folder, model_path):
    (folder / "t.csv").write_text("path,id\na.wav,𝄞\n", encoding="utf-8")
    command = [sys.executable, "-m", "songbag", "predict", str(model_path), str(folder / "t.csv")]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").splitlines()[1].startswith("𝄞,ok,")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_csv_written_is_csv_read(cells):
    text = csv_text([dict(zip("ab", row)) for row in cells], ["a", "b"])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], *cells]


def test_numbers_are_no_formulas(folder):
    assert read(folder, "path,tempo\na.wav,-3.5\n").remarks == []


def test_a_name_that_is_no_text_is_a_row(folder, model_path, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    (music / "good.wav").write_bytes((folder / "a.wav").read_bytes())
    with open(os.fsencode(music) + b"/caf\xe9.wav", "wb") as file:
        file.write((folder / "a.wav").read_bytes())
    arguments = ["predict", str(model_path), str(music), "--csv", str(tmp_path / "p.csv")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "1 file names are not UTF-8" in done.stderr
    rows = list(csv.DictReader((tmp_path / "p.csv").open(encoding="utf-8")))
    assert [os.path.basename(row["id"]) for row in rows] == ["caf\\xe9.wav", "good.wav"]
    assert rows[0]["reason"] == "missing"


def test_a_terminal_shows_escape_sequences_and_does_not_obey(folder, model_path):
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        rows = [{"path": "a.wav", "id": EVIL}, {"path": f"gone{EVIL}".replace("/", ""), "id": "gone"}]  # fmt: skip
        file.write(csv_text(rows, ["path", "id"]))
    _, output = on_terminal("predict", model_path, folder / "t.csv", columns=200, term="dumb")
    for sequence in (b"\x1b[2J", b"\x07", b"\x1b]0", "\x9b".encode(), "\u202e".encode()):
        assert sequence not in output
    assert b"\\x1b[2J" in output


def test_messages_about_a_table_do_not_obey_it(folder, model_path):
    (folder / "t.csv").write_text(f"path,id\na.wav,{EVIL!r}\na.wav,{EVIL!r}\n".replace("\\x1b", "\x1b"))  # fmt: skip
    command = [sys.executable, "-m", "songbag", "predict", str(model_path), str(folder / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "already stands" in done.stderr
    assert "\x1b" not in done.stderr


def test_visible_text():
    assert visible("plain ünïcode 𝄞\n\t") == "plain ünïcode 𝄞\n\t"
    assert visible("\x1b[0m\x7f\x9b\u202e") == "\\x1b[0m\\x7f\\x9b\\u202e"


def parts_of(page):
    """Every element of a page as a browser reads it: its name and the names of its attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def test_a_report_escapes_what_strangers_wrote(tmp_path):
    """Ids, labels, groups and messages in every place where the page shows them."""
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    labels = (evil, "b")

    def judged(song, shares, majority):
        windows = np.array([shares])
        prediction = Prediction(
            np.array(shares), windows[0], windows[0], windows, windows,
            np.zeros(1), np.full(1, 5.0), windows,
        )  # fmt: skip
        item = SongPrediction(song, prediction)
        return JudgedSong(item, "test", 0.0, majority, evil)

    songs = [Song(name, "", label, evil) for name, label in ((evil, "b"), ("c", evil))]
    failed = SongPrediction(Song(f"{evil}2", "", "b", evil), None, evil, evil)
    rows = [*(judged(song, [0.9, 0.1], evil) for song in songs), JudgedSong(failed, "")]
    found = compute_figures(rows, labels) | {
        "split": {"method": evil, "seed": 0, "groups": 1, "hash": evil, "counts": {evil: {"b": 1}}}
    }
    out = tmp_path / evil.replace("/", "")
    Evaluation(found, rows, labels).write(out)
    page = write_report(out).read_text()
    assert "<script>alert" not in page
    assert "img" not in {name for name, _ in parts_of(page)}
    assert not [names for _, names in parts_of(page) if "onerror" in names]
    assert page.count("&lt;script&gt;") >= 8
