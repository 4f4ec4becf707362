"""Labels that too few songs or groups have."""

from songbag.data.song import Song, split_labels
from songbag.quality.label_counts import label_count_findings


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
