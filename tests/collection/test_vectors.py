"""Vectors of songs: kept, grown, and asked what is alike."""

import numpy as np
import pytest

from songbag.collection import vectors
from songbag.collection.vectors import Neighbours, VectorIndex
from songbag.errors import SettingsError


def index_of(songs, values=6, seed=0):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(2, 3, (int(rng.integers(1, 9)), values)) for _ in range(songs)]
    return VectorIndex.empty("e", values).added([f"k{n}" for n in range(songs)], pieces), pieces


def test_an_index_is_saved_loaded_and_grown(tmp_path):
    index, pieces = index_of(5)
    index.save(tmp_path / "v")
    again = VectorIndex.load(tmp_path / "v", "e", 6).added(["new"], [np.ones((2, 6))])
    assert again.keys == (*index.keys, "new")
    chosen = again.of(["new", "k3"])
    np.testing.assert_array_equal(chosen.song_pieces(0), np.ones((2, 6)))
    np.testing.assert_allclose(chosen.song_pieces(1), pieces[3], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(chosen.song_vectors()[1], pieces[3].mean(axis=0), atol=1e-2)
    assert VectorIndex.load(tmp_path / "none", "e", 6).keys == ()


def test_other_files_are_refused(tmp_path):
    index_of(3)[0].save(tmp_path / "v")
    with pytest.raises(SettingsError, match="of another encoder"):
        VectorIndex.load(tmp_path / "v", "other", 6)
    (tmp_path / "v").write_bytes((tmp_path / "v").read_bytes()[:-7])
    with pytest.raises(SettingsError, match="not an index of vectors, or damaged"):
        VectorIndex.load(tmp_path / "v", "e", 6)
    (tmp_path / "text").write_text("id,label\n")
    with pytest.raises(SettingsError, match="not an index"):
        VectorIndex.load(tmp_path / "text", "e", 6)


def test_neighbours_are_those_of_all_cosines(monkeypatch):
    monkeypatch.setattr(vectors, "_PIECES_AT_ONCE", 7)  # moments over several portions
    index, _ = index_of(40)
    neighbours, means = Neighbours(index), index.song_vectors()
    scaled = (means - means.mean(axis=0)) / means.std(axis=0)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    cosines = scaled @ scaled[11]
    expected = [place for place in np.argsort(-cosines) if place != 11][:5]
    found = neighbours.nearest(index.song_pieces(11), 5, without=11)
    assert [place for place, _ in found] == expected
    np.testing.assert_allclose([alike for _, alike in found], cosines[expected], atol=1e-4)
    assert len(neighbours.nearest(index.song_pieces(11), 100, without=11)) == 39
    best = [neighbours.moment(index.song_pieces(11), k) for k in range(40) if k != 11]
    moments = neighbours.nearest_moments(index.song_pieces(11), 3, without=11)
    assert moments[0][1].similarity == pytest.approx(max(one.similarity for one in best), abs=1e-5)
    song, moment = moments[0]
    assert neighbours.moment(index.song_pieces(11), song)[1:] == moment[1:]
    assert 11 not in {place for place, _ in moments}


def test_nearest_others_are_of_other_groups_and_folds(monkeypatch):
    monkeypatch.setattr(vectors, "_SONGS_AT_ONCE", 4)
    neighbours = Neighbours(index_of(13)[0])
    groups, folds = np.arange(13) // 3, np.where(np.arange(13) < 7, np.arange(13) % 2, -1)
    answers = list(neighbours.nearest_others(groups, folds, 4))
    assert len(answers) == 13
    for song, answer in enumerate(answers):
        allowed = [
            other
            for other in range(13)
            if groups[other] != groups[song] and (folds[song] == -1 or folds[other] != folds[song])
        ]
        alike = neighbours.directions @ neighbours.directions[song]
        expected = sorted(allowed, key=lambda other: -alike[other])[:4]
        assert [place for place, _ in answer] == expected
        np.testing.assert_allclose([value for _, value in answer], alike[expected], atol=1e-6)
    alone = neighbours.nearest_others(np.zeros(13, np.int64), folds, 4)
    assert list(alone) == [[]] * 13
