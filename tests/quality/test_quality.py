"""The parts of the check: fingerprints, names, give-aways, suspicion, facts of files."""

import numpy as np
import pytest
import soxr

from songbag.audio.fingerprint import SAME_RATE, STEP_SECONDS, Match, compare, fingerprint
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.data.labels import split_labels
from songbag.data.song_table import Song
from songbag.quality import copies, file_facts
from songbag.quality.copies import Pair, families, pair_findings
from songbag.quality.file_checks import recording_findings
from songbag.quality.file_facts import Facts, missing_end
from songbag.quality.label_noise import suspicious
from songbag.quality.labels import class_findings, spelling_findings
from songbag.quality.shortcuts import giveaway
from songbag.quality.spelling import spellings, spelt_alike
from songbag.settings import Excerpt, Limits

RATE = 22050


def same(prints):
    return list(copies.same_recordings(len(prints), prints.__getitem__))


@pytest.fixture(scope="module")
def waves():
    """Twelve songs of 20 s."""
    return [
        synthesise(genre, np.random.default_rng([5, number, k]), 20.0, RATE)
        for k, genre in enumerate(GENRES)
        for number in range(4)
    ]


@pytest.mark.parametrize("damage", ["flip", "empty"])
def test_damaged_facts_are_made_again(waves, tmp_path, damage):
    write_waveform(tmp_path / "a.wav", waves[0], RATE)
    song = Song(id="a", path=str(tmp_path / "a.wav"))

    def measured():
        sources = [song.source(Excerpt())]
        ((found, file),) = file_facts.measure_all(
            sources, tmp_path / "c", Limits(), 1, lambda made, n: made
        )
        return found, file_facts.read_codes(file)

    before = measured()
    (file,) = (tmp_path / "c").rglob("*.safetensors")
    data = file.read_bytes()
    file.write_bytes(b"" if damage == "empty" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    after = measured()
    assert after[0] == before[0]
    assert np.array_equal(after[1], before[1])


# --- fingerprints -----------------------------------------------------------------------


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
    ((one, other, match),) = same([*prints, *halves])
    assert (one, other) == (0, 1)
    assert copies.is_copy(match)
    assert match.offset * STEP_SECONDS == pytest.approx(3.21, abs=STEP_SECONDS)
    # two excerpts that lie 10 s apart share a part and are no copies
    ((_, _, match),) = same(parts)
    assert not copies.is_copy(match)
    assert match.offset * STEP_SECONDS == pytest.approx(10, abs=STEP_SECONDS)


def test_a_remix_with_the_same_beginning_shares_a_part(waves):
    narrow = [soxr.resample(wave, RATE, 8000) for wave in waves[:2]]
    remix = np.concatenate([narrow[0][: 8000 * 13], narrow[1]])
    ((_, _, match),) = same([fingerprint([narrow[0]]), fingerprint([remix])])
    assert not match.whole
    assert (match.end - match.start) * STEP_SECONDS == pytest.approx(13, abs=2.5)


def test_silence_is_like_nothing():
    silence = np.zeros(8000 * 20, np.float32)
    prints = [fingerprint([silence])] * 3
    assert not prints[0].any()
    assert same(prints) == []
    assert same([]) == []
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
        ((best, places),) = families([Pair(0, 1, match)], facts, songs)
        assert places == [0, 1]
        return best

    assert family() == 0
    assert family(codec="flac", seconds=58.0) == 1
    assert family(codec="flac", truncated="only 58.0 s are there") == 0
    assert family(seconds=61.0) == 1
    assert family(size=2_400_000) == 1
    assert family(size=970_000) == 0  # a tag is no quality
    assert family(artist="somebody") == 1
    assert family(label=None, codec="flac", artist="somebody") == 0


# --- arithmetic -------------------------------------------------------------------------


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
    assert (spelt_alike(one) == spelt_alike(other)) == same
    assert len(spellings([one, one, other])) == int(same and one != other)


def test_a_fact_that_tells_the_label_is_seen_and_one_that_does_not_is_not():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 3).astype(str)
    labels = np.repeat(rng.choice(["a", "b", "c"], 60), 3)
    level = np.where(labels == "a", -9.0, -18.0) + rng.normal(0, 1, 180)
    told = giveaway("loudness", level.tolist(), labels, groups)
    assert told.found and told.tells == "a" and told.recall > 0.9
    rate = np.where(labels == "b", "44100 Hz", "22050 Hz")
    assert giveaway("rate", rate.tolist(), labels, groups).found
    exact = giveaway("codec", labels.tolist(), labels, groups)
    assert exact.accuracy == 1.0 and exact.strong
    length = np.where(labels == "c", 30.0, 60.0)
    assert giveaway("length", length.tolist(), labels, groups).found
    # the same level for all songs of an artist: chance, because artists are held out whole
    by_artist = np.repeat(rng.normal(-15, 5, 60), 3)
    assert not giveaway("loudness", by_artist.tolist(), labels, groups).found
    assert giveaway("codec", ["mp3"] * 180, labels, groups) is None
    assert giveaway("codec", rate.tolist()[:6], labels[:6], groups[:6]) is None


def test_planted_mistakes_are_ranked_first():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 150)
    logits = rng.normal(0, 1, (150, 3)) + 3 * np.eye(3)[truth]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = truth.copy()
    given[:8] = (truth[:8] + 1) % 3
    ranked = suspicious(shares, given)
    assert len({one.song for one in ranked[:12]} & set(range(8))) >= 7
    confidence = [one.given_probability for one in ranked]
    assert all(one.better != given[one.song] for one in ranked)
    assert confidence[0] < 0.2
    assert suspicious(np.eye(3)[truth], truth) == []


def test_what_few_files_have_is_odd_and_a_mixed_collection_is_not():
    usual = Facts(codec="mp3float", native_rate=44100, channels=2, seconds=30, level_db=-15)
    songs = [Song(id=str(n), path="x", label="a") for n in range(20)]

    def odd(strange):
        found = recording_findings(songs, [usual] * (20 - len(strange)) + strange, 5.0)
        return [(one.kind, one.id) for one in found]

    eight = Facts(codec="mp3float", native_rate=8000, channels=2, seconds=30, level_db=-15)
    assert odd([eight]) == [("odd", "19")]
    assert odd([eight] * 8) == []


@pytest.mark.parametrize("ending", [".opus", ".wav"])
def test_a_missing_end_is_seen(waves, tmp_path, ending):
    file = tmp_path / f"a{ending}"
    write_waveform(file, waves[0], RATE)
    assert missing_end(file) == ""
    data = file.read_bytes()
    for share in (0.9, 0.5, 0.1):
        file.write_bytes(data[: int(len(data) * share)])
        assert missing_end(file)
    assert missing_end(tmp_path / "none") == ""


def test_labels_of_songs_that_have_several_are_judged_one_by_one():
    cells = ["piano; sad", "piano", "Piano; sad", "sad", "", *["piano; sad"] * 8, "harp; sad"]
    songs = [
        Song(f"{k}", f"{k}.wav", ";".join(split_labels(cell)), f"artist {k}", multilabel=True)
        for k, cell in enumerate(cells)
    ]
    spelled = [one for one in spelling_findings(songs) if one.found.startswith("label")]
    assert [one.id for one in spelled] == ["2"]
    small = {one.label for one in class_findings(songs) if one.kind == "small_class"}
    assert small == {"Piano", "harp"}
    assert not [one for one in class_findings(songs) if one.kind == "unlabelled"]
