"""Commands that train: train, crossval, compare, leakage, demo."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from songbag.cli.options import (
    OUTPUT,
    PATH,
    RUNNING,
    TRAINING,
    audio_file_options,
    command,
    option,
    read_audio_options,
    read_window_table,
    window_table_options,
)
from songbag.cli.training_options import (
    encoder_option,
    recipe_and_songs,
    recipe_changes,
    training_options,
)
from songbag.console import Console, counted
from songbag.errors import SettingsError
from songbag.parallel.pool import is_rank_zero, require_single_process

if TYPE_CHECKING:
    from songbag.tasks.conclusions import Conclusion

_COMPARED = "ears"  # the recipe of many trainings: one network, where "auto" has many
_ALIASES = {"mean": "mean_probability"}
# Options of a comparison that trains, by heading and by name; not of one of two models.
_TRAINED = ("Comparison", TRAINING)
_OF_TRAININGS = (
    *("label_map", "allow_crossing", "fold_column", "strict", "excerpt", "middle", "threads"),
)

_folder_option = option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Folder.")
_folds_option = option(
    "--folds", default=5, type=click.IntRange(2), section=TRAINING,
    help="Of the cross-validation.",
)  # fmt: skip


@command
@click.argument("songs", nargs=-1, required=True, type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Model file.")
@encoder_option
@training_options()
@audio_file_options
@option("--unknown", is_flag=False, flag_value=0.05, default=0.0, section=TRAINING,
        type=click.FloatRange(0, 1, max_open=True),
        help="Learn to set strange songs aside; of known ones 0.05.")  # fmt: skip
@option("--same-split", type=PATH, metavar="MODEL", section=TRAINING,
        help="Test on the test songs of an earlier model.")  # fmt: skip
@option("--resume", is_flag=True, section=RUNNING, help="Go on with a training that was stopped.")
@window_table_options
@click.pass_context
def train(
    ctx: click.Context, /, songs: tuple[Path, ...], output: Path, resume: bool, **options: Any
) -> None:
    """Train on SONGS and write a model with its evaluation.

    SONGS is a folder with one subfolder a label, or a table (.csv, .tsv, .parquet) with
    the columns path and label, and if you like id, artist, split, start and end; or several
    of these; or, with --song, a table of window features (.csv, .tsv, .parquet, .npz) with a
    row a window. Songs that a model chose (songbag suggest) are trained on, never tested.

    A fifth of the songs, whole artists, is never trained on and gives the figures. Beside
    genre.songbag the folder genre-training gets report.html and what it shows as tables, such
    as predictions.csv, windows.csv and split.csv.

    Several processes train together: torchrun --nproc-per-node 2 -m songbag train ...
    """
    from songbag.tasks import train as task

    quiet = options["quiet"] or not is_rank_zero()
    console = Console(quiet)
    recipe, dataset = recipe_and_songs(songs, options)
    if output.exists():
        console.say(f"{output} is there: it will be replaced when the training has ended")
    seed, threads = options["seed"], options["threads"]
    training = task.train(
        dataset, recipe, console, seed, threads, model_path=output, resume=resume,
        allow_crossing=options["allow_crossing"], unknown=options["unknown"],
        same_split=options["same_split"],
    )  # fmt: skip
    folder = task.write_training(training, output, console)
    if not quiet:
        click.echo(f"model   {output}")
        if training.evaluation is not None:
            click.echo(f"report  {folder / 'report.html'}")
        click.echo(f"next    songbag predict {shlex.quote(str(output))} FOLDER")
        if failed := len(training.dataset.failures):
            console.say(f"left out: {counted(failed, 'song')} that could not be read, see above")
    ctx.exit(1 if training.dataset.failures else 0)


@command
@click.argument("songs", nargs=-1, required=True, type=PATH)
@_folder_option
@option("--keep-models", is_flag=True, section=OUTPUT, help="Write the model of every fold too.")
@_folds_option
@encoder_option
@training_options()
@audio_file_options
@window_table_options
@click.pass_context
def crossval(
    ctx: click.Context,
    /,
    songs: tuple[Path, ...],
    output: Path,
    folds: int,
    keep_models: bool,
    **options: Any,
) -> None:
    """Cross-validate on SONGS.

    Each song is predicted by a model trained on other artists. The folder gets folds.csv,
    history.csv, predictions.csv, windows.csv, metrics.json and report.html, and with
    --keep-models the model of every fold. The same command goes on where it was stopped.
    """
    from songbag.tasks.cross_validate import cross_validate
    from songbag.tasks.train import load_and_choose

    require_single_process("a cross-validation")
    recipe, dataset = recipe_and_songs(songs, options)
    console = Console(options["quiet"])
    loaded, recipe = load_and_choose(dataset, recipe, console, options["seed"])
    evaluation = cross_validate(
        loaded, output, recipe, console, folds, options["seed"], options["threads"],
        keep_models=keep_models, allow_crossing=options["allow_crossing"],
    )  # fmt: skip
    if not options["quiet"]:
        click.echo(f"report  {output / 'report.html'}")
    ctx.exit(1 if evaluation.figures["failed"] else 0)


@command
@click.argument("songs", nargs=-1, required=True, type=PATH, metavar="[OLD NEW] SONGS")
@_folder_option
@option("--poolings", section="Comparison",
        help="Names with commas, e.g. mean,vote,attention.")  # fmt: skip
@option("--losses", section="Comparison", help="song, window or both: song,window.")
@option("--recipes", section="Comparison", help="Names or .toml files with commas.")
@option("--baselines", is_flag=True, section="Comparison",
        help="Also what scikit-learn gives on MFCC and on vectors.")  # fmt: skip
@option("--seeds", default=3, type=click.IntRange(1), section="Comparison",
        help="Repetitions of each cross-validation.")  # fmt: skip
@option("--folds", default=5, type=click.IntRange(2), section="Comparison",
        help="Folds of each cross-validation.")  # fmt: skip
@option("--metric", section="Comparison",
        help="Compare by it.  [default: accuracy; several labels: map]")  # fmt: skip
@encoder_option
@training_options(_COMPARED)
@audio_file_options
@window_table_options
def compare(songs: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Compare poolings, losses or recipes on SONGS, or two models.

    All systems are cross-validated on the same folds and seeds. The folder gets
    systems.csv, differences.csv (paired intervals and tests, corrected for their number),
    runs.csv, answers.csv, report.html and every run; the same command goes on where it
    was stopped.

    OLD and NEW are two model files. They are compared on those of SONGS that neither was
    trained on; changed.csv and the report have the songs whose answer changed.
    """
    from songbag.cli.terminal import conclusion_text

    require_single_process("a comparison")
    models = any(path.suffix == ".songbag" for path in songs)
    compared = _compare_models if models else _compare_systems
    click.echo(conclusion_text(compared(songs, output, options)))
    click.echo(f"report  {output / 'report.html'}")


def _compare_models(songs: Sequence[Path], output: Path, options: dict[str, Any]) -> "Conclusion":
    from songbag.data.open_songs import open_songs
    from songbag.inference.model_file import load_model
    from songbag.tasks.compare_models import compare_models

    *models, table = songs
    if len(models) != 2 or any(path.suffix != ".songbag" for path in models):
        raise SettingsError("to compare models give two .songbag files, then songs with labels.")
    context = click.get_current_context()
    for each in context.command.params:
        trains = getattr(each, "section", "") in _TRAINED or each.name in _OF_TRAININGS
        given = context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
        if given and trains and each.name != "metric":
            raise SettingsError(
                f"{each.opts[0]} is for systems that are trained; two models are as they are."
            )
    old, new = map(load_model, models)
    windows = read_window_table(table, options, new.card.features)
    dataset = open_songs(windows or table, read_audio_options(options), options["group"])
    return compare_models(old, new, dataset, output, Console(options["quiet"]), options["metric"])


def _compare_systems(songs: Sequence[Path], output: Path, options: dict[str, Any]) -> "Conclusion":
    from songbag.encoders.choose import choose_recipe
    from songbag.tasks.compare import baseline_systems, compare, systems_of

    console = Console(options["quiet"])
    recipe, dataset = recipe_and_songs(songs, options, _COMPARED)
    changes, encoder = recipe_changes(options), options["encoder"]
    recipes = _names(options["recipes"])
    bases = [choose_recipe(name, changes, encoder) for name in recipes] or [recipe]
    poolings, losses = _names(options["poolings"]), _names(options["losses"])
    others = baseline_systems(dataset, bases[0], encoder) if options["baselines"] else []
    systems = systems_of(bases, poolings, losses, console, others)
    seeds = range(options["seed"], options["seed"] + options["seeds"])
    folds, threads, metric = (options[name] for name in ("folds", "threads", "metric"))
    return compare(dataset, systems, output, console, seeds, folds, threads, metric=metric)


def _names(text: str | None) -> list[str]:
    names = (name.strip() for name in (text or "").split(","))
    return [_ALIASES.get(name, name) for name in names if name]


@command
@click.argument("songs", nargs=-1, required=True, type=PATH)
@_folder_option
@_folds_option
@encoder_option
@training_options(_COMPARED)
@audio_file_options
@window_table_options
def leakage(songs: tuple[Path, ...], output: Path, folds: int, **options: Any) -> None:
    """Measure how much of a figure is leakage.

    The same model is evaluated under right and wrong splits: whole artists held out, whole
    songs, single windows (wrong, as a warning), and each of artists and windows with labels
    that mean nothing. The folder gets leakage.csv, report.html and a report for every split.
    """
    from songbag.cli.terminal import leakage_text
    from songbag.tasks.leakage import measure_leakage, sentences

    require_single_process("a measurement of leakage")
    recipe, dataset = recipe_and_songs(songs, options, _COMPARED)
    console = Console(options["quiet"])
    rows = measure_leakage(dataset, output, recipe, console, folds, options["seed"])
    click.echo(leakage_text(rows, sentences(rows)))
    click.echo(f"report  {output / 'report.html'}")


@command
@option("-o", "--output", default="demo", type=PATH, help="Folder for songs, model and report.")
@option("--seed", default=0, help="Of the songs and the training.")
@option("--songs", default=40, help="Songs a genre.")
@option("--only-songs", is_flag=True, help="Write the songs and songs.csv, then stop.")
@option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def demo(output: Path, seed: int, songs: int, only_songs: bool, quiet: bool) -> None:
    """Train and evaluate on generated songs."""
    from songbag.tasks.demo import run_demo, write_songs

    console = Console(quiet)
    if only_songs:
        click.echo(write_songs(output, songs, seed, console))
        return
    click.echo(f"report  {run_demo(output, songs, seed, console)}")
    model = shlex.quote(str(output / "demo.songbag"))
    click.echo(f"next    songbag serve {model}   the page (songbag[serve])")
    click.echo("next    songbag train songs.csv -o genre.songbag   your songs (path, label)")
