"""Write which label holds when, for songs whose windows were predicted."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from songbag.console import counted
from songbag.data.song import Song
from songbag.inference.model_file import Card
from songbag.inference.predictions import probability_columns
from songbag.inference.segments import Segment, SegmentRules, segments, write_segments
from songbag.tasks.predict import PredictedRows


@dataclass
class SegmentCollection:
    """The spans of songs, gathered while their predictions pass by."""

    card: Card
    rules: SegmentRules
    by_song: dict[str, list[Segment]] = field(default_factory=dict)

    def watch(
        self, predictions: Iterable[PredictedRows], songs: Sequence[Song]
    ) -> Iterator[PredictedRows]:
        """Yield the predictions of songs; those that failed have no spans, and no file."""
        for song, predicted in zip(songs, predictions, strict=True):
            if not predicted.failed:
                self.by_song[song.id] = self._of_song(song, predicted)
            yield predicted

    def _of_song(self, song: Song, predicted: PredictedRows) -> list[Segment]:
        """Return the spans of a song in seconds of its file."""
        part = song.source(self.card.recipe.excerpt, self.card.recipe.windows.seconds)
        columns = ["start", "end", *probability_columns(self.card.labels)]
        table = np.array([[row[name] for name in columns] for row in predicted.windows], np.float64)
        times = table[:, :2] + part.start
        return segments(self.card, times[:, 0], times[:, 1], table[:, 2:], self.rules)

    def write(self, output: Path, form: str) -> str:
        """Write all spans (see `write_segments`) and return in words what was written."""
        write_segments(output, self.by_song, form)
        count = sum(map(len, self.by_song.values()))
        spans, songs = counted(count, "span"), counted(len(self.by_song), "song")
        return f"segments  {output}  {spans} in {songs}"
