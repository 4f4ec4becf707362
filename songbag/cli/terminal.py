"""Results as text: CSV when piped, tables on a terminal, files when asked for."""

import io
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from songbag.console import visible
from songbag.data.song import Song
from songbag.inference.model_file import Card
from songbag.inference.predictions import song_columns, window_columns, write_json_rows
from songbag.storage.files import Row, csv_text, write_csv
from songbag.tasks.predict import PredictedRows, journal_path

if TYPE_CHECKING:
    from rich.table import Table

    from songbag.tasks.conclusions import Conclusion

    Interval = tuple[float, float | None, float | None]  # value, low, high

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "__..--=#"  # where the terminal's encoding has no blocks
_SPARK, _LONG_SPARK = 24, 48  # characters of a timeline among others, and alone
_LABELS = 12  # labels shown of a single song
_STRIP = 18  # characters of a drawn interval
_PAIRS = 10  # differences shown


# --- predictions ------------------------------------------------------------------------


class Results:
    """Writes predictions where the options of ``songbag predict`` want them.

    Parameters
    ----------
    labels : sequence of str
    songs : sequence of Song
        All songs, for the names of the user's columns.
    options : dict
        ``csv_file``, ``json_file`` and ``windows`` of the command.
    """

    def __init__(
        self, labels: Sequence[str], songs: Sequence[Song], options: dict[str, Any]
    ) -> None:
        self.labels = labels
        self.columns = song_columns(labels, songs)
        self.window_columns = window_columns(labels)
        self.csv_file: Path | None = options["csv_file"]
        self.json_file: Path | None = options["json_file"]
        self.windows: bool = options["windows"]

    @property
    def file(self) -> Path | None:
        """The file whose journal lets the command continue after a stop."""
        return self.csv_file or self.json_file

    def write(self, predictions: Iterable[PredictedRows]) -> int:
        """Write everything and return how many songs failed."""
        if self.file is None and not sys.stdout.isatty():
            return self._stream(predictions)
        songs = list(predictions)
        windows = [row for song in songs for row in song.windows] if self.windows else []
        if self.csv_file is not None:
            write_csv(self.csv_file, (song.row for song in songs), self.columns)
            if self.windows:
                name = self.csv_file.with_name(f"{self.csv_file.stem}-windows.csv")
                write_csv(name, windows, self.window_columns)
        if self.json_file is not None:
            by_song = [song.windows for song in songs] if self.windows else []
            write_json_rows(self.json_file, [song.row for song in songs], by_song)
        if self.file is not None:
            journal_path(self.file).unlink(missing_ok=True)
        if sys.stdout.isatty():
            _print_songs(songs, self.labels)
            if self.windows:
                click.echo(visible(csv_text(windows, self.window_columns)))
        return sum(song.failed for song in songs)

    def _stream(self, predictions: Iterable[PredictedRows]) -> int:
        """Print each song as soon as it is predicted."""
        columns = self.window_columns if self.windows else self.columns
        print_csv(csv_text([], columns))
        failed = 0
        for song in predictions:
            if self.windows and song.failed:
                reason = f"failed: {song.row['id']}: {song.row['warnings']}"
                click.echo(visible(reason), err=True)
            rows = song.windows if self.windows else [song.row]
            print_csv(csv_text(rows, columns, header=False))
            failed += song.failed
        return failed


def print_csv(text: str) -> None:
    """Print CSV as UTF-8, whatever the locale is, so that ids are not changed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_songs(songs: Sequence[PredictedRows], labels: Sequence[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    if len(songs) == 1 and not songs[0].failed:
        row = songs[0].row
        headline = Text.assemble(
            visible(f"{row['id']}: "),
            (visible(row["predicted"] or "?"), "bold"),
            f", {100 * row['confidence']:.0f} % sure",
        )
        Console().print(headline, _label_table(songs[0], labels), sep="\n")
    else:
        Console().print(_song_table(songs))
    notes = Console(stderr=True)
    for song in songs:
        if song.row["warnings"]:
            warnings = song.row["warnings"].removeprefix(f"{song.row['id']}: ")
            notes.print(visible(f"{song.row['id']}: {warnings}"), markup=False, highlight=False)


def _song_table(songs: Sequence[PredictedRows]) -> "Table":
    """Return a line per song, with the timeline of its label."""
    from rich.text import Text

    table = plain_table(
        ("song", "left"), ("answer", "left"), ("sure", "right"), ("over time", "left")
    )
    for song in songs:
        # Text, because rich would read "song [live].mp3" as markup.
        name = Text(visible(song.row["id"]))
        if song.failed:
            table.add_row(name, Text(song.row["reason"], "red"), "", "")
            continue
        label, sure = song.row["predicted"] or "?", f"{100 * song.row['confidence']:.0f} %"
        single = f"p_{label}" in song.row  # not several labels, nor none
        over_time = sparkline(song.windows, label) if single else ""
        table.add_row(name, Text(visible(label)), sure, over_time)
    return table


def _label_table(song: PredictedRows, labels: Sequence[str]) -> "Table":
    """Return a line per label of a single song, with its timeline, the most probable first."""
    from rich.text import Text

    predicted = (song.row["predicted"] or "").split(";")
    table = plain_table(("label", "left"), ("share", "right"), ("over time", "left"))
    ordered = sorted(labels, key=lambda label: -song.row[f"p_{label}"])
    for label in ordered[:_LABELS]:
        name = Text(visible(label), "bold" if label in predicted else "")
        share = f"{100 * song.row[f'p_{label}']:.0f} %"
        table.add_row(name, share, sparkline(song.windows, label, _LONG_SPARK))
    if len(ordered) > _LABELS:
        table.add_row(f"{len(ordered) - _LABELS} more", "", "")
    elif song.row["seconds"] is not None:
        width = min(_LONG_SPARK, len(song.windows))
        minutes, seconds = divmod(round(song.row["seconds"]), 60)
        table.add_row("", "", Text(f"0:00{f'{minutes}:{seconds:02d}':>{max(6, width - 4)}}", "dim"))
    return table


def plain_table(*columns: tuple[str, str]) -> "Table":
    """Return a table of (name, side) columns; the first folds where a name is too long."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, (name, justify) in enumerate(columns):
        long = {"overflow": "fold"} if number == 0 else {"no_wrap": name != "answer"}
        table.add_column(name, justify="right" if justify == "right" else "left", **long)
    return table


def sparkline(windows: Sequence[Row], label: str, width: int = _SPARK) -> str:
    """Return a label's probability over the windows, drawn in at most ``width`` characters.

    Examples
    --------
    >>> sparkline([{"p_rock": 0.0}, {"p_rock": 0.5}, {"p_rock": 1.0}], "rock") in ("▁▅█", "_-#")
    True
    """
    bars = _BARS if can_show(_BARS) else _PLAIN_BARS
    shares = [row[f"p_{label}"] for row in windows]
    width = min(width, len(shares))
    parts = [
        shares[i * len(shares) // width : (i + 1) * len(shares) // width] for i in range(width)
    ]
    return "".join(bars[min(7, int(8 * sum(part) / len(part)))] for part in parts)


def can_show(text: str) -> bool:
    """Tell whether standard output can encode these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- models -----------------------------------------------------------------------------


def card_text(card: Card) -> str:
    """Return the labels, settings, split, figures and versions of a model."""
    recipe = card.recipe
    networks = " and ".join(training.network for training in recipe.trainings)
    folds = recipe.training.folds
    members = f"{folds} members each of {networks}" if folds else f"network {networks}"
    lines = [
        f"labels      {', '.join(card.labels)}",
        f"recipe      {recipe.name}: {members}, pooling {recipe.training.pooling}, "
        f"loss on the {recipe.training.loss}",
        f"windows     {recipe.windows.seconds:g} s every {recipe.windows.hop_seconds:g} s, "
        f"{' x '.join(map(str, card.window_shape))}",
        *_settings("sound", recipe.sound),
        *_settings("excerpt", recipe.excerpt),
        *_settings("training", recipe.training),
        *(line for branch in recipe.branches for line in _settings("branch", branch)),
        *_settings("adapt", recipe.adapt),
        f"seed        {card.seed}",
    ]
    if card.split is not None:
        lines.append(f"split       {card.split.method}; {card.split.groups} groups")
        lines.append(f"            certificate {card.split.hash}")
        for side, counts in card.split.counts.items():
            each = ", ".join(f"{label} {count}" for label, count in counts.items())
            lines.append(f"            {side}: {each}")
    for name, figure in card.figures.get("metrics", {}).items():
        value = "unknown" if figure["value"] is None else f"{figure['value']:.3f}"
        if figure["value"] is not None and figure["low"] is not None:
            value += f"  ({figure['low']:.3f} to {figure['high']:.3f})"
        lines.append(f"{name:<20}{value}")
    if card.figures:
        lines.append(f"figures     of {card.figures['songs']} songs that were not trained on")
    else:
        lines.append("figures     none: it was not evaluated on songs that were not trained on")
    lines.append("versions    " + ", ".join(f"{k} {v}" for k, v in card.versions.items()))
    return visible("\n".join(lines))


def _settings(name: str, record: msgspec.Struct) -> list[str]:
    values = ", ".join(f"{k} {v}" for k, v in msgspec.to_builtins(record).items() if v is not None)
    return textwrap.wrap(f"{name:<12}{values}", 79, subsequent_indent=" " * 12)


def layer_text(card: Card) -> str:
    """Return the layers of a model with their numbers of parameters."""
    total = sum(row["parameters"] for row in card.layers)
    lines = [f"{row['parameters']:>9,}  {row['layer']}" for row in card.layers]
    return visible("\n".join([*lines, f"{total:>9,}  parameters in all"]))


# --- comparisons ------------------------------------------------------------------------


def conclusion_text(conclusion: "Conclusion") -> str:
    """Return a comparison as text: conclusions, systems, and their differences."""
    metric = conclusion.metric
    table = plain_table(
        ("system", "left"), ("songs" if metric == "accuracy" else metric, "right"),
        ("95 % interval", "left"), ("", "left"), ("log loss", "right"), ("a run", "right"),
    )  # fmt: skip
    names = (metric, f"{metric}_low", f"{metric}_high")
    span = _span(row[name] for row in conclusion.systems for name in names)
    for row in conclusion.systems:
        value, low, high = (row[name] for name in names)
        table.add_row(
            _text(row["system"]), f"{value:.3f}", _between(low, high),
            _strip((value, low, high), span), f"{row['nll']:.3f}", f"{row['seconds']:.0f} s",
        )  # fmt: skip
    parts: list[Any] = [*conclusion.said, "", table, ""]
    if conclusion.differences:
        parts += [_difference_table(conclusion.differences), ""]
    if (more := len(conclusion.differences) - _PAIRS) > 0:
        parts.append(f"{more} more pairs: {conclusion.folder / 'differences.csv'}")
    return _printed(parts)


def _difference_table(pairs: Sequence[Row]) -> "Table":
    table = plain_table(
        ("difference", "left"), ("points", "right"), ("95 % interval", "left"), ("", "left"),
        ("p", "right"), ("told", "left"),
    )  # fmt: skip
    ends = [row[name] for row in pairs for name in ("difference", "low", "high")]
    far = max((abs(value) for value in ends if value is not None), default=0.0) or 0.01
    for row in pairs[:_PAIRS]:
        interval = (row["difference"], row["low"], row["high"])
        p = "–" if row["p_adjusted"] is None else f"{row['p_adjusted']:.3f}"
        table.add_row(
            _text(f"{row['a']}\n- {row['b']}"), f"{100 * row['difference']:+.1f}",
            _between(*interval[1:], 100, "+.1f"), _strip(interval, (-far, far), 0.0), p,
            "yes" if row["told_apart"] else "no",
        )  # fmt: skip
    return table


def leakage_text(rows: Sequence[Row], sentences: Sequence[str]) -> str:
    """Return a measurement of leakage as text: the splits, and what their figures mean."""
    table = plain_table(
        ("split by", "left"), ("songs", "right"), ("95 % interval", "left"), ("", "left"),
        ("windows", "right"),
    )  # fmt: skip
    span = _span([0.0, *(row[name] for row in rows for name in ("low", "high", "accuracy"))])
    for row in rows:
        interval = (row["accuracy"], row["low"], row["high"])
        table.add_row(
            row["split"].replace("_", " "), f"{row['accuracy']:.3f}", _between(*interval[1:]),
            _strip(interval, span), f"{row['window_accuracy']:.3f}",
        )  # fmt: skip
    return _printed([table, "", *sentences])


def _span(values: Iterable[float | None]) -> tuple[float, float]:
    """Return an axis that contains all values, longer than zero."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if max(known) > min(known) else (min(known) - 0.01, max(known))


def _strip(interval: "Interval", span: tuple[float, float], zero: float | None = None) -> str:
    """Return an interval with its value, drawn on an axis shared by a table's rows."""
    line, dot, mark = "─●│" if can_show("─●│") else "-o|"

    def position(value: float) -> int:
        return round((_STRIP - 1) * (value - span[0]) / (span[1] - span[0]))

    value, low, high = interval
    drawn = [" "] * _STRIP
    if low is not None and high is not None:
        first, last = position(low), position(high)
        drawn[first : last + 1] = line * (last + 1 - first)
    if zero is not None:
        drawn[position(zero)] = mark
    drawn[position(value)] = dot
    return "".join(drawn)


def _between(low: float | None, high: float | None, scale: float = 1, form: str = ".3f") -> str:
    if low is None or high is None:
        return "unknown"
    return f"{scale * low:{form}} to {scale * high:{form}}"


def _text(text: str) -> Any:
    """Return text that rich does not read as markup."""
    from rich.text import Text

    return Text(text)


def _printed(parts: Sequence[Any]) -> str:
    """Return texts and tables as they look on the terminal, of 80 columns where there is none."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get().rstrip("\n")
