"""A table that is labelled: what is written, what stays, and what is refused."""

import csv

import pytest

from songbag.errors import SettingsError, SongTableError
from songbag.tasks.label import Decision, LabelTable


@pytest.fixture
def table(tmp_path):
    """Writes next.csv with these lines beside four files, and returns its path."""
    for name in "abcd":
        (tmp_path / f"{name}.wav").touch()

    def write(*lines):
        (tmp_path / "next.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / "next.csv"

    return write


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_decision_is_in_the_file_and_all_else_stays(table):
    path = table("path,mood,label,chosen", 'a.wav,"sad, slow",,model', "b.wav,=1+1,jazz,random")
    opened = LabelTable.open(path, ["rock", "jazz"], False)
    opened.decide(0, Decision("labelled", ("rock",), 'a "note",\nof two lines'))
    assert path.read_text(encoding="utf-8") == (
        "path,mood,label,chosen,decision,note\n"
        'a.wav,"sad, slow",rock,model,labelled,"a ""note"",\nof two lines"\n'
        "b.wav,=1+1,jazz,random,,\n"
    )
    opened.decide(0, Decision("none"))
    opened.decide(1, Decision("skipped"))
    assert [(r["label"], r["decision"], r["note"]) for r in rows(path)] == [
        ("", "none", ""), ("", "skipped", ""),
    ]  # fmt: skip
    opened.decide(1, Decision(""))
    again = LabelTable.open(path, ["rock", "jazz"], False)
    assert [again.decision(number).decision for number in (0, 1)] == ["none", ""]


def test_labels_are_those_of_the_table_by_default(table):
    path = table("path,label,predicted", "a.wav,,rock", "b.wav,pop,jazz")
    assert LabelTable.open(path, [], False).labels == ("jazz", "pop", "rock")
    assert LabelTable.open(path, ["rock", "pop"], False).labels == ("rock", "pop")
    assert LabelTable.open(path, [], False).decision(1) == Decision("labelled", ("pop",))


def test_several_labels_have_a_column_of_their_own(table):
    path = table("path,label", "a.wav,", "b.wav,")
    opened = LabelTable.open(path, ["sad", "piano"], True)
    opened.decide(0, Decision("labelled", ("sad", "piano")))
    opened.decide(1, Decision("none"))
    found = rows(path)
    assert [row["labels"] for row in found] == ["piano;sad", ""]
    assert "label" not in found[0]
    again = LabelTable.open(path, ["sad", "piano"], False)  # the column says it
    assert again.multilabel
    assert again.decision(0).labels == ("piano", "sad")
    filled = table("path,label", "a.wav,sad")
    with pytest.raises(SongTableError, match="has one label a song"):
        LabelTable.open(filled, ["sad", "piano"], True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "which labels are there"),
        (["a"], "which labels are there"),
        (["a;b", "c"], "'a;b' is no label"),
        (["x", "y"], "has the labels old: add them to --labels"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(table, labels, message):
    path = table("path,label", "a.wav,old")
    with pytest.raises(SettingsError, match=message):
        LabelTable.open(path, labels, False)


@pytest.mark.parametrize(
    "decided",
    [
        Decision("labelled"),
        Decision("labelled", ("x", "y")),
        Decision("labelled", ("z",)),
        Decision("none", ("x",)),
        Decision("perhaps"),
    ],
)
def test_decisions_that_do_not_fit_change_nothing(table, decided):
    path = table("path", "a.wav")
    before = path.read_bytes()
    with pytest.raises(SettingsError):
        LabelTable.open(path, ["x", "y"], False).decide(0, decided)
    assert path.read_bytes() == before


def test_what_another_program_wrote_is_not_overwritten(table):
    path = table("path,label", "a.wav,", "b.wav,")
    opened = LabelTable.open(path, ["x", "y"], False)
    opened.decide(0, Decision("labelled", ("x",)))
    other = LabelTable.open(path, ["x", "y"], False)
    other.decide(1, Decision("labelled", ("y",)))
    with pytest.raises(SongTableError, match="was changed by another program"):
        opened.decide(0, Decision("none"))
    assert [row["label"] for row in rows(path)] == ["x", "y"]


def test_a_disk_that_is_full_is_said_and_the_memory_agrees_with_it(table, monkeypatch):
    path = table("path,label", "a.wav,")
    opened = LabelTable.open(path, ["x", "y"], False)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("songbag.tasks.label.write_csv", full)
        with pytest.raises(SongTableError, match="No space left on device"):
            opened.decide(0, Decision("labelled", ("x",)))
    assert opened.decision(0) == Decision("")
    opened.decide(0, Decision("labelled", ("y",)))
    assert rows(path)[0]["label"] == "y"


def test_only_tables_of_files_here_are_labelled(table, tmp_path):
    with pytest.raises(SettingsError, match=r"writes into a \.csv file"):
        LabelTable.open(tmp_path / "a.parquet", ["x", "y"], False)
    with pytest.raises(SongTableError, match="No such file"):
        LabelTable.open(tmp_path / "none.csv", ["x", "y"], False)
