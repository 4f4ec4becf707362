"""The mean spectra beside an encoder's vectors, as frames for networks that learn from spectra."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_frames
from songbag.data.bag import Bag
from songbag.data.dataset import BagDataset, Progress, Selection, SongInput, no_progress
from songbag.data.song import Song
from songbag.settings import Encoding, Recipe, Sound, Windows


@dataclass(frozen=True)
class CellSpectraDataset(BagDataset):
    """Songs of cells, seen as songs of frames: ``levels`` a cell, without the encoder's vectors."""

    cells: BagDataset
    recipe: Recipe

    @property
    def _encoding(self) -> Encoding:
        assert self.recipe.sound.encoding is not None
        return self.recipe.sound.encoding

    @property
    def window_shape(self) -> tuple[int, int]:
        """(frames, bands) of a window."""
        sound, windows = self.recipe.sound, self.recipe.windows
        return window_frames(sound, windows) * self._encoding.levels, sound.frames.bands

    @property
    def songs(self) -> Sequence[Song]:  # type: ignore[override]
        return self.cells.songs

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self.cells.origin

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.subset(np.isin(np.arange(len(self)), range(len(self))[index]))
        bag: Bag = self.cells[index]
        assert bag.starts is not None
        spectra = bag.features[:, self._encoding.values :]
        frames = np.ascontiguousarray(spectra).reshape(-1, self.recipe.sound.frames.bands)
        return replace(bag, features=frames, starts=bag.starts * self._encoding.levels)

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> Self:
        return self

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        return self.cells.inputs(recipe)

    def grouped_by(self, column: str) -> Self:
        return replace(self, cells=self.cells.grouped_by(column))

    def subset(self, selected: Selection) -> Self:
        return replace(self, cells=self.cells.subset(selected))

    def cut(self, sound: Sound, windows: Windows) -> Self:
        return replace(self, cells=self.cells.cut(sound, windows))

    def without_features(self) -> Iterable[Bag]:
        return self.cells.without_features()

    def checksums(self) -> Iterable[bytes]:
        return self.cells.checksums()

    def shards(self) -> NDArray[np.int64]:
        return self.cells.shards()
