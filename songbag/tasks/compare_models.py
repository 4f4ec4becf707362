"""Two trained models on the same labelled songs: what changed, song by song."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.chosen_songs import decided_songs
from songbag.data.dataset import SongDataset
from songbag.data.song import joined_groups
from songbag.errors import SettingsError, SongTableError
from songbag.inference.model_file import Model, used_in_training
from songbag.report.write import write_report
from songbag.storage.files import Row, write_csv
from songbag.tasks.conclusions import Conclusion, chosen_metric, conclude
from songbag.tasks.evaluate import Evaluation, evaluate_model, require_known_labels

CHANGED_COLUMNS = [
    *("id", "label", "group", "change", "first", "second"),
    *("first_confidence", "second_confidence"),
]
_CHANGES = {  # from whether the first model was right, and the second is
    (False, True): "became right",
    (True, False): "became wrong",
    (False, False): "wrong in both",
}


def compare_models(
    first: Model,
    second: Model,
    songs: SongDataset,
    folder: Path,
    console: Console,
    metric: str | None = None,
) -> Conclusion:
    """Evaluate two models on the labelled songs that neither was trained on, song by song.

    Songs of training are known by their ids, as `songbag.tasks.evaluate.evaluate_model` knows
    them. ``folder`` gets runs/<model>/ (as `Evaluation.write` leaves it), changed.csv (the songs
    that the two answer differently), and the tables and the report of a comparison.
    """
    models = dict(zip(_names(first, second), (first, second), strict=True))
    metric = chosen_metric(metric, songs.kind)
    songs = decided_songs(songs, console)
    for model in models.values():  # before an hour of the first one's predictions
        require_known_labels(model, songs.songs, songs.origin)
    new_songs = _NewSongs.of(models, songs)
    evaluations: list[Evaluation] = []
    for name, model in models.items():
        console.say(f"{name}: {model.path}")
        evaluations.append(evaluate_model(model, new_songs.songs, console))
        evaluations[-1].write(folder / "runs" / name)
        write_report(folder / "runs" / name)
    changed = changed_rows(*evaluations)
    write_csv(folder / "changed.csv", changed, CHANGED_COLUMNS)
    runs = {name: [folder / "runs" / name] for name in models}
    counts = Counter(row["change"] for row in changed)
    how = ", ".join(f"{counts[change]} {change}" for change in _CHANGES.values())
    answers = f"the answer of {len(changed)} songs changed: {how}."
    said = [f"From {' to '.join(models)} {answers}", *new_songs.said]
    return conclude(folder, runs, metric, said, new_songs.trained_on)


def _names(*models: Model) -> list[str]:
    """Return a name a model: of its file, or with its folder where both files are called alike."""
    paths = [(model.path or Path("model")).resolve() for model in models]
    if models[0].hash == models[1].hash:
        raise SettingsError(f"{models[0].path} and {models[1].path} are the same model.")
    stems = [path.stem for path in paths]
    within = [f"{path.parent.name} {path.stem}" for path in paths]
    numbered = [f"{number} {stem}" for number, stem in enumerate(stems, 1)]
    return next(names for names in (stems, within, numbered) if len(set(names)) == 2)


@dataclass(frozen=True)
class _NewSongs:
    """The songs that no model was trained on, and what is to be said of the others."""

    songs: SongDataset
    trained_on: dict[str, int]  # by model, songs that it was trained on
    said: list[str]

    @classmethod
    def of(cls, models: dict[str, Model], songs: SongDataset) -> "_NewSongs":
        trained_on: dict[str, NDArray[np.bool_]] = {}
        for name, model in models.items():
            if not model.card.heard:
                raise SettingsError(f"{model.path}: it does not say which songs it was trained on.")
            trained_on[name] = used_in_training(model.card, (song.id for song in songs.songs))
        known = np.any(list(trained_on.values()), axis=0)
        sums = {name: int(of_one.sum()) for name, of_one in trained_on.items()}
        counts = ", ".join(f"{count} of {name}" for name, count in sums.items())
        if known.all():
            raise SongTableError(
                f"{songs.origin}: no song is left to compare on: all {len(known)} were used in "
                f"training ({counts}). Give other songs, or train with --same-split."
            )
        said = []
        if known.any():
            said.append(f"{int(known.sum())} songs are set aside, used in the training: {counts}.")
        groups = np.array(joined_groups(songs.songs))
        shared = int(np.isin(groups[~known], groups[known]).sum())
        if shared:
            said.append(
                f"{shared} of the compared songs belong to a group (artist) of songs that a model "
                "was trained on: their figures may be too high."
            )
        return cls(songs.subset(~known), sums, said)


def changed_rows(first: Evaluation, second: Evaluation) -> list[Row]:
    """Return a row of changed.csv for each song that two evaluations answer differently."""
    before = {row["id"]: row for row in first.rows}
    rows: list[Row] = []
    for now in second.rows:
        then = before[now["id"]]
        if then["status"] != "ok" or now["status"] != "ok" or then["predicted"] == now["predicted"]:
            continue
        right = (then["predicted"] == then["label"], now["predicted"] == now["label"])
        row: Row = {name: now[name] for name in ("id", "label", "group")}
        row |= {"change": _CHANGES[right], "first": then["predicted"], "second": now["predicted"]}
        row |= {"first_confidence": then["confidence"], "second_confidence": now["confidence"]}
        rows.append(row)
    return rows
