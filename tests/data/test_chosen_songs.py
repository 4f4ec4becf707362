"""Tables to be labelled: which rows are trained on, and which are refused."""

import re

import pytest

from songbag.data.chosen_songs import decided_songs, only_trained_on, training_remark
from songbag.data.song import Song
from songbag.errors import SongTableError
from tests.helpers.songs import QUIET, audio_dataset


class Said:
    quiet = False

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def song(name, label="a", line=2, **extra):
    return Song(name, f"{name}.wav", label, line=line, extra=extra)


def test_rows_without_a_decision_are_left_out_and_counted():
    songs = [
        song("1", chosen="model", decision="labelled"),
        song("2", None, chosen="model", decision=""),
        song("3", None, chosen="random", decision="skipped"),
        song("4", None, chosen="random", decision="none"),
        song("5", "b"),
        song("6", "b", chosen="random"),  # a label that was typed into the table
    ]
    said = Said()
    left = decided_songs(audio_dataset(songs), said)
    assert [one.id for one in left.songs] == ["1", "5", "6"]
    assert said.lines == ["left out: 3 songs without a label: 1 none, 1 not labelled, 1 skipped"]


def test_with_several_labels_none_of_them_is_an_answer():
    none = Song("1", "1.wav", "", multilabel=True, extra={"chosen": "model", "decision": "none"})
    open_ = Song("2", "2.wav", "", multilabel=True, extra={"chosen": "model", "decision": ""})
    own = Song("3", "3.wav", "", multilabel=True)
    assert [one.undecided for one in (none, open_, own)] == [False, True, False]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (song("1", chosen="modle"), "line 2: chosen is 'modle'; it must be model or random"),
        (song("1", decision="yes"), "line 2: decision is 'yes'; it must be labelled or none"),
        (Song("1", "1.wav", "a", split="test", line=3, extra={"chosen": "model"}),
         "line 3: a model chose song '1', and its split is test"),
        (Song("1", "1.wav", "a", fold="4", line=3, extra={"chosen": "Model"}),
         "line 3: a model chose song '1', and its fold is 4"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(bad, message):
    with pytest.raises(SongTableError, match=re.escape(message)):
        decided_songs(audio_dataset([bad, song("2")]), QUIET)


def test_the_songs_of_one_group_go_with_it():
    songs = [
        Song("1", "a.wav", "x", artist="one", extra={"chosen": "model"}),
        Song("2", "b.wav", "x", artist="one"),
        Song("3", "b.wav", "x", artist="two", start=3.0),  # a part of the same file
        Song("4", "c.wav", "x", artist="three", extra={"chosen": "random"}),
    ]
    assert only_trained_on(songs) == [True, True, True, False]
    assert training_remark(songs) == (
        "1 songs that a model chose, and 2 of the same artist or file, are trained on and never "
        "tested"
    )
    assert training_remark(songs[3:]) == ""
