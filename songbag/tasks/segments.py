"""Which label holds when, for songs whose windows were predicted."""

from collections.abc import Sequence

import numpy as np

from songbag.data.song import Song
from songbag.inference.model_file import Card
from songbag.inference.predictions import probability_columns
from songbag.inference.segments import Segment, SegmentRules, segments
from songbag.tasks.predict import PredictedRows


def segments_by_song(
    card: Card, songs: Sequence[Song], predicted: Sequence[PredictedRows], rules: SegmentRules
) -> dict[str, list[Segment]]:
    """Return the spans of songs in seconds of their files, by id; failed songs are left out."""
    columns = ["start", "end", *probability_columns(card.labels)]
    by_song = {}
    for song, of_song in zip(songs, predicted, strict=True):
        if of_song.failed:
            continue
        part = song.source(card.recipe.excerpt, card.recipe.windows.seconds)
        table = np.array([[row[name] for name in columns] for row in of_song.windows], np.float64)
        times = table[:, :2] + part.start
        by_song[song.id] = segments(card, times[:, 0], times[:, 1], table[:, 2:], rules)
    return by_song
