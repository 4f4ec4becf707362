"""Songbag from Python: `train`, `crossval`, `check`, `load`; DataFrames in and out, by song id."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from songbag.console import Console
from songbag.data.dataset import SongDataset
from songbag.data.open_songs import AudioOptions, open_audio, open_songs
from songbag.data.waveform_dataset import is_one_waveform
from songbag.inference import model_file
from songbag.inference.model_file import Card
from songbag.inference.predict import predict
from songbag.inference.predictions import (
    song_columns,
    song_frame,
    song_row,
    window_frame,
    window_rows,
)
from songbag.quality.findings import COLUMNS
from songbag.recipes import read
from songbag.settings import Own, Recipe, Training
from songbag.tasks.check import survey_songs, write_cleaned

if TYPE_CHECKING:
    import pandas

    from songbag.data.open_songs import SongsLike
    from songbag.tasks.evaluate import Evaluation


@dataclass(frozen=True)
class Model:
    """A trained model: a file, and its card with labels, settings, split and figures."""

    path: Path
    card: Card

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the probability columns."""
        return self.card.labels

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the feature columns that a model of window tables was trained on."""
        return self.card.columns

    def predict(
        self,
        songs: "SongsLike",
        windows: bool = False,
        cache: str | Path | None = None,
        workers: int | None = None,
        max_hours: float = 1.0,
        allow_outside: bool = False,
        sample_rate: int | None = None,
    ) -> "pandas.DataFrame | pandas.Series[Any]":
        """Predict songs.

        Parameters
        ----------
        songs
            A file, a folder, a table or a DataFrame with a ``path`` column, a list of
            these, a packed folder, or a dataset of `bags_from_table`; or samples: a pair
            (samples, rate), a list of pairs, or arrays with ``sample_rate`` (see
            `songbag.data.waveform_dataset.waveforms_of`).
        windows
            Return the windows' predictions instead of the songs'.
        cache, workers, max_hours
            Folder of extracted frames; processes, one a core by default and none for a few
            songs; longest recording that is decoded.
        allow_outside
            Let a table name files outside its folder.
        sample_rate
            Of samples that come without one, Hz.

        Returns
        -------
        DataFrame
            Indexed by ``id``, one row a song: status, reason, predicted, confidence,
            p_<label>, ...; for the samples of one song that row. With ``windows``: indexed by
            ``id``, ``start``, ``end`` (seconds), one row a window: p_<label>,
            contribution_<label>.

        Raises
        ------
        SongTableError
            The songs cannot be listed. A song that cannot be read is a row with status
            "failed" instead.
        """
        options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside)
        dataset = open_songs(songs, options, sample_rate=sample_rate)
        items = predict(model_file.load_model(self.path), dataset)
        if windows:
            rows = [row for item in items for row in window_rows(item, self.labels)]
            return window_frame(rows, self.labels)
        rows = [song_row(item, self.labels) for item in items]
        frame = song_frame(rows, song_columns(self.labels, dataset.everyone()))
        return frame.iloc[0] if is_one_waveform(songs) else frame

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
    """Open a model file; a ModelFileError says if it is missing, damaged, foreign or too new."""
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
    encoder: str | None = None,
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
        Name, TOML file or `Recipe`; by default "auto" for audio ("ears" if you name a pooling or
        loss, "cnn" if you name a network), "windows" for bags.
    seed, group
        Of the split and the training; column that must not stand on two sides of the split,
        instead of ``artist``.
    network : str, nn.Module, Keras model or callable, optional
        A name, or your own network of a window (see `songbag.settings.Own`).
    pooling : str or callable, optional
        A name, or a function of logits (songs, windows, classes) to (songs, classes).
    loss : str or callable, optional
        "song", "window", or a function of song logits (songs, classes) and y (songs,).
    encoder : str, optional
        What listens: a name of `songbag encoders`, "none", or an ONNX file; by default what the
        recipe names.
    cache, workers, quiet
        Folder of extracted frames; processes; no messages.
    **changes
        Other training settings, for example ``epochs=10``.
    """
    import pandas

    from songbag.tasks import train as task

    path = Path(output) if output else Path(tempfile.mkdtemp(prefix="songbag-")) / "model.songbag"
    dataset, console = _open_songs(songs, group, cache, workers), Console(quiet)
    chosen, own = recipe_and_own(dataset, recipe, encoder, changes, network, pooling, loss)
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
    encoder: str | None = None,
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
    from songbag.tasks.train import load_and_choose

    folder = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    console, songs = Console(quiet), _open_songs(songs, group, cache, workers)
    chosen, own = recipe_and_own(songs, recipe, encoder, changes, network, pooling, loss)
    dataset, chosen = load_and_choose(songs, chosen, console, seed)
    evaluation = cross_validate(
        dataset, folder, chosen, console, folds, seed, own=own, keep_models=keep_models
    )
    return CrossValidation(evaluation.figures, *_frames(evaluation, evaluation.labels), folder)


def _open_songs(
    songs: "SongsLike", group: str | None, cache: str | Path | None, workers: int | None
) -> SongDataset:
    options = AudioOptions(Path(cache) if cache else None, workers=workers, allow_outside=True)
    return open_songs(songs, options, group)


def recipe_and_own(
    songs: SongDataset,
    recipe: str | Path | Recipe | None,
    encoder: str | None,
    changes: dict[str, Any],
    network: Any,
    pooling: Any,
    loss: Any,
) -> tuple[Recipe, Own]:
    """Return the recipe with all named choices, and the user's own objects."""
    from songbag.encoders.choose import choose_recipe
    from songbag.tasks.train import default_encoder, default_recipe

    parts = {"network": network, "pooling": pooling, "loss": loss}
    own = Own(**{name: part for name, part in parts.items() if not isinstance(part, str)})
    changes = changes | {name: part for name, part in parts.items() if isinstance(part, str)}
    encoder_named, encoder = encoder, encoder or default_encoder(songs, parts)
    if recipe is None:
        recipe = default_recipe(songs, parts, encoder, epochs=changes.get("epochs"))
    if isinstance(recipe, Recipe):
        if encoder_named is not None:
            raise TypeError(
                "a Recipe object states its encoder: give encoder to songbag.encoders.choose."
                "choose_recipe, which makes one"
            )
        training = msgspec.to_builtins(recipe.training) | changes
        return msgspec.structs.replace(recipe, training=read(Training, training, "training")), own
    settings = {f"training.{name}": value for name, value in changes.items()}
    return choose_recipe(recipe, settings, encoder), own


def _frames(
    evaluation: "Evaluation | None", labels: Sequence[str]
) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    if evaluation is None:
        return song_frame([], ["id"]), window_frame([], labels)
    songs = song_frame(evaluation.rows, evaluation.columns)
    return songs, window_frame(evaluation.window_rows, labels)


def check(
    songs: "SongsLike",
    fix: str | Path | None = None,
    crossval: str | Path | None = None,
    labels: bool = False,
    group: str | None = None,
    recipe: str | Path = "auto",
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
    fix
        CSV file that gets the table without unreadable and silent songs and all copies
        but the best; songs whose copies have different labels are left out altogether.
    crossval
        Folder written by `songbag.crossval`: labels its answers contradict are ranked.
    labels
        Rank labels by linear networks on what the recipe hears, without a cross-validation.
    group, recipe
        As for `train`; the recipe says what is heard, in windows of which length.
    cache, workers, max_hours, quiet
        Folder of what was found before; processes; longest recording; no messages.

    Returns
    -------
    DataFrame
        One row a finding, the gravest first: kind, severity ("error", "warning", "note"),
        id, other_id, label, other_label, found, advice. Empty where nothing was found.
    """
    import pandas

    from songbag.encoders.choose import choose_recipe

    if isinstance(songs, SongDataset):
        raise TypeError("check reads audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    dataset, console = open_audio(songs, options, group), Console(quiet)
    folds = Path(crossval) if crossval else None
    survey = survey_songs(dataset, console, choose_recipe(recipe), folds, labels)
    if fix is not None:
        for line in write_cleaned(dataset, survey, Path(fix)):
            console.say(line)
    return pandas.DataFrame([one.row() for one in survey.findings], columns=COLUMNS)


def tag(
    songs: "SongsLike",
    windows: bool = False,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
) -> "pandas.DataFrame":
    """Return an encoder's tags of songs, without any training.

    Parameters
    ----------
    songs
        As for `Model.predict`.
    windows
        A row a piece (3 s with musicnn), indexed by ``id``, ``start`` and ``end`` (seconds),
        instead of a row a song, indexed by ``id``.
    encoder, cache, workers, max_hours
        A name of ``songbag encoders``; the others as for `Model.predict`.

    Returns
    -------
    DataFrame
        status, reason, a probability for each tag, warnings.
    """
    return _encoded(songs, windows, encoder, cache, workers, max_hours, tags=True)


def embed(
    songs: "SongsLike",
    windows: bool = False,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
) -> "pandas.DataFrame":
    """Return an encoder's vectors of songs, v0, v1, ..., for other tools (see `tag`)."""
    return _encoded(songs, windows, encoder, cache, workers, max_hours, tags=False)


def _encoded(
    songs: "SongsLike",
    windows: bool,
    encoder: str,
    cache: str | Path | None,
    workers: int | None,
    max_hours: float,
    tags: bool,
) -> "pandas.DataFrame":
    import pandas

    from songbag.encoders.manifest import load_encoder
    from songbag.tasks.embed import encode_songs, table_columns, value_columns

    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    loaded, dataset = load_encoder(encoder), open_songs(songs, options)
    values, encoded = value_columns(loaded, tags), encode_songs(dataset, loaded, tags, windows)
    rows = [row for song in encoded for row in song.rows(values, windows)]
    frame = pandas.DataFrame(rows, columns=table_columns(values, windows))
    return frame.set_index(["id", "start", "end"] if windows else "id")
