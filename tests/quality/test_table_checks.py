"""Names that are the same but for their spelling, and labels that too few songs have."""

from collections import Counter

import pytest

from songbag.data.song import Song, split_labels
from songbag.quality.table_checks import (
    label_count_findings,
    names_differ,
    rare_spellings,
    spelling_findings,
    spelling_key,
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The Beatles", "beatles", True),
        ("Beatles, The", "THE  BEATLES", True),
        ("Björk", "Bjork", True),
        ("Bjo\u0308rk", "Bj\u00f6rk", True),
        ("AC/DC", "Ac Dc", True),
        ("Guns N’ Roses", "Guns n' roses", True),
        ("Simon & Garfunkel", "Simon and Garfunkel", True),
        ("Ｆｕｌｌ", "full", True),
        ("Møl", "Mol", True),
        ("The The", "the the", True),
        ("song 1-2", "song 12", False),
        ("が", "か", False),
        ("!!!", "???", False),
        ("Theatre", "atre", False),
    ],
)
def test_spelling(one, other, same):
    assert (spelling_key(one) == spelling_key(other)) == same
    assert names_differ(one, other) != same
    assert len(rare_spellings(Counter([one, one, other]))) == int(same and one != other)


def test_each_of_several_labels_has_its_spelling():
    cells = ["piano; sad", "piano", "Piano; sad", "sad", ""]
    songs = [
        Song(f"{k}", f"{k}.wav", ";".join(split_labels(cell)), f"artist {k}", multilabel=True)
        for k, cell in enumerate(cells)
    ]
    of_labels = [one for one in spelling_findings(songs) if one.found.startswith("label")]
    assert [one.id for one in of_labels] == ["2"]


def test_each_of_several_labels_is_counted():
    cells = ["piano; sad", "piano", "Piano; sad", "sad", "", *["piano; sad"] * 8, "harp; sad"]
    songs = [
        Song(f"{k}", f"{k}.wav", ";".join(split_labels(cell)), f"artist {k}", multilabel=True)
        for k, cell in enumerate(cells)
    ]
    findings = list(label_count_findings(songs))
    assert {one.label for one in findings if one.kind == "small_class"} == {"Piano", "harp"}
    assert not [one for one in findings if one.kind == "unlabelled"]


def test_songs_without_a_label_and_small_labels_are_reported():
    songs = [Song(f"{k}", f"{k}.wav", "polka", artist=f"artist {k % 3}") for k in range(6)]
    songs.append(Song("none", "none.wav", None))
    findings = {one.kind: one for one in label_count_findings(songs)}
    assert findings["unlabelled"].id == "none"
    assert findings["small_class"].found.startswith("6 songs of 3 artists; a cross-validation")
    assert findings["small_class"].severity == "warning"
    assert list(label_count_findings(songs[-1:])) == []


def test_a_label_of_one_group_is_an_error():
    songs = [Song(f"{k}", f"{k}.mp3", label="polka", artist="Anna") for k in range(3)]
    (finding,) = label_count_findings(songs)
    assert (finding.severity, finding.label) == ("error", "polka")
    assert finding.found.startswith("3 songs of 1 artist; it cannot be both learned and tested")
