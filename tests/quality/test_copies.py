"""Copies by fingerprint: pairs, the best copy, and what is reported of them."""

import numpy as np
import pytest
import soxr

from songbag.audio.fingerprint import SAME_RATE, STEP_SECONDS, Match, compare, fingerprint
from songbag.audio.synthesis import synthesise
from songbag.data.song import Song
from songbag.quality import copies
from songbag.quality.copies import Pair, best_copies, pair_findings
from songbag.quality.file_facts import Facts

RATE = 22050


def matching(prints):
    return list(copies.matching_pairs(len(prints), prints.__getitem__))


def test_different_songs_of_one_style_are_far_above_the_limit(waves):
    prints = [fingerprint([soxr.resample(wave, RATE, 8000)]) for wave in waves]
    reach = round(5.2 / STEP_SECONDS)
    for genre in range(3):
        for one in range(4 * genre, 4 * genre + 3):
            rates = [
                compare(prints[one], prints[one + 1], offset).bit_error_rate
                for offset in range(-reach, reach + 1, 5)
            ]
            assert min(rates) > SAME_RATE + 0.1
    assert len(copies.candidates(len(prints), prints.__getitem__)) == 0


def test_a_shifted_copy_is_found_at_its_shift_and_another_excerpt_is_none(waves):
    first = waves[4]
    second = synthesise("waltz", np.random.default_rng([5, 0, 1]), 40.0, RATE)
    assert np.corrcoef(first[: RATE * 5], second[: RATE * 5])[0, 1] < 0.99  # another drawing
    narrow = [soxr.resample(one, RATE, 8000) for one in (first, second)]
    shifted = fingerprint([narrow[0][round(3.21 * 8000) :]])
    halves = [fingerprint([narrow[1][:160_000]]), fingerprint([narrow[1][160_000:]])]
    parts = [fingerprint([narrow[1][:240_000]]), fingerprint([narrow[1][80_000:]])]
    prints = [fingerprint([narrow[0]]), shifted]
    (pair,) = matching([*prints, *halves])
    assert (pair.first, pair.second) == (0, 1)
    assert pair.is_copy
    assert pair.match.offset * STEP_SECONDS == pytest.approx(3.21, abs=STEP_SECONDS)
    # two excerpts that lie 10 s apart share a part and are no copies
    (pair,) = matching(parts)
    assert not pair.is_copy
    assert pair.match.offset * STEP_SECONDS == pytest.approx(10, abs=STEP_SECONDS)


def test_a_remix_with_the_same_beginning_shares_a_part(waves):
    narrow = [soxr.resample(wave, RATE, 8000) for wave in waves[:2]]
    remix = np.concatenate([narrow[0][: 8000 * 13], narrow[1]])
    (pair,) = matching([fingerprint([narrow[0]]), fingerprint([remix])])
    assert not pair.match.whole
    assert (pair.match.end - pair.match.start) * STEP_SECONDS == pytest.approx(13, abs=2.5)


def test_silence_is_like_nothing():
    silence = np.zeros(8000 * 20, np.float32)
    prints = [fingerprint([silence])] * 3
    assert not prints[0].any()
    assert matching(prints) == []
    assert matching([]) == []
    assert compare(prints[0], prints[1][:0], 0).whole is False


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({}, "copy", "warning"),
        ({"split": "test"}, "copy", "error"),
        ({"artist": "B"}, "copy", "error"),
        ({"artist": "the  a"}, "copy", "warning"),
        ({"label": "y"}, "label_conflict", "error"),
        ({"label": "X"}, "copy", "warning"),
    ],
)
def test_a_copy_across_a_border_is_an_error(change, kind, severity):
    known = {"path": "x", "label": "x", "artist": "A", "split": "train"}
    songs = [Song(id="one", **known), Song(id="two", **known | change)]
    match = Match(offset=21, bit_error_rate=0.1, whole=True, start=0, end=500)
    (found,) = pair_findings(songs, [Pair(0, 1, match)], {0: 0, 1: 0})
    assert (found.kind, found.severity) == (kind, severity)
    assert (found.id, found.other_id) == ("two", "one")
    assert "begins 1.0 s later" in found.found
    (turned,) = pair_findings(songs, [Pair(0, 1, match)], {0: 1, 1: 1})
    assert (turned.id, turned.other_id) == ("one", "two")
    assert "begins 1.0 s earlier" in turned.found


def test_the_copy_that_stays_is_whole_lossless_long_and_first():
    def family(label="a", artist=None, **changes):
        plain = {"codec": "mp3float", "seconds": 60.0, "native_rate": 44100, "size": 960_000}
        facts = [Facts(**plain), Facts(**plain | changes)]
        songs = [Song("x", "x", label="a"), Song("y", "y", label=label, artist=artist)]
        match = Match(offset=0, bit_error_rate=0.1, whole=True, start=0, end=1200)
        best = best_copies([Pair(0, 1, match)], facts, songs)
        assert best.keys() == {0, 1} and best[0] == best[1]
        return best[0]

    assert family() == 0
    assert family(codec="flac", seconds=58.0) == 1
    assert family(codec="flac", faults=(("truncated", "only 58.0 s are there"),)) == 0
    assert family(seconds=61.0) == 1
    assert family(size=2_400_000) == 1
    assert family(size=970_000) == 0  # a tag is no quality
    assert family(artist="somebody") == 1
    assert family(label=None, codec="flac", artist="somebody") == 0
