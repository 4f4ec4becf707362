"""Train, cross-validate, evaluate and compare from Python."""

import inspect
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from songbag.api.model import Model, load
from songbag.api.results import Comparison, CrossValidation, EvaluationResult, Result, frames_of
from songbag.console import Console
from songbag.data.annotations import SpanOptions
from songbag.data.dataset import SongDataset
from songbag.data.open_songs import AudioOptions, open_songs
from songbag.data.window_table import bags_from_table
from songbag.errors import SettingsError, suggestion
from songbag.inference.model_file import load_model
from songbag.recipes.load import read
from songbag.settings import Own, Recipe, Training

if TYPE_CHECKING:
    import pandas

    from songbag.data.open_songs import SongsLike
    from songbag.training.callbacks import Callback


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
    columns: Mapping[str, str] | None = None,
    annotations: str | Path | None = None,
    background: str | None = None,
    callbacks: "Sequence[Callback]" = (),
    unknown: float = 0.0,
    same_split: str | Path | None = None,
    **changes: Any,
) -> Result:
    """Train on labelled songs, judge the model on a fifth of them, and return both.

    Parameters
    ----------
    songs
        A folder with a subfolder a label, a table, a DataFrame with ``path`` and
        ``label`` (and, if known, ``id``, ``artist``, ``split``, ``start``, ``end``), a list
        of folders and tables, a packed folder, or bags from `bags_from_table` or
        `bags_from_arrays`. Songs that a model chose (column ``chosen``, see
        `songbag.suggest`) are trained on and never tested.
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
    columns : mapping, optional
        Columns of a table by what they are, where they have other than the usual names:
        ``{"path": ..., "label": ..., "id": ..., "fold": ...}``; and where labels of files lie:
        ``layout``, ``label_pattern``, ``label_field``, ``group_field``, as on the command line.
    annotations : path, optional
        Audacity label files or Raven selection tables of the recordings, a folder or one table;
        by default those beside the recordings of a folder, such as a.txt beside a.wav.
    background : str, optional
        Label of what they leave out, where recordings are labelled exhaustively; by default
        that is unknown and not trained on.
    callbacks : sequence of Callback, optional
        Objects that are called after every epoch and at the end (`Callback`).
    unknown : float
        From 0.001 to below 1, such as 0.05: learn also which songs are unlike those of the
        training. `Model.predict` then sets them aside, and about this share of songs like them.
        0: nothing.
    same_split : path, optional
        Model file of an earlier training, whose test songs are test songs again.
    **changes
        Other training settings, for example ``epochs=10``; and ``augment``, 0 to 3: copies of
        each song that are trained on beside it, by telephone, too loud or amid applause (the
        default recipe makes one).
    """
    import pandas

    from songbag.tasks import train as task
    from songbag.training.callbacks import require_callbacks

    require_known(changes)
    followers = require_callbacks(callbacks)
    path = Path(output) if output else Path(tempfile.mkdtemp(prefix="songbag-")) / "model.songbag"
    console = Console(quiet)
    dataset = _open_songs(songs, group, cache, workers, columns, annotations, background)
    chosen, own = recipe_and_own(dataset, recipe, encoder, changes, network, pooling, loss)
    training = task.train(
        dataset, chosen, console, seed, own=own, model_path=path, callbacks=followers,
        unknown=unknown,
        same_split=Path(same_split) if same_split else None,
    )  # fmt: skip
    folder = task.write_training(training, path, console)
    model, evaluation = load(path), training.evaluation
    return Result(
        evaluation.figures if evaluation else {},
        *frames_of(evaluation, model.labels),
        folder,
        model.labels,
        model,
        pandas.DataFrame(training.history).set_index("epoch"),
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
    columns: Mapping[str, str] | None = None,
    annotations: str | Path | None = None,
    background: str | None = None,
    allow_crossing: bool = False,
    **changes: Any,
) -> CrossValidation:
    """Judge a recipe on all songs by grouped cross-validation (see `train`).

    With ``keep_models`` the folder gets the model of every fold. Folds that the table states
    (column ``fold``) are taken; with ``allow_crossing`` an artist may stand in two of them.
    """
    from songbag.tasks.cross_validate import cross_validate
    from songbag.tasks.train import load_and_choose

    folder = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    console = Console(quiet)
    songs = _open_songs(songs, group, cache, workers, columns, annotations, background)
    chosen, own = recipe_and_own(songs, recipe, encoder, changes, network, pooling, loss)
    dataset, chosen = load_and_choose(songs, chosen, console, seed)
    evaluation = cross_validate(
        dataset, folder, chosen, console, folds, seed, own=own, keep_models=keep_models,
        allow_crossing=allow_crossing,
    )  # fmt: skip
    labels = evaluation.labels
    return CrossValidation(evaluation.figures, *frames_of(evaluation, labels), folder, labels)


def evaluate(
    model: Model | str | Path,
    songs: "SongsLike",
    output: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    everything: bool = False,
    annotations: str | Path | None = None,
    background: str | None = None,
    robust: bool = False,
) -> EvaluationResult:
    """Judge a model on labelled songs that were not in its training.

    Parameters
    ----------
    model
        A model, or its file.
    songs
        As for `train`.
    output : path, optional
        Folder of the files; a temporary one otherwise.
    cache, workers, quiet
        As for `train`.
    everything
        Whether songs count that the model was trained on.
    annotations, background
        As for `train`.
    robust
        Whether the songs that count are also predicted with their sound changed: as mp3 of 64
        kbit/s, by telephone, clipped, a semitone up and down, with applause, the middle 10 s.
        ``metrics["robust"]`` has a row a change.
    """
    from songbag.report.write import write_report
    from songbag.tasks.evaluate import evaluate_model

    folder = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    dataset = _open_songs(songs, None, cache, workers, None, annotations, background)
    path = model.path if isinstance(model, Model) else model
    console = Console(quiet)
    evaluation = evaluate_model(load_model(path), dataset, console, everything, robust=robust)
    evaluation.write(folder)
    write_report(folder)
    labels = evaluation.labels
    return EvaluationResult(evaluation.figures, *frames_of(evaluation, labels), folder, labels)


def compare(
    songs: "SongsLike",
    output: str | Path | None = None,
    poolings: Sequence[str] = (),
    losses: Sequence[str] = (),
    recipes: Sequence[str | Path] = (),
    seeds: int = 3,
    folds: int = 5,
    metric: str | None = None,
    group: str | None = None,
    encoder: str | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    models: Sequence[Model | str | Path] = (),
    baselines: bool = False,
    **changes: Any,
) -> Comparison:
    """Compare poolings, losses or recipes, cross-validated on the same folds and seeds.

    Two ``models`` are compared as they are, on the songs that neither was trained on.

    Parameters
    ----------
    songs, group, encoder, cache, workers, quiet, **changes
        As for `train`.
    output : path, optional
        Folder of the files, in which the same call goes on where it was stopped.
    poolings, losses, recipes : sequence of str
        What is compared: every combination of them that can be trained.
    seeds, folds : int
        Repetitions of each cross-validation, and folds of each.
    metric : str, optional
        Compared by; accuracy by default, mean average precision with several labels.
    models : two of Model or path, optional
        The old and the new model; the folder gets changed.csv.
    baselines : bool
        Compare with what scikit-learn gives on the same folds, too.
    """
    from songbag.tasks.compare import baseline_systems, compare as task, systems_of

    folder, console = Path(output or tempfile.mkdtemp(prefix="songbag-")), Console(quiet)
    dataset = _open_songs(songs, group, cache, workers)
    if models:
        from songbag.tasks.compare_models import compare_models

        if len(models) != 2 or poolings or losses or recipes or baselines or changes:
            raise SettingsError("models are two, compared as they are; give nothing to train.")
        old, new = (load_model(one.path if isinstance(one, Model) else one) for one in models)
        return Comparison.of(compare_models(old, new, dataset, folder, console, metric))
    named: list[str | Path | None] = [*recipes] or [None]
    bases = [
        recipe_and_own(dataset, recipe, encoder, changes, None, None, None, "ears")[0]
        for recipe in named
    ]
    others = baseline_systems(dataset, bases[0], encoder) if baselines else []
    systems = systems_of(bases, list(poolings), list(losses), console, others)
    conclusion = task(dataset, systems, folder, console, range(seeds), folds, metric=metric)
    return Comparison.of(conclusion)


def leakage(
    songs: "SongsLike",
    output: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    folds: int = 5,
    seed: int = 0,
    group: str | None = None,
    encoder: str | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    **changes: Any,
) -> "pandas.DataFrame":
    """Measure how much of a figure is leakage: the same model under right and wrong splits.

    Returns
    -------
    DataFrame
        Indexed by split (see ``docs/howto/compare.md``): accuracy, low, high, window_accuracy,
        what.
    """
    import pandas

    from songbag.tasks.leakage import measure_leakage

    folder = Path(output or tempfile.mkdtemp(prefix="songbag-"))
    dataset = _open_songs(songs, group, cache, workers)
    chosen, _ = recipe_and_own(dataset, recipe, encoder, changes, None, None, None, "ears")
    rows = measure_leakage(dataset, folder, chosen, Console(quiet), folds, seed)
    return pandas.DataFrame(rows).set_index("split")


def _open_songs(
    songs: "SongsLike",
    group: str | None,
    cache: str | Path | None,
    workers: int | None,
    columns: Mapping[str, str] | None = None,
    annotations: str | Path | None = None,
    background: str | None = None,
) -> SongDataset:
    columns = columns or {}
    place = None if annotations is None else Path(annotations)
    spans = SpanOptions(place, background, columns.get("label"))
    folder = Path(cache) if cache else None
    options = AudioOptions(
        folder, workers=workers, allow_outside=True, columns=columns, spans=spans
    )
    return open_songs(songs, options, group)


def recipe_and_own(
    songs: SongDataset,
    recipe: str | Path | Recipe | None,
    encoder: str | None,
    changes: dict[str, Any],
    network: Any,
    pooling: Any,
    loss: Any,
    audio: str = "auto",
) -> tuple[Recipe, Own]:
    """Return the recipe with all named choices, and the user's own objects.

    ``audio`` is the recipe of audio files where none is named.
    """
    from songbag.encoders.choose import choose_recipe
    from songbag.tasks.train import default_encoder, default_recipe

    require_known(changes)
    of_recipe = {name: changes[name] for name in ("augment",) if name in changes}
    changes = {name: value for name, value in changes.items() if name not in of_recipe}
    parts = {"network": network, "pooling": pooling, "loss": loss}
    own = Own(**{name: part for name, part in parts.items() if not isinstance(part, str)})
    changes = changes | {name: part for name, part in parts.items() if isinstance(part, str)}
    encoder_named, encoder = encoder, encoder or default_encoder(songs, parts)
    if recipe is None:
        recipe = default_recipe(songs, parts, encoder, audio, changes.get("epochs"))
    if isinstance(recipe, Recipe):
        if encoder_named is not None:
            raise TypeError(
                "a Recipe object states its encoder: give encoder to songbag.encoders.choose."
                "choose_recipe, which makes one"
            )
        training = msgspec.to_builtins(recipe.training) | changes
        of_recipe["training"] = read(Training, training, "training")
        return msgspec.structs.replace(recipe, **of_recipe), own
    settings = of_recipe | {f"training.{name}": value for name, value in changes.items()}
    return choose_recipe(recipe, settings, encoder), own


def require_known(changes: Iterable[str]) -> None:
    """Refuse a name that is no training setting, with what was probably meant."""
    settings = {*Training.__struct_fields__, "augment"}
    for name in set(changes) - settings:
        hint = suggestion(name, {*settings, *inspect.signature(train).parameters} - {"changes"})
        if name in inspect.signature(bags_from_table).parameters:
            hint = " Of a table of windows songbag.bags_from_table makes songs, and takes it."
        raise SettingsError(f"there is no argument and no training setting '{name}'.{hint}")
