"""How many decisions of a model change when the sound of the songs is changed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio.changes import CHANGES
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import SongDataset
from songbag.errors import SettingsError
from songbag.inference.model_file import Card, Model
from songbag.inference.predict import predict_inputs
from songbag.inference.predictions import Predictions, SongPrediction
from songbag.storage.files import Row

UNCHANGED = "none"


def require_audio(dataset: SongDataset) -> AudioDataset:
    """Return a dataset of audio files.

    Raises
    ------
    SettingsError
        It is another dataset, whose sound is not at hand.
    """
    if not isinstance(dataset, AudioDataset):
        raise SettingsError(
            f"{dataset.origin}: the robust test changes the sound of songs, and these are no "
            "audio files. Give a table or a folder of them, or leave the test out."
        )
    return dataset


def measure_robustness(
    model: Model,
    dataset: AudioDataset,
    items: Sequence[SongPrediction],
    groups: NDArray[np.int64] | None,
    console: Console,
) -> list[Row]:
    """Return a row for the songs as they are, and one for each of `CHANGES`.

    Parameters
    ----------
    items
        Predictions of songs of the dataset, none of them failed; ``groups`` (items,) are
        resampled together.

    Returns
    -------
    list of dict
        ``change``; ``songs`` that were predicted, ``failed`` ones; ``changed``: decisions that
        differ from those of ``items``; the headline metric with ``low`` and ``high``.
    """
    songs = [replace(item.song, change=change) for change in CHANGES for item in items]
    inputs = dataset.with_songs(songs).inputs(model.card.recipe)
    answers = predict_inputs(model, inputs, dataset.workers)
    tracked = console.track(answers, len(inputs), "Changing")
    rows = [_row(UNCHANGED, items, items, model.card, groups)]
    for change in CHANGES:
        changed = list(islice(tracked, len(items)))
        rows.append(_row(change, items, changed, model.card, groups))
    return rows


def _row(
    change: str,
    before: Sequence[SongPrediction],
    after: Sequence[SongPrediction],
    card: Card,
    groups: NDArray[np.int64] | None,
) -> Row:
    kind, labels, changed = card.kind, card.labels, Predictions(card.labels, after)
    ok = changed.ok
    differs = (changed.decisions != Predictions(labels, before).decisions).any(axis=1)
    figure: dict[str, Any] = {"value": None, "low": None, "high": None}
    if ok.any():
        y = kind.truths([item.song.labels for item in after], labels)[ok]
        shares, decisions = kind.normalized(changed.probabilities[ok]), changed.decisions[ok]
        evaluated: Any = kind.evaluate(
            y, shares, labels, decisions, None if groups is None else groups[ok]
        )
        figure = evaluated["metrics"][kind.headline]
    return {
        "change": change,
        "songs": int(ok.sum()),
        "failed": int((~ok).sum()),
        "changed": int(differs[ok].sum()),
        kind.headline: figure["value"],
        "low": figure["low"],
        "high": figure["high"],
    }
