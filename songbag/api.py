"""Songbag from Python: `train`, `crossval`, `check`, `load`; DataFrames in and out, by song id."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from songbag.console import Console
from songbag.data.dataset import BagDataset, SongDataset
from songbag.data.open_songs import AudioOptions, open_audio, open_songs
from songbag.inference import model_file
from songbag.inference.model_file import Card
from songbag.inference.predict import predict
from songbag.inference.predictions import song_columns, song_row, window_columns, window_rows
from songbag.quality.findings import COLUMNS
from songbag.recipes import load_recipe
from songbag.settings import Own, Recipe, Training, read
from songbag.storage.files import Row
from songbag.tasks.check import survey_songs, write_cleaned

if TYPE_CHECKING:
    import pandas

    from songbag.data.open_songs import SongsLike
    from songbag.tasks.evaluate import Evaluation


@dataclass(frozen=True)
class Model:
    """A trained model: a file, and what it says about itself.

    Attributes
    ----------
    path : Path
    card : Card
        Labels, settings, split certificate, figures.
    """

    path: Path
    card: Card

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the probability columns."""
        return self.card.labels

    def predict(
        self,
        songs: "SongsLike",
        windows: bool = False,
        cache: str | Path | None = None,
        workers: int | None = None,
        max_hours: float = 1.0,
        allow_outside: bool = False,
    ) -> "pandas.DataFrame":
        """Predict songs.

        Parameters
        ----------
        songs
            A file, a folder, a table or a DataFrame with a ``path`` column, a list of
            these, a packed folder, or a dataset of `bags_from_table`.
        windows : bool
            Return the windows' predictions instead of the songs'.
        cache : path, optional
            Where extracted frames may lie already.
        workers : int, optional
            Processes; one a core by default, none for a few songs.
        max_hours : float
            Longest recording that is decoded.
        allow_outside : bool
            Let a table name files outside its folder.

        Returns
        -------
        DataFrame
            Indexed by ``id``, one row a song: status, reason, predicted, confidence,
            p_<label>, ... With ``windows``: indexed by ``id``, ``start``, ``end``
            (seconds), one row a window: p_<label>, contribution_<label>.

        Raises
        ------
        SongTableError
            The songs cannot be listed. A song that cannot be read is a row with status
            "failed" instead.
        """
        options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside)
        dataset = open_songs(songs, options)
        items = predict(model_file.load_model(self.path), dataset)
        if windows:
            return window_frame(
                [row for item in items for row in window_rows(item, self.labels)], self.labels
            )
        rows = [song_row(item, self.labels) for item in items]
        return song_frame(rows, song_columns(self.labels, dataset.everyone()))

    def export(self, path: str | Path) -> Path:
        """Write the model as one ONNX graph, from samples to prediction, for everywhere.

        Its input ``waveform`` is mono float32 at ``card.recipe.sound.sample_rate`` Hz,
        shape (samples,); its outputs are described in ``docs/howto/export.md``.

        Raises
        ------
        ExportError
            The model predicts windows of a table, the package ``onnx`` is missing, or the
            graph does not agree with the library to 1e-4. Nothing is written then.
        """
        from songbag.tasks.export import export_model

        return export_model(model_file.load_model(self.path), path, Console(quiet=True)).path


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions: every song by a model that was not trained on its artist."""

    metrics: dict[str, Any]
    predictions: "pandas.DataFrame"
    window_predictions: "pandas.DataFrame"
    folder: Path


@dataclass(frozen=True)
class Result:
    """A training's model, and its predictions for the test songs."""

    model: Model
    metrics: dict[str, Any]
    predictions: "pandas.DataFrame"
    window_predictions: "pandas.DataFrame"
    history: "pandas.DataFrame"
    folder: Path

    def save(self, path: str | Path) -> Model:
        """Copy the model file to ``path`` and return the model there."""
        shutil.copyfile(self.model.path, path)
        return load(path)


def load(path: str | Path) -> Model:
    """Open a model file.

    Raises
    ------
    ModelFileError
        Missing, damaged, foreign or too new.
    """
    return Model(Path(path), model_file.load_model(path).card)


def train(
    songs: "SongsLike",
    output: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    seed: int = 0,
    group: str | None = None,
    network: Any = None,
    pooling: Any = None,
    loss: Any = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Result:
    """Train on labelled songs, judge the model on a fifth of them, and return both.

    Parameters
    ----------
    songs
        A folder with a subfolder a label, a table, a DataFrame with ``path`` and
        ``label`` (and, if known, ``id``, ``artist``, ``split``, ``start``, ``end``), a
        packed folder, or bags from `bags_from_table` or `bags_from_arrays`.
    output : path, optional
        Model file; a temporary one otherwise (see `Result.save`).
    recipe
        Name, TOML file or `Recipe`; by default "auto" for audio ("cnn" if you name a
        network, pooling or loss), "windows" for bags.
    seed : int
        Of the split and the training.
    group : str, optional
        Column that must not stand on two sides of the split, instead of ``artist``.
    network : str, nn.Module, Keras model or callable, optional
        A name, or your own network of a window (see `songbag.settings.Own`).
    pooling : str or callable, optional
        A name, or a function of logits (songs, windows, classes) to (songs, classes).
    loss : str or callable, optional
        "song", "window", or a function of song logits (songs, classes) and y (songs,).
    cache, workers, quiet
        Folder of extracted frames; processes; no messages.
    **changes
        Other training settings, for example ``epochs=10``.

    Raises
    ------
    SongTableError, SettingsError, TrainingError
    """
    import pandas

    from songbag.tasks import train as task

    path = Path(output) if output else Path(tempfile.mkdtemp(prefix="songbag-")) / "model.songbag"
    parts = {"network": network, "pooling": pooling, "loss": loss}
    chosen, own = _recipe_and_parts(songs, recipe, parts, changes)
    console = Console(quiet)
    dataset = open_songs(songs, _training_options(cache, workers), group)
    training = task.train(dataset, chosen, console, seed, own=own, model_path=path)
    folder = task.write_training(training, path, console)
    model, evaluation = load(path), training.evaluation
    return Result(
        model,
        evaluation.figures if evaluation else {},
        *_frames(evaluation, model.labels),
        pandas.DataFrame(training.history).set_index("epoch"),
        folder,
    )


def crossval(
    songs: "SongsLike",
    output: str | Path | None = None,
    folds: int = 5,
    recipe: str | Path | Recipe | None = None,
    seed: int = 0,
    group: str | None = None,
    network: Any = None,
    pooling: Any = None,
    loss: Any = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    keep_models: bool = False,
    **changes: Any,
) -> CrossValidation:
    """Judge a recipe on all songs by grouped cross-validation (see `train`).

    With ``keep_models`` the folder gets the model of every fold.
    """
    from songbag.tasks.cross_validate import cross_validate
    from songbag.tasks.train import load_labelled

    folder = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    parts = {"network": network, "pooling": pooling, "loss": loss}
    chosen, own = _recipe_and_parts(songs, recipe, parts, changes)
    dataset, console = open_songs(songs, _training_options(cache, workers), group), Console(quiet)
    evaluation = cross_validate(
        load_labelled(dataset, chosen, console),
        folder,
        chosen,
        console,
        folds,
        seed,
        own=own,
        keep_models=keep_models,
    ).evaluation
    return CrossValidation(evaluation.figures, *_frames(evaluation, evaluation.labels), folder)


def _training_options(cache: str | Path | None, workers: int | None) -> AudioOptions:
    return AudioOptions(Path(cache) if cache else None, workers=workers, allow_outside=True)


def _recipe_and_parts(
    songs: "SongsLike",
    recipe: str | Path | Recipe | None,
    parts: dict[str, Any],
    changes: dict[str, Any],
) -> tuple[Recipe, Own]:
    """Return the recipe with all named choices, and the user's own objects."""
    named = {name: part for name, part in parts.items() if isinstance(part, str)}
    own = Own(**{name: part for name, part in parts.items() if not isinstance(part, str)})
    changes = {**changes, **named}
    if recipe is None:
        plain = "cnn" if any(part is not None for part in parts.values()) else "auto"
        recipe = "windows" if isinstance(songs, BagDataset) else plain
    if isinstance(recipe, Recipe):
        training = msgspec.to_builtins(recipe.training) | changes
        return msgspec.structs.replace(recipe, training=read(Training, training, "training")), own
    return load_recipe(recipe, {f"training.{name}": value for name, value in changes.items()}), own


def _frames(
    evaluation: "Evaluation | None", labels: Sequence[str]
) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    if evaluation is None:
        return song_frame([], ["id"]), window_frame([], labels)
    return (
        song_frame(evaluation.rows, evaluation.columns),
        window_frame(evaluation.window_rows, labels),
    )


def song_frame(rows: Sequence[Row], columns: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of predictions.csv as a DataFrame indexed by song id."""
    import pandas

    return pandas.DataFrame(rows, columns=list(columns)).set_index("id")


def window_frame(rows: Sequence[Row], labels: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of windows.csv by song id, start and end (a table's by id and window)."""
    import pandas

    frame = pandas.DataFrame(rows, columns=window_columns(labels))
    if frame["start"].isna().all():  # windows of a table have names or numbers, no seconds
        return frame.drop(columns=["start", "end"]).set_index(["id", "window"]).sort_index()
    # Sorted, because pandas looks up unsorted indices slowly and warns about it.
    return frame.drop(columns="window").set_index(["id", "start", "end"]).sort_index()


def check(
    songs: "SongsLike",
    fix: str | Path | None = None,
    crossval: str | Path | None = None,
    group: str | None = None,
    recipe: str | Path = "cnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Say what is wrong with songs and labels before anything is trained on them.

    Parameters
    ----------
    songs
        A folder with a subfolder a label, a table, or a DataFrame with a ``path`` column.
    fix : path, optional
        CSV file that gets the table without unreadable and silent songs and all copies
        but the best; songs whose copies have different labels are left out altogether.
    crossval : path, optional
        Folder written by `songbag.crossval`: labels its answers contradict are ranked.
    group : str, optional
        Column of what must not stand on two sides of a split, instead of ``artist``.
    recipe
        Says how long a window is.
    cache, workers, max_hours, quiet
        Folder of what was found before; processes; longest recording; no messages.

    Returns
    -------
    DataFrame
        One row a finding, the gravest first: kind, severity ("error", "warning", "note"),
        id, other_id, label, other_label, found, advice. Empty where nothing was found.

    Raises
    ------
    SongTableError, SettingsError
    """
    import pandas

    if isinstance(songs, SongDataset):
        raise TypeError("check reads audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    dataset, console = open_audio(songs, options, group), Console(quiet)
    window_seconds = load_recipe(recipe).windows.seconds
    folds = Path(crossval) if crossval else None
    survey = survey_songs(dataset, console, window_seconds, folds)
    if fix is not None:
        for line in write_cleaned(dataset, survey, Path(fix)):
            console.say(line)
    return pandas.DataFrame([one.row() for one in survey.findings], columns=COLUMNS)
