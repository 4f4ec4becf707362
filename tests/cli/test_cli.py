"""The command line as a user meets it: real processes, real files, exit codes."""

import csv
import functools
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs.make_cli import command_names
from songbag.cli import main
from songbag.parts import poolings
from tests.helpers.command import songbag
from tests.helpers.songs import figures_of
from tests.helpers.terminal import on_terminal

COMMANDS = [
    *("check", "extract", "pack", "train", "crossval", "compare", "leakage"),
    *("evaluate", "predict", "sort", "undo", "serve", "info", "report", "export"),
    *("encoders", "tag", "embed", "similar", "map", "suggest", "label", "demo"),
    *("data", "data list", "data table", "data get"),
]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_command_has_help_that_fits_a_terminal():
    assert sorted(command_names()) == sorted(COMMANDS)
    for name in COMMANDS:
        command, parts = main, name.split()
        for part in parts:
            command = command.commands[part]
        listed = CliRunner().invoke(main, [*parts[:-1], "--help"], terminal_width=80).output
        assert f"  {parts[-1]} " in listed
        text = CliRunner().invoke(main, [*parts, "--help"], terminal_width=80).output
        assert max(map(len, text.splitlines())) <= 80
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.name} has no help"


def test_long_help_has_its_options_under_headings():
    for name in COMMANDS:
        if name == "data":  # a group lists its commands
            continue
        text = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=80).output
        headings = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
        assert headings[-1] == ("Options" if len(headings) == 1 else "Running")
        assert headings == list(dict.fromkeys(headings))
        assert max(map(len, re.split(r"^\w[\w ]*:$", text, flags=re.MULTILINE)[1:])) < 1200
    train = CliRunner().invoke(main, ["train", "--help"], terminal_width=80).output
    assert re.findall(r"^(\w[\w ]*):$", train, re.MULTILINE) == [
        *("Output", "Training", "Labels", "Songs", "Window table", "Running")
    ]
    for pooling in poolings():
        assert pooling in train


def test_the_cli_page_is_what_help_says():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    from docs.make_cli import page as made

    assert page == made(), "run: python docs/make_cli.py"


def test_nine_files_give_nine_rows(model_path, nine):
    done = songbag("predict", model_path, nine)
    rows = {Path(row["id"]).name: row for row in rows_of(done.stdout)}
    assert done.returncode == 1
    assert len(rows) == 9
    assert {row["id"] for row in rows.values()} == {f"{nine}/{name}" for name in rows}
    failed = {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"empty.mp3": "empty", "photo.mp3": "not_audio"}
    assert "truncated" in rows["half.mp3"]["warnings"]
    assert "short" in rows["tiny.wav"]["warnings"]
    for name, row in rows.items():
        shares = [value for column, value in row.items() if column.startswith("p_")]
        if name in failed:
            assert set(shares) == {""}
            assert row["predicted"] == row["confidence"] == ""
        else:
            assert sum(map(float, shares)) == pytest.approx(1, abs=1e-5)
    assert "2 of 9 songs could not be read" in done.stderr


def test_one_process_and_two_give_the_same_rows(model_path, nine):
    outputs = [songbag("predict", model_path, nine, "--workers", n).stdout for n in (1, 2)]
    assert outputs[0] == outputs[1]


def test_nothing_usable_is_exit_2(model_path, tmp_path):
    (tmp_path / "a.mp3").touch()
    assert songbag("predict", model_path, tmp_path).returncode == 2
    assert songbag("predict", model_path, tmp_path / "none").returncode == 2
    assert songbag("predict", tmp_path / "none.songbag", tmp_path).returncode == 2


def test_inputs_may_be_files_patterns_tables_and_standard_input(model_path, songs):
    audio = songs.parent / "audio"
    files = sorted(audio.iterdir())
    pattern = songbag("predict", model_path, f"{audio}/*_001.*")
    assert len(rows_of(pattern.stdout)) == 3
    table = songbag("predict", model_path, songs, "--quiet")
    rows = rows_of(table.stdout)
    assert len(rows) == 24
    assert rows[0]["id"].startswith("audio/")
    piped = songbag("predict", model_path, "-", input=f"{files[0]}\n{files[1]}\n")
    assert [row["id"] for row in rows_of(piped.stdout)] == [str(files[0]), str(files[1])]
    by_id = {Path(row["id"]).name: row["confidence"] for row in rows}
    assert by_id[files[0].name] == rows_of(piped.stdout)[0]["confidence"]


def test_csv_json_and_windows_agree(model_path, nine, tmp_path):
    out = tmp_path / "out"
    done = songbag(
        "predict", model_path, nine, "--csv", out / "a.csv", "--json", out / "a.json", "--windows"
    )
    assert done.returncode == 1
    assert done.stdout == ""
    rows = rows_of((out / "a.csv").read_text())
    windows = rows_of((out / "a-windows.csv").read_text())
    found = json.loads((out / "a.json").read_text())
    assert [row["id"] for row in rows] == [row["id"] for row in found]
    for row, one in zip(rows, found, strict=True):
        mine = [window for window in windows if window["id"] == row["id"]]
        assert len(mine) == len(one["windows_detail"]) == int(row["windows"] or 0)
        if mine:
            label = row["predicted"]
            total = sum(float(window[f"contribution_{label}"]) for window in mine)
            assert total == pytest.approx(float(row["confidence"]), abs=1e-4)
    assert sorted(file.name for file in out.iterdir()) == ["a-windows.csv", "a.csv", "a.json"]


def test_the_users_columns_travel_along(model_path, songs, tmp_path):
    name = next((songs.parent / "audio").iterdir()).name
    shutil.copy(songs.parent / "audio" / name, tmp_path)
    (tmp_path / "t.csv").write_text(f"path,mood,id\n{name},sad,one\n")
    (row,) = rows_of(songbag("predict", model_path, tmp_path / "t.csv").stdout)
    assert (row["id"], row["mood"]) == ("one", "sad")


def test_a_killed_prediction_goes_on(model_path, songs, tmp_path):
    out = tmp_path / "a.csv"
    journal = tmp_path / "a.csv.journal"
    command = [sys.executable, "-m", "songbag", "predict", str(model_path), str(songs)]
    command += ["--csv", str(out), "--workers", "1", "--cache", str(tmp_path / "cache")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    with open(journal, "ab") as file:
        file.write(b"0123 torn li")
    done = journal.read_bytes().count(b"\n")
    assert 3 <= done < 24
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0
    assert not journal.exists()
    whole = songbag("predict", model_path, songs, "--quiet", "--cache", tmp_path / "other").stdout
    assert out.read_text() == whole


def test_a_changed_file_is_not_taken_from_the_journal(model_path, songs, tmp_path):
    from songbag.data.song import Song
    from songbag.inference.model_file import load_model
    from songbag.tasks.predict import song_key

    file = tmp_path / "a.wav"
    file.write_bytes(b"one")
    model = load_model(model_path)
    before = song_key(Song("a", str(file)), model)
    file.write_bytes(b"three")
    assert song_key(Song("a", str(file)), model) != before


def test_info_shows_what_the_model_is(model_path):
    text = songbag("info", model_path).stdout
    for part in ("drift, gallop, waltz", "216 x 13", "certificate", "test:", "accuracy", "torch"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
    layers = songbag("info", model_path, "--network").stdout
    assert "21,075  parameters in all" in layers
    assert "Conv2d(16, 16" in layers
    card = json.loads(songbag("info", model_path, "--json").stdout)
    assert card["labels"] == ["drift", "gallop", "waltz"]


def test_evaluate_leaves_out_what_training_heard(model_path, songs, trained, tmp_path):
    done = songbag("evaluate", model_path, songs, "-o", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "e" / "metrics.json").read_text())
    test = sum(trained.certificate.counts["test"].values())
    assert figures["songs"] == test
    assert figures["heard_in_training"] == 24 - test
    rows = rows_of((tmp_path / "e" / "predictions.csv").read_text())
    assert len({row["id"] for row in rows}) == 24
    assert figures["metrics"] == trained.evaluation.figures["metrics"]
    everything = songbag("evaluate", model_path, songs, "-o", tmp_path / "all", "--all")
    assert everything.returncode == 0
    assert json.loads((tmp_path / "all" / "metrics.json").read_text())["songs"] == 24
    assert (tmp_path / "e" / "report.html").exists()


def test_figures_come_from_the_predictions_alone(trained):
    rows = rows_of((trained.folder / "predictions.csv").read_text())
    again = figures_of(rows, trained.evaluation.labels)
    stored = json.loads((trained.folder / "metrics.json").read_text())
    for name, value in again["metrics"].items():
        # The file rounds probabilities: of very sure mistakes that moves the log loss.
        assert value["value"] == pytest.approx(stored["metrics"][name]["value"], 1e-3, 1e-4)
    assert again["confusion"] == stored["confusion"]
    assert again["window_accuracy"] == pytest.approx(stored["window_accuracy"])
    assert again["baselines"] == pytest.approx(stored["baselines"])


def test_windows_of_the_test_songs_agree_with_window_accuracy(trained):
    songs_rows = {r["id"]: r for r in rows_of((trained.folder / "predictions.csv").read_text())}
    windows = rows_of((trained.folder / "windows.csv").read_text())
    labels = trained.evaluation.labels
    right = [
        max(labels, key=lambda label: float(w[f"p_{label}"])) == songs_rows[w["id"]]["label"]
        for w in windows
    ]
    assert sum(right) / len(right) == pytest.approx(trained.evaluation.figures["window_accuracy"])


def test_training_files_are_all_there_and_say_the_same(trained, songs):
    names = {file.name for file in trained.folder.iterdir()}
    assert names == {
        "split.csv", "history.csv", "predictions.csv", "windows.csv", "metrics.json", "report.html",
        "audio.csv", "heard.csv",
    }  # fmt: skip
    split = rows_of((trained.folder / "split.csv").read_text())
    assert len({row["id"] for row in split}) == 24
    sides = {}
    for row in split:
        sides.setdefault(row["group"], set()).add(row["side"])
    assert all(len(on) == 1 for on in sides.values())
    history = rows_of((trained.folder / "history.csv").read_text())
    assert [row["epoch"] for row in history] == [str(1 + n) for n in range(len(history))]


def test_crossval_judges_every_song_once(songs, tmp_path):
    out = tmp_path / "cv"
    options = ["--recipe", "founding", "--epochs", 2, "--folds", 2, "--quiet"]
    done = songbag("crossval", songs, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    rows = rows_of((out / "predictions.csv").read_text())
    assert len({row["id"] for row in rows}) == len(rows) == 24
    folds = {row["id"]: row["fold"] for row in rows_of((out / "folds.csv").read_text())}
    assert {row["side"] for row in rows} == {"fold 1", "fold 2"}
    assert all(row["side"] == f"fold {folds[row['id']]}" for row in rows)
    assert not list(out.rglob("*.songbag"))
    assert not list(out.rglob("*.state"))
    before = (out / "predictions.csv").read_bytes()
    again = songbag("crossval", songs, "-o", out, *options[:-1], "--keep-models")
    assert "already trained" not in again.stderr  # there is no model to keep
    models = {file.name for file in (out / "models").iterdir()}
    assert models == {"fold1.songbag", "fold2.songbag"}
    once_more = songbag("crossval", songs, "-o", out, *options[:-1])
    assert once_more.stderr.count("already trained") == 2
    assert (out / "predictions.csv").read_bytes() == before
    assert json.loads((out / "metrics.json").read_text())["songs"] == 24


def test_a_bad_song_in_training_is_reported_and_the_rest_trained(songs, tmp_path):
    shutil.copytree(songs.parent, tmp_path / "s", ignore=shutil.ignore_patterns("demo*", "cache"))
    (tmp_path / "s" / "audio" / "broken.mp3").write_bytes(b"not sound")
    with open(tmp_path / "s" / "songs.csv", "a") as file:
        file.write("audio/broken.mp3,drift,nobody\n")
    done = songbag(
        "train", tmp_path / "s" / "songs.csv", "-o", tmp_path / "m.songbag", "--recipe", "founding",
        "--epochs", 1,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "left out: audio/broken.mp3" in done.stderr
    assert (tmp_path / "m.songbag").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "fonding"], "Did you mean 'founding'"),
        (["--set", "training.epoch=3"], "unknown setting 'training.epoch'. Did you mean 'epochs'"),
        (["--set", "sound.sample_rate=-1"], "sample_rate"),
        (["--set", "windows"], "write KEY=VALUE"),
        (["--epochs", "0"], "epochs"),
        (["--pooling", "median"], "pooling"),
        (["--pooling", "hard_vote"], "has no gradient"),
        (["--middle"], "--excerpt"),
        (["--set", "sound.feature=mfcc", "--set", "sound.coefficients=100"], "only 64 mel_bands"),
    ],
)
def test_wrong_arguments_say_what_to_do(songs, tmp_path, arguments, message):
    done = CliRunner().invoke(
        main, ["train", str(songs), "-o", str(tmp_path / "m.songbag"), *arguments]
    )
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "m.songbag").exists()


def test_errors_are_one_message_without_a_traceback(tmp_path):
    done = songbag("train", tmp_path / "none.csv", "-o", tmp_path / "m.songbag")
    assert done.returncode == 2
    assert done.stderr == f"songbag: {tmp_path / 'none.csv'}: there is no such table.\n"


def test_an_output_that_cannot_be_written_is_named(model_path, nine, tmp_path):
    (tmp_path / "file").touch()
    done = songbag("predict", model_path, nine, "--csv", tmp_path / "file" / "a.csv")
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
def test_an_interrupted_training_keeps_the_best_so_far(songs, tmp_path):
    command = [
        sys.executable,
        "-m",
        "songbag",
        "train",
        str(songs),
        "-o",
        str(tmp_path / "m.songbag"),
    ]
    command += ["--recipe", "founding", "--epochs", "5000", "--set", "training.patience=0"]
    # What a shell starts in the background ignores Ctrl-C, and so does what that starts.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    time.sleep(1)
    for line in process.stderr:
        if line.startswith("Training:"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(120) == 0, rest
    process.stderr.close()
    assert "interrupted, the best so far is kept" in rest
    assert (tmp_path / "m.songbag").exists()


def test_on_a_terminal_the_answer_is_a_table(model_path, nine, monkeypatch):
    """A real pseudo-terminal of 80 columns; names of songs are short enough for the timeline."""
    monkeypatch.chdir(nine)
    code, output = on_terminal("predict", model_path, ".")
    assert code == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    lines = [line.rstrip() for line in text.replace("\r", "\n").split("\n")]
    assert any(line.split()[:3] == ["song", "answer", "sure"] for line in lines)
    assert any("▁" in line or "█" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "empty.mp3" in text


def test_piped_into_head_is_no_error(model_path, nine):
    done = subprocess.run(
        f"{sys.executable} -m songbag predict {model_path} {nine} | head -1",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("id,status,reason")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
