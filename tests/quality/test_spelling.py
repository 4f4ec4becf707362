"""Names that are the same but for their spelling."""

import pytest

from songbag.data.song import Song, split_labels
from songbag.quality.spelling import names_differ, rare_spellings, spelling_findings, spelling_key


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
    assert len(rare_spellings([one, one, other])) == int(same and one != other)


def test_each_of_several_labels_has_its_spelling():
    cells = ["piano; sad", "piano", "Piano; sad", "sad", ""]
    songs = [
        Song(f"{k}", f"{k}.wav", ";".join(split_labels(cell)), f"artist {k}", multilabel=True)
        for k, cell in enumerate(cells)
    ]
    of_labels = [one for one in spelling_findings(songs) if one.found.startswith("label")]
    assert [one.id for one in of_labels] == ["2"]
