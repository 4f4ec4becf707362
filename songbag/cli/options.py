"""Options that several commands share, and the settings and songs that they stand for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from songbag.errors import SettingsError
from songbag.storage.remote import parse_path

if TYPE_CHECKING:
    from songbag.data.dataset import MemoryDataset
    from songbag.data.open_songs import AudioOptions
    from songbag.parallel.pool import Workers

Callback = TypeVar("Callback", bound=Callable[..., Any])

# --- commands whose --help lists options under headings ---------------------------------

OUTPUT, SONGS, LABELS, WINDOW_TABLE = "Output", "Songs", "Labels", "Window table"
TRAINING, RUNNING = "Training", "Running"


class Option(click.Option):
    """An option under a heading, ``section``; its help ends with what ``names`` returns.

    That is asked for when help is shown, because other packages may add names.
    """

    def __init__(
        self,
        *arguments: Any,
        section: str = "Options",
        names: Callable[[], Iterable[str]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **{"show_default": True} | attributes)
        self.section, self._names, self._text = section, names, self.help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self._names is not None:
            self.help = f"{self._text} {', '.join(self._names())}."
        return super().get_help_record(ctx)


class Command(click.Command):
    """A command whose help lists options by heading, in the order of their first option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; how the command runs, and ``--help``, come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        headings = [getattr(each, "section", "") for each in options]
        rest = RUNNING if RUNNING in headings else "Options"  # for click's own --help
        for each, heading in zip(options, headings, strict=True):
            record = each.get_help_record(ctx)
            if record is not None:
                sections.setdefault(heading or rest, []).append(record)
        for section in sorted(sections, key=lambda name: name == RUNNING):
            with formatter.section(section):
                formatter.write_dl(sections[section])


def command(callback: Callable[..., Any]) -> Command:
    """Turn a function into a command."""
    return click.command(cls=Command)(callback)


option = partial(click.option, cls=Option)


def together(*options: Callable[[Any], Any]) -> Callable[[Callback], Callback]:
    """Return a decorator that adds several options in their order."""

    def add(callback: Callback) -> Callback:
        for decorator in reversed(options):
            callback = decorator(callback)
        return callback

    return add


PATH = click.Path(path_type=Path)
PATH_OR_URL = click.types.FuncParamType(parse_path)  # of this machine, or in an object store
PATH_OR_URL.name = "path"  # as help shows it


def _model_file(text: str) -> Path:
    from songbag.storage.downloads import local_model

    return local_model(text)


MODEL = click.types.FuncParamType(_model_file)  # a file, or an address, which is downloaded
MODEL.name = "model"


# --- songs ------------------------------------------------------------------------------


audio_file_options = together(
    option("--path", "path_column", metavar="COLUMN", section=SONGS,
           help="Column of the files, where the table calls it otherwise."),
    option("--label", metavar="COLUMN", section=LABELS, help="Column of the label."),
    option("--layout", metavar="LEVELS", section=LABELS,
           help="What subfolders are: split/label/group, * for none."),
    option("--label-pattern", metavar="REGEX", section=LABELS,
           help=r"The label in file names: '(\w+)\.' of rock.012.wav."),
    option("--label-field", metavar="FIELD", section=LABELS,
           help="The label in tags: genre, grouping, comment, ..."),
    option("--group-field", metavar="FIELD", section=LABELS,
           help="What no split divides, in tags: artist, album."),
    option("--id", "id_column", metavar="COLUMN", section=SONGS, help="Column of the song's id."),
    option("--max-hours", default=1.0, section=SONGS, help="Longest recording."),
    option("--allow-outside", is_flag=True, section=SONGS,
           help="With --remote or --cluster: let a table name files elsewhere."),
    option("--cache", type=PATH_OR_URL, section=RUNNING,
           help="Extracted frames.  [default: $SONGBAG_CACHE, else the user's cache]"),
    option("--workers", type=click.IntRange(1), section=RUNNING,
           help="Processes.  [default: one a core]"),
    option("-q", "--quiet", is_flag=True, section=RUNNING, help="No messages, no progress."),
)  # fmt: skip

span_options = together(
    option("--annotations", type=PATH, section=LABELS,
           help="Audacity labels or Raven tables of the songs.  [default: a.txt beside a.wav]"),
    option("--background", metavar="LABEL", section=LABELS,
           help="Label of what they leave out.  [default: unknown, left out]"),
)  # fmt: skip


cluster_options = together(
    option("--remote", is_flag=True, section=SONGS,
           help="Let a table name URLs: s3://bucket/a.mp3."),
    option("--cluster", metavar="ADDRESS", section=RUNNING,
           help="Dask: tcp://host:8786, or local:2."),
)  # fmt: skip

group_option = option(
    "--group", metavar="COLUMN", section=LABELS,
    help="Column that no split divides.  [default: artist]",
)  # fmt: skip


access_options = together(
    option("--host", default="127.0.0.1", section="Access", help="Address to listen on."),
    option("--port", default=8765, type=click.IntRange(0, 65535), section="Access",
           help="0: a free one."),
    option("--allow-remote", is_flag=True, section="Access",
           help="Answer other machines; needs --token."),
    option("--token", envvar="SONGBAG_TOKEN", section="Access",
           help="What requests must carry.  [env: SONGBAG_TOKEN]"),
)  # fmt: skip


@contextmanager
def serving_packages(name: str) -> Iterator[None]:
    """Say how to install what the imports in the block of a command lack."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"songbag {name} needs packages that are not installed ({error.name} is missing). "
            "Install them: python -m pip install 'songbag[serve]'"
        ) from None


@contextmanager
def open_workers(options: dict[str, Any]) -> "Iterator[Workers]":
    """Yield the number of processes of this machine, or the cluster that was named."""
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


def read_audio_options(options: dict[str, Any], workers: "Workers" = None) -> "AudioOptions":
    """Return where and how audio files are read."""
    from songbag.data.annotations import SpanOptions
    from songbag.data.open_songs import AudioOptions

    spans: SpanOptions | None = None
    if "annotations" in options:
        place: Path | None = options["annotations"]
        if place is not None and not place.exists():
            raise SettingsError(f"--annotations {place}: there is no such folder or file.")
        spans = SpanOptions(place, options["background"], options["label"])
    roles = {
        "path": "path_column",
        "label": "label",
        "id": "id_column",
        "fold": "fold_column",
        **{name: name for name in ("layout", "label_pattern", "label_field", "group_field")},
    }
    elsewhere = options.get("remote", False) or options.get("cluster") is not None
    return AudioOptions(
        options["cache"],
        options["max_hours"],
        workers or options["workers"],
        options["allow_outside"] or not elsewhere,  # who runs it here may read any file
        options.get("remote", False),
        {role: options[name] for role, name in roles.items() if options.get(name)},
        options.get("strict", False),
        spans,
    )


# --- window tables ----------------------------------------------------------------------


window_table_options = together(
    option("--song", metavar="COLUMN", section=WINDOW_TABLE,
           help="The table has a row a window: its song."),
    option("--song-pattern", metavar="REGEX", section=WINDOW_TABLE,
           help="Finds the song in that column."),
    option("--feature", "features", multiple=True, metavar="COLUMN", section=WINDOW_TABLE,
           help="Column of arrays, or columns such as 'mfcc_*'.  [default: all numbers]"),
    option("--order", metavar="COLUMN", section=WINDOW_TABLE,
           help="Column that orders a song's windows."),
    option("--shape", metavar="13x216", section=WINDOW_TABLE, help="Shape of a window given flat."),
    option("--multilabel", is_flag=True, section=WINDOW_TABLE, help="Labels are sets: piano;sad."),
    option("--missing", type=click.Choice(["refuse", "impute"]), default="refuse",
           section=WINDOW_TABLE, help="What becomes of missing numbers."),
    option("--preview", is_flag=True, section=WINDOW_TABLE,
           help="Show what --song-pattern finds, and stop."),
)  # fmt: skip


def read_window_table(
    table: Path, options: dict[str, Any], columns: Sequence[str] = ()
) -> "MemoryDataset | None":
    """Return the dataset of a window table, None without --song; with --preview, end.

    ``columns`` are those that a model was trained on.
    """
    if options["song"] is None:
        others = ("song_pattern", "features", "order", "shape", "preview", "multilabel")
        for name in others:
            if options[name]:
                flag = name.replace("_", "-").removesuffix("s")
                raise SettingsError(f"--{flag} is for tables of windows; name the --song column.")
        return None
    from songbag.data.table_files import read_columns, require_column
    from songbag.data.window_table import bags_from_table, preview

    if options["preview"]:
        if not options["song_pattern"]:
            raise SettingsError("--preview shows what --song-pattern finds; give one.")
        cells = read_columns(table)
        require_column(cells, options["song"], str(table))
        click.echo(preview(cells[options["song"]], options["song_pattern"]))
        raise SystemExit(0)
    shape = options["shape"]
    if shape is not None and not all(part.isdigit() for part in shape.split("x")):
        raise SettingsError(f"--shape {shape}: write whole numbers with x, for example 13x216.")
    return bags_from_table(
        table,
        options["song"],
        options["label"],
        list(options["features"]) or list(columns) or None,
        options["song_pattern"],
        options["order"],
        None if shape is None else [int(part) for part in shape.split("x")],
        options["multilabel"],
        options["missing"],
    )


# --- training ---------------------------------------------------------------------------


excerpt_options = together(
    option("--excerpt", type=float, section=SONGS, help="Take only so many seconds of each song."),
    option("--middle", is_flag=True, section=SONGS,
           help="With --excerpt: the middle, not the start."),
)  # fmt: skip


def exit_code(failed: int, total: int) -> int:
    """Return 0 where no song failed, 1 where some did, 2 where all did."""
    return 0 if not failed else 2 if failed == total else 1
