"""What cannot be cross-validated."""

import numpy as np
import pytest

from songbag.data.song import Song
from songbag.errors import TrainingError
from songbag.tasks import cross_validate


def test_a_label_of_one_artist_cannot_be_cross_validated():
    """No model could both learn it and meet it; silence about it would be a wrong figure."""
    songs = [Song(f"{k}", f"{k}.wav", "ab"[k % 2], f"artist {k % 2 * k}") for k in range(12)]
    fold_of = np.array([0 if song.label == "a" else k % 3 for k, song in enumerate(songs)])
    with pytest.raises(TrainingError, match="labelled 'a' fall into one fold"):
        cross_validate.require_learnable(songs, fold_of)
    cross_validate.require_learnable(songs, np.arange(12) // 2 % 3)
