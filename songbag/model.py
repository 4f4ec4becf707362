"""Songbag from Python: `train`, `crossval`, `load`; DataFrames in and out, by song id."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from songbag.answers import tables
from songbag.answers.modelfile import Card, read_model
from songbag.jobs.console import Console
from songbag.settings import Limits, Recipe, load_recipe
from songbag.songs.table import read_songs
from songbag.sound.cache import default_folder

if TYPE_CHECKING:
    import pandas

    Songs: TypeAlias = str | Path | pandas.DataFrame | Sequence[str | Path]


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
        songs: "Songs",
        windows: bool = False,
        cache: str | Path | None = None,
        workers: int | None = None,
        max_hours: float = 1.0,
        allow_outside: bool = False,
    ) -> "pandas.DataFrame":
        """Answer songs.

        Parameters
        ----------
        songs
            A file, a folder, a table or a DataFrame with a ``path`` column, or a list.
        windows : bool
            Return the windows' answers instead of the songs'.
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
        from songbag.jobs.answering import answer_all
        from songbag.jobs.collection import columns

        table = read_songs(songs, allow_outside)
        folder = Path(cache) if cache else default_folder()
        limits = Limits.of_hours(max_hours)
        answers = list(answer_all(table.songs, self.path, folder, limits, workers))
        if windows:
            rows = [row for answer in answers for row in answer.window_rows(self.labels)]
            return window_frame(rows, self.labels)
        pairs = zip(answers, table.songs, strict=True)
        songs_rows = [answer.row(self.labels) | song.extra for answer, song in pairs]
        return song_frame(songs_rows, columns(self.labels, table.songs))


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold answers: every song judged by a model that never heard its artist."""

    metrics: dict[str, Any]
    predictions: "pandas.DataFrame"
    window_predictions: "pandas.DataFrame"
    folder: Path


@dataclass(frozen=True)
class Result:
    """A training's model, and the answers for its test songs."""

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
    return Model(Path(path), read_model(path).card)


def train(
    songs: "Songs",
    output: str | Path | None = None,
    recipe: str | Path | Recipe = "cnn",
    seed: int = 0,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Result:
    """Train on labelled songs, judge the model on a fifth of them, and return both.

    Parameters
    ----------
    songs
        A folder with a subfolder a label, a table, or a DataFrame with ``path`` and
        ``label`` (and, if known, ``id``, ``artist``, ``split``, ``start``, ``end``).
    output : path, optional
        Model file; a temporary one otherwise (see `Result.save`).
    recipe
        Name, TOML file or `Recipe`.
    seed : int
        Of the split and the training.
    cache, workers, quiet
        Folder of extracted frames; processes; no messages.
    **changes
        Training settings, for example ``epochs=10`` or ``pooling="mean_probability"``.

    Raises
    ------
    SongTableError, SettingsError, TrainingError
    """
    from songbag.jobs.training import train_songs

    path = Path(output) if output else Path(tempfile.mkdtemp(prefix="songbag-")) / "model.songbag"
    trained = train_songs(
        read_songs(songs, allow_outside=True),
        path,
        _recipe(recipe, changes),
        Path(cache) if cache else default_folder(),
        Console(quiet),
        seed,
        workers=workers,
    )
    import pandas

    found = trained.evaluation
    model = load(trained.model_path)
    return Result(
        model,
        found.figures if found else {},
        song_frame(found.rows if found else [], found.columns if found else ["id"]),
        window_frame(found.window_rows if found else [], model.labels),
        pandas.DataFrame(trained.history).set_index("epoch"),
        trained.folder,
    )


def crossval(
    songs: "Songs",
    output: str | Path | None = None,
    folds: int = 5,
    recipe: str | Path | Recipe = "cnn",
    seed: int = 0,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    **changes: Any,
) -> CrossValidation:
    """Judge a recipe on all songs by grouped cross-validation (see `train`)."""
    from songbag.jobs.crossvalidation import crossvalidate

    found = crossvalidate(
        read_songs(songs, allow_outside=True),
        Path(output or tempfile.mkdtemp(prefix="songbag-")),
        _recipe(recipe, changes),
        Path(cache) if cache else default_folder(),
        Console(quiet),
        folds,
        seed,
        workers=workers,
    )
    one = found.evaluation
    return CrossValidation(
        one.figures,
        song_frame(one.rows, one.columns),
        window_frame(one.window_rows, one.labels),
        found.folder,
    )


def _recipe(recipe: str | Path | Recipe, changes: dict[str, Any]) -> Recipe:
    dotted = {f"training.{name}": value for name, value in changes.items()}
    if isinstance(recipe, Recipe):
        import msgspec

        from songbag.settings import Training, read

        training = msgspec.to_builtins(recipe.training) | changes
        return msgspec.structs.replace(recipe, training=read(Training, training, "training"))
    return load_recipe(recipe, dotted)


def song_frame(rows: Sequence[tables.Row], columns: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of predictions.csv as a DataFrame indexed by song id."""
    import pandas

    return pandas.DataFrame(rows, columns=list(columns)).set_index("id")


def window_frame(rows: Sequence[tables.Row], labels: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of windows.csv as a DataFrame indexed by song id, start and end."""
    import pandas

    frame = pandas.DataFrame(rows, columns=tables.window_columns(labels))
    # Sorted, because pandas looks up unsorted indices slowly and warns about it.
    return frame.drop(columns="window").set_index(["id", "start", "end"]).sort_index()
