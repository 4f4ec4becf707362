"""Facts that predict the label are reported, others are not."""

import numpy as np

from songbag.quality.shortcuts import measure_shortcut


def test_a_fact_that_tells_the_label_is_seen_and_one_that_does_not_is_not():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 3).astype(str)
    labels = np.repeat(rng.choice(["a", "b", "c"], 60), 3)
    level = np.where(labels == "a", -9.0, -18.0) + rng.normal(0, 1, 180)
    told = measure_shortcut("loudness", level.tolist(), labels, groups)
    assert told.significant and told.label == "a" and told.recall > 0.9
    rate = np.where(labels == "b", "44100 Hz", "22050 Hz")
    assert measure_shortcut("rate", rate.tolist(), labels, groups).significant
    exact = measure_shortcut("codec", labels.tolist(), labels, groups)
    assert exact.accuracy == 1.0 and exact.strong
    length = np.where(labels == "c", 30.0, 60.0)
    assert measure_shortcut("length", length.tolist(), labels, groups).significant
    # the same level for all songs of an artist: chance, because artists are held out whole
    by_artist = np.repeat(rng.normal(-15, 5, 60), 3)
    assert not measure_shortcut("loudness", by_artist.tolist(), labels, groups).significant
    assert measure_shortcut("codec", ["mp3"] * 180, labels, groups) is None
    assert measure_shortcut("codec", rate.tolist()[:6], labels[:6], groups[:6]) is None
