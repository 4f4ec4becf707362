"""What the tests of the check share: songs that were drawn once."""

import numpy as np
import pytest

from songbag.audio.synthesis import GENRES, synthesise

RATE = 22050


@pytest.fixture(scope="module")
def waves():
    """Twelve songs of 20 s."""
    return [
        synthesise(genre, np.random.default_rng([5, number, k]), 20.0, RATE)
        for k, genre in enumerate(GENRES)
        for number in range(4)
    ]
