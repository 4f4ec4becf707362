"""Options of commands that train, and the recipe and songs that they stand for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    LABELS,
    PATH,
    RUNNING,
    SONGS,
    TRAINING,
    Callback,
    excerpt_options,
    group_option,
    option,
    read_audio_options,
    read_window_table,
    span_options,
    together,
)
from songbag.console import Console
from songbag.errors import SettingsError
from songbag.parts import networks, poolings

if TYPE_CHECKING:
    from songbag.data.dataset import SongDataset
    from songbag.settings import Recipe


def training_options(default: str = "auto") -> Callable[[Callback], Callback]:
    """Return a decorator that adds what changes the recipe, the group and the seed."""
    return together(
        option("--recipe", section=TRAINING,
               help=f"Name or .toml file.  [default: {default}; tables: windows]"),
        option("--network", names=networks, section=TRAINING, help="Classifies windows:"),
        option("--pooling", names=poolings, section=TRAINING, help="Joins windows to a song:"),
        option("--loss", type=click.Choice(["song", "window"]), section=TRAINING,
               help="What is minimised."),
        option("--epochs", type=int, section=TRAINING, help="Passes over the training songs."),
        option("--augment", type=click.IntRange(0, 3), metavar="COPIES", section=TRAINING,
               help="Of each song, by telephone, too loud, amid applause  [auto: 1]"),
        option("--set", "settings", multiple=True, metavar="KEY=VALUE", section=TRAINING,
               help="Any setting, e.g. training.learning_rate=0.001."),
        option("--seed", default=0, section=TRAINING,
               help="Of split and training."),
        group_option,
        span_options,
        option("--fold-column", metavar="COLUMN", section=LABELS,
               help="Column of the folds of a cross-validation.  [default: fold]"),
        option("--label-map", type=PATH, section=LABELS,
               help="CSV with two columns: a label, and the one it becomes."),
        option("--strict", is_flag=True, section=SONGS,
               help="A song that cannot be read ends the training."),
        option("--allow-crossing", is_flag=True, section=LABELS,
               help="Let groups stand on two sides of a split that the table gives."),
        excerpt_options,
        option("--threads", type=click.IntRange(1), section=RUNNING, help="Threads of torch."),
    )  # fmt: skip


encoder_option = option(
    "--encoder", metavar="NAME|ONNX", section=TRAINING,
    help="Pre-trained encoder that listens: musicnn, none, my.onnx.  [default: the recipe's]",
)  # fmt: skip


def recipe_and_songs(
    songs: Sequence[Path], options: dict[str, Any], default: str = "auto"
) -> "tuple[Recipe, SongDataset]":
    """Return the recipe that the options ask for, and the songs of all arguments."""
    from songbag.data.label_map import relabelled
    from songbag.data.open_songs import open_songs
    from songbag.data.packed_files import is_packed
    from songbag.encoders.choose import choose_recipe
    from songbag.parallel.pool import require_single_process
    from songbag.tasks.train import default_encoder, default_recipe

    if len(songs) > 1 and (options["song"] or any(is_packed(path) for path in songs)):
        raise SettingsError("a table of windows, or a packed folder, is trained on alone.")
    window_table = read_window_table(songs[0], options)
    named = {part: options[part] for part in ("network", "pooling", "loss")}
    given = songs[0] if len(songs) == 1 else list(songs)
    dataset = open_songs(window_table or given, read_audio_options(options), options["group"])
    if options["label_map"]:
        renamed, remarks = relabelled(dataset.songs, options["label_map"])
        dataset = dataset.with_songs(renamed)
        for remark in remarks:
            Console(options["quiet"]).say(remark)
    encoder = options["encoder"] or default_encoder(dataset, named)
    epochs = options["epochs"]
    name = options["recipe"] or default_recipe(dataset, named, encoder, default, epochs)
    recipe = choose_recipe(name, recipe_changes(options), encoder)
    if not dataset.checked:
        require_single_process("decoding songs")
    return recipe, dataset


def recipe_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Return the dotted settings of a recipe that options stand for."""
    import tomllib

    changes: dict[str, Any] = {
        f"training.{name}": options[name]
        for name in ("network", "pooling", "loss", "epochs")
        if options.get(name) is not None
    }
    if options.get("augment") is not None:
        changes["augment"] = options["augment"]
    if options["excerpt"] is not None:
        changes["excerpt.seconds"] = options["excerpt"]
        changes["excerpt.place"] = "middle" if options["middle"] else "first"
    elif options["middle"]:
        raise SettingsError("--middle says which part --excerpt takes; give --excerpt SECONDS too.")
    for text in options["settings"]:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: write KEY=VALUE, for example training.epochs=10.")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:  # a word without quotes
            changes[key.strip()] = value.strip()
    return changes
