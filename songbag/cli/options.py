"""Options that several commands share, and what they become."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from songbag.errors import SettingsError

Command = TypeVar("Command", bound=Callable[..., Any])


def cache_option(command: Command) -> Command:
    """Add --cache."""
    text = "Folder for extracted frames.  [default: $SONGBAG_CACHE, else the user's cache]"
    return click.option("--cache", type=click.Path(path_type=Path), help=text)(command)


def collection_options(command: Command) -> Command:
    """Add --max-hours, --workers, --allow-outside and --quiet."""
    options = (
        click.option("--max-hours", default=1.0, show_default=True, help="Longest recording."),
        click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one a core]"),
        click.option("--allow-outside", is_flag=True, help="Let a table name files elsewhere."),
        click.option("-q", "--quiet", is_flag=True, help="No messages, no progress."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def training_options(command: Command) -> Command:
    """Add the options of train and crossval that change the recipe."""
    options = (
        click.option("--recipe", default="cnn", show_default=True, help="Name, or a .toml file."),
        click.option("--network", help="Network of the recipe: cnn, founding or mlp."),
        click.option("--pooling", help="mean_logit, mean_probability or hard_vote."),
        click.option("--loss", type=click.Choice(["song", "window"]), help="What is minimised."),
        click.option("--epochs", type=int, help="Passes over the training songs."),
        click.option("--excerpt", type=float, help="Hear only so many seconds of each song."),
        click.option("--middle", is_flag=True, help="With --excerpt: the middle, not the start."),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE",
            help="Any setting, e.g. training.learning_rate=0.001.",
        ),
        click.option("--seed", default=0, show_default=True, help="Of split and training."),
        click.option("--threads", type=click.IntRange(1), help="Threads of torch."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def recipe_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Return the dotted settings that options of a training stand for."""
    changes: dict[str, Any] = {
        f"training.{name}": options[name]
        for name in ("network", "pooling", "loss", "epochs")
        if options[name] is not None
    }
    if options["excerpt"] is not None:
        changes["excerpt.seconds"] = options["excerpt"]
        changes["excerpt.place"] = "middle" if options["middle"] else "first"
    elif options["middle"]:
        raise SettingsError("--middle says which part --excerpt takes; give --excerpt SECONDS too.")
    for text in options["settings"]:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: write KEY=VALUE, for example training.epochs=10.")
        changes[key.strip()] = _parsed(value.strip())
    return changes


def _parsed(text: str) -> Any:
    """Read a value as TOML would, bare words as text."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
