"""Songbag from Python: `train`, `crossval`, `load`; DataFrames in and out, by song id."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from songbag.audio.cache import default_folder
from songbag.console import Console
from songbag.data.dataset import SongBags
from songbag.data.packed_manifest import is_packed
from songbag.data.song_table import Song, SongTable, grouped_by, read_songs
from songbag.inference import tables
from songbag.inference.model_file import Card, read_model
from songbag.quality.findings import COLUMNS
from songbag.recipes import load_recipe
from songbag.settings import Limits, Own, Recipe, Training, read
from songbag.storage.csv_files import Row
from songbag.tasks.check import survey_songs, write_cleaned

if TYPE_CHECKING:
    import pandas

    Songs: TypeAlias = str | Path | pandas.DataFrame | Sequence[str | Path] | SongBags


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
            A file, a folder, a table or a DataFrame with a ``path`` column, a list of
            these, a packed folder, or bags (`bags_from_table`).
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
        from songbag.inference.predict import answer_all, answer_bags, answer_packed
        from songbag.tasks.predict import columns

        if isinstance(songs, SongBags):
            known: Sequence[Song] = songs.songs
            answers = list(answer_bags(songs, self.path))
        elif isinstance(songs, str | Path) and is_packed(songs):
            table, found = answer_packed(Path(songs), self.path)
            known, answers = table.songs, list(found)
        else:
            known = read_songs(songs, allow_outside).songs
            folder = Path(cache) if cache else default_folder()
            limits = Limits.of_hours(max_hours)
            answers = list(answer_all(known, self.path, folder, limits, workers))
        if windows:
            rows = [row for answer in answers for row in answer.window_rows(self.labels)]
            return window_frame(rows, self.labels)
        pairs = zip(answers, known, strict=True)
        songs_rows = [
            tables.with_own(answer.row(self.labels), song.extra) for answer, song in pairs
        ]
        return song_frame(songs_rows, columns(self.labels, known))

    def export(self, path: str | Path) -> Path:
        """Write the model as one ONNX graph, from samples to answer, for everywhere.

        Its input ``waveform`` is mono float32 at ``card.recipe.sound.sample_rate`` Hz,
        shape (samples,); its outputs are described in ``docs/howto/export.md``.

        Raises
        ------
        ExportError
            The model predicts windows of a table, the package ``onnx`` is missing, or the
            graph does not agree with the library to 1e-4. Nothing is written then.
        """
        from songbag.tasks.export import export_model

        return export_model(self.path, path, Console(quiet=True)).path


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

    from songbag.tasks.train import train_bags, train_songs

    path = Path(output) if output else Path(tempfile.mkdtemp(prefix="songbag-")) / "model.songbag"
    chosen, own = _choices(
        songs, recipe, {"network": network, "pooling": pooling, "loss": loss}, changes
    )
    console = Console(quiet)
    songs = _opened(songs, chosen, console)
    if isinstance(songs, SongBags):
        trained = train_bags(_grouped(songs, group), path, chosen, console, seed, own=own)
    else:
        table = _grouped_table(read_songs(songs, allow_outside=True), group)
        folder = Path(cache) if cache else default_folder()
        trained = train_songs(table, path, chosen, folder, console, seed, workers=workers, own=own)
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
) -> CrossValidation:
    """Judge a recipe on all songs by grouped cross-validation (see `train`)."""
    from songbag.tasks.cross_validate import crossvalidate, crossvalidate_bags

    out = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    chosen, own = _choices(
        songs, recipe, {"network": network, "pooling": pooling, "loss": loss}, changes
    )
    console = Console(quiet)
    songs = _opened(songs, chosen, console)
    if isinstance(songs, SongBags):
        bags = _grouped(songs, group)
        found = crossvalidate_bags(bags, out, chosen, console, folds, seed, own=own)
    else:
        table = _grouped_table(read_songs(songs, allow_outside=True), group)
        folder = Path(cache) if cache else default_folder()
        found = crossvalidate(
            table, out, chosen, folder, console, folds, seed, workers=workers, own=own
        )
    one = found.evaluation
    return CrossValidation(
        one.figures,
        song_frame(one.rows, one.columns),
        window_frame(one.window_rows, one.labels),
        found.folder,
    )


def _choices(
    songs: "Songs",
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
        recipe = "windows" if isinstance(songs, SongBags) else plain
    if isinstance(recipe, Recipe):
        training = msgspec.to_builtins(recipe.training) | changes
        return msgspec.structs.replace(recipe, training=read(Training, training, "training")), own
    return load_recipe(recipe, {f"training.{name}": value for name, value in changes.items()}), own


def _opened(songs: "Songs", recipe: Recipe, console: Console) -> "Songs":
    from songbag.tasks.train import open_labelled

    if isinstance(songs, str | Path) and is_packed(songs):
        return open_labelled(Path(songs), recipe, console)
    return songs


def _grouped(bags: SongBags, group: str | None) -> SongBags:
    return bags if group is None else bags.grouped_by(group)


def _grouped_table(table: SongTable, group: str | None) -> SongTable:
    return table if group is None else replace(table, songs=grouped_by(table.songs, group))


def song_frame(rows: Sequence[Row], columns: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of predictions.csv as a DataFrame indexed by song id."""
    import pandas

    return pandas.DataFrame(rows, columns=list(columns)).set_index("id")


def window_frame(rows: Sequence[Row], labels: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of windows.csv by song id, start and end (a table's by id and window)."""
    import pandas

    frame = pandas.DataFrame(rows, columns=tables.window_columns(labels))
    if frame["start"].isna().all():  # windows of a table have names or numbers, no seconds
        return frame.drop(columns=["start", "end"]).set_index(["id", "window"]).sort_index()
    # Sorted, because pandas looks up unsorted indices slowly and warns about it.
    return frame.drop(columns="window").set_index(["id", "start", "end"]).sort_index()


# --- checks ---
#
# Songs looked at before training, from Python: `check`.


if TYPE_CHECKING:
    import pandas


def check(
    songs: "Songs",
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

    if isinstance(songs, SongBags):
        raise TypeError("check listens to files; bags of a window table have none")
    table = read_songs(songs, allow_outside=True)
    if group is not None:
        table = replace(table, songs=grouped_by(table.songs, group))
    console = Console(quiet)
    survey = survey_songs(
        table,
        Path(cache) if cache else default_folder(),
        console,
        load_recipe(recipe).windows.seconds,
        Limits.of_hours(max_hours),
        workers,
        Path(crossval) if crossval else None,
    )
    if fix is not None:
        for line in write_cleaned(table, survey, Path(fix)):
            console.say(line)
    return pandas.DataFrame([one.row() for one in survey.findings], columns=COLUMNS)
