"""Labels that no neighbour shares, and links to neighbours."""

import numpy as np

from songbag.audio.audio_file import Source
from songbag.audio.waveform import write_waveform
from songbag.report.neighbours import COLUMNS, FILE, doubtful_labels, nearest_songs, read_neighbours
from songbag.storage.files import write_csv


def neighbours_of(folder, songs):
    """neighbours.csv of songs: name to its label, the labels of its neighbours and a distance."""
    rows = [
        dict(zip(COLUMNS, (name, label, rank, f"{name}-{rank}", other, distance), strict=True))
        for name, (label, others, distance) in songs.items()
        for rank, other in enumerate(others, start=1)
    ]
    write_csv(folder / FILE, rows, COLUMNS)
    return read_neighbours(folder)


def test_a_label_is_doubtful_where_all_five_neighbours_disagree(tmp_path):
    songs = {
        "far": ("rock", ["pop"] * 5, 0.5),
        "near": ("rock", ["pop", "folk", "pop", "pop", "folk"], 0.1),
        "one agrees": ("rock", ["pop"] * 4 + ["rock"], 0.1),
        "four neighbours": ("rock", ["pop"] * 4, 0.1),
    }
    neighbours = neighbours_of(tmp_path, songs)
    found = doubtful_labels(neighbours, {}, tmp_path, multilabel=False)
    assert [song["id"] for song in found["songs"]] == ["near", "far"]
    assert (found["count"], found["all"]) == (2, 4)
    assert found["songs"][0]["others"] == "3 × pop, 2 × folk"


def test_with_several_labels_one_in_common_is_enough(tmp_path):
    songs = {
        "agrees": ("calm;sad", ["sad", "loud", "loud", "loud", "loud"], 0.1),
        "disagrees": ("calm;sad", ["glad;loud", "loud", "", "loud", "loud"], 0.1),
        "no labels": ("", ["sad"] * 5, 0.1),
    }
    found = doubtful_labels(neighbours_of(tmp_path, songs), {}, tmp_path, multilabel=True)
    assert [song["id"] for song in found["songs"]] == ["disagrees"]
    assert found["songs"][0]["others"] == "3 × loud, 1 × glad;loud, 1 × none"


def test_songs_whose_files_are_there_have_links(tmp_path):
    write_waveform(tmp_path / "a b.wav", np.zeros(2205, np.float32), 22050)
    rows = neighbours_of(tmp_path, {"x": ("rock", ["pop"] * 5, 0.2)})["x"]
    sources = {
        "x-1": Source(path=str(tmp_path / "a b.wav"), start=2.5),
        "x-2": Source(path=str(tmp_path / "gone.wav")),
    }
    first, second, third = nearest_songs(rows, sources, tmp_path / "page")
    assert first["file"] == "../a%20b.wav#t=2.5"
    assert second["file"] is None and third["file"] is None
    assert read_neighbours(tmp_path / "nowhere") == {}
