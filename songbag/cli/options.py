"""Options that several commands share, and what they become."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from songbag.errors import SettingsError
from songbag.parts import networks, poolings
from songbag.storage.remote import AnyPath, parse_path

if TYPE_CHECKING:
    from songbag.data.dataset import MemoryDataset
    from songbag.data.open_songs import AudioOptions
    from songbag.parallel.pool import Workers
    from songbag.settings import Own, Recipe

_DEFAULTS = {"compare": "cnn", "leakage": "cnn"}
Command = TypeVar("Command", bound=Callable[..., Any])


class PathOrUrl(click.ParamType[AnyPath]):
    """A path of this machine, or the URL of an object store."""

    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> AnyPath:
        """Return what the word names."""
        return parse_path(value) if isinstance(value, str) else value


PATH_OR_URL = PathOrUrl()


def cache_option(command: Command) -> Command:
    """Add --cache."""
    text = "Folder for extracted frames.  [default: $SONGBAG_CACHE, else the user's cache]"
    return click.option("--cache", type=PATH_OR_URL, help=text)(command)


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


def audio_options(options: dict[str, Any], workers: "Workers" = None) -> "AudioOptions":
    """Return how audio files are found and read, by the options of a command."""
    from songbag.data.open_songs import AudioOptions

    return AudioOptions(
        options["cache"],
        options["max_hours"],
        workers or options["workers"],
        options["allow_outside"],
        options.get("remote", False),
    )


def spread_options(command: Command) -> Command:
    """Add --cluster and --remote."""
    options = (
        click.option("--cluster", metavar="ADDRESS", help="Dask: tcp://host:8786, or local:2."),
        click.option("--remote", is_flag=True, help="Let a table name URLs: s3://bucket/a.mp3."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class PartOption(click.Option):
    """An option whose help ends in the names of the known parts, looked up when it is shown."""

    def __init__(self, *arguments: Any, names: Callable[[], Iterable[str]], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.names, self.text = names, self.help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return how the option is written, and its help."""
        self.help = f"{self.text} {', '.join(self.names())}."
        return super().get_help_record(ctx)


@contextmanager
def working(options: dict[str, Any]) -> "Iterator[Workers]":
    """Yield who works: processes of this machine, or the cluster that was named."""
    if options["cluster"] is None:
        yield options["workers"]
        return
    if options["workers"] is not None:
        raise SettingsError("--workers are of this machine, --cluster has its own; give one.")
    try:
        from songbag.parallel.cluster import connect_cluster
    except ImportError as error:
        raise SettingsError(
            f"--cluster needs the package {error.name}: pip install 'songbag[cluster]'."
        ) from None
    with connect_cluster(options["cluster"]) as engine:
        yield engine


def table_options(command: Command) -> Command:
    """Add the options that say the songs are a table of window features."""
    options = (
        click.option("--song", metavar="COLUMN", help="The table has a row a window: its song."),
        click.option("--song-pattern", metavar="REGEX", help="Finds the song in that column."),
        click.option("--label", metavar="COLUMN", help="Column of the label."),
        click.option(
            "--feature", "features", multiple=True, metavar="COLUMN",
            help="Column of arrays, or columns such as 'mfcc_*'.",
        ),
        click.option("--order", metavar="COLUMN", help="Column that orders a song's windows."),
        click.option("--shape", metavar="13x216", help="Shape of a window given flat."),
        click.option("--multilabel", is_flag=True, help="Labels are sets: piano;sad."),
        click.option("--preview", is_flag=True, help="Show what --song-pattern finds, and stop."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_window_table(table: Path, options: dict[str, Any]) -> "MemoryDataset | None":
    """Return the bags of a table of windows, None when the songs are audio."""
    if options["song"] is None:
        for name in (
            "song_pattern",
            "label",
            "features",
            "order",
            "shape",
            "preview",
            "multilabel",
        ):
            if options[name]:
                flag = name.replace("_", "-").removesuffix("s")
                raise SettingsError(f"--{flag} is for tables of windows; name the --song column.")
        return None
    from songbag.data.table_files import read_columns, require_column
    from songbag.data.window_columns import preview
    from songbag.data.window_table import bags_from_table

    if options["preview"]:
        if not options["song_pattern"]:
            raise SettingsError("--preview shows what --song-pattern finds; give one.")
        columns = read_columns(table)
        require_column(columns, options["song"], str(table))
        click.echo(preview(columns[options["song"]], options["song_pattern"]))
        raise SystemExit(0)
    shape = options["shape"]
    if shape is not None and not all(part.isdigit() for part in shape.split("x")):
        raise SettingsError(f"--shape {shape}: write whole numbers with x, for example 13x216.")
    return bags_from_table(
        table,
        options["song"],
        options["label"],
        list(options["features"]) or "feature",
        options["song_pattern"],
        options["order"],
        None if shape is None else [int(part) for part in shape.split("x")],
        options["multilabel"],
    )


def training_options(command: Command) -> Command:
    """Add the options of commands that train: those that change the recipe, and the seed."""
    default = _DEFAULTS.get(command.__name__, "auto")
    text = f"Name or .toml file.  [default: {default}; tables: windows]"
    options = (
        click.option("--recipe", help=text),
        click.option("--network", cls=PartOption, names=networks, help="Looks at a window:"),
        click.option("--pooling", cls=PartOption, names=poolings, help="Joins windows:"),
        click.option("--loss", type=click.Choice(["song", "window"]), help="What is minimised."),
        click.option("--epochs", type=int, help="Passes over the training songs."),
        click.option("--excerpt", type=float, help="Hear only so many seconds of each song."),
        click.option("--middle", is_flag=True, help="With --excerpt: the middle, not the start."),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE",
            help="Any setting, e.g. training.learning_rate=0.001.",
        ),
        click.option("--group", metavar="COLUMN", help="Never on two sides.  [default: artist]"),
        click.option("--seed", default=0, show_default=True, help="Of split and training."),
        click.option("--threads", type=click.IntRange(1), help="Threads of torch."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def encoder_option(command: Command) -> Command:
    """Add --embedding."""
    text = "Encoder of a window's samples, not trained; recipe embeddings."
    kind = click.Path(path_type=Path)
    return click.option("--embedding", type=kind, metavar="ONNX", help=text)(command)


def default_recipe(command: str, options: dict[str, Any], table: bool) -> str:
    """Return the recipe of a command whose user names none.

    Who names a network, a pooling or a loss wants one network with it, and not the members
    of ``auto``; what compares many trainings takes one network each.
    """
    if table:
        return "windows"
    if options.get("embedding") is not None:
        return "embeddings"
    chosen = any(options[name] is not None for name in ("network", "pooling", "loss"))
    return "cnn" if chosen else _DEFAULTS.get(command, "auto")


def own_encoder(options: dict[str, Any], recipe: "Recipe") -> "Own":
    """Return the encoder that --embedding names."""
    from songbag.settings import Own

    if options["embedding"] is None:
        return Own()
    from songbag.encoders.onnx_file import read_encoder

    return Own(encoder=read_encoder(options["embedding"], recipe))


def recipe_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Return the dotted settings that options of a training stand for."""
    changes: dict[str, Any] = {
        f"training.{name}": options[name]
        for name in ("network", "pooling", "loss", "epochs")
        if options.get(name) is not None
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
