"""How answers look: CSV when piped, a table on a terminal, files when asked."""

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from songbag.console import visible
from songbag.data.song import Song
from songbag.inference import writers
from songbag.inference.model_file import Card
from songbag.settings import Recipe
from songbag.storage.csv_files import Row, csv_text, write_csv
from songbag.tasks.predict import PredictedRows, journal_path

if TYPE_CHECKING:
    from rich.table import Table

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "__..--=#"  # where the terminal's encoding has no blocks
_SPARK, _LONG_SPARK = 24, 48  # characters of a timeline among others, and alone
_LABELS = 12  # labels shown of a single song


class Results:
    """Takes predictions as they come and puts them where the user asked."""

    def __init__(
        self, labels: Sequence[str], songs: Sequence[Song], options: dict[str, Any]
    ) -> None:
        self.labels = labels
        self.columns = writers.song_columns(labels, songs)
        self.csv_file: Path | None = options["csv_file"]
        self.json_file: Path | None = options["json_file"]
        self.windows: bool = options["windows"]

    @property
    def file(self) -> Path | None:
        """The file whose journal lets the command go on."""
        return self.csv_file or self.json_file

    def take(self, predictions: Iterable[PredictedRows]) -> int:
        """Write everything and return how many songs failed."""
        if self.file is None and not sys.stdout.isatty():
            return self._stream(predictions)
        found = list(predictions)
        if self.csv_file is not None:
            self._write_csv(self.csv_file, found)
        if self.json_file is not None:
            windows = [rows.windows for rows in found] if self.windows else []
            writers.write_json_rows(self.json_file, [rows.row for rows in found], windows)
        if self.file is not None:
            journal_path(self.file).unlink(missing_ok=True)
        if sys.stdout.isatty():
            self._show(found)
        return sum(one.failed for one in found)

    def _stream(self, predictions: Iterable[PredictedRows]) -> int:
        columns = writers.window_columns(self.labels) if self.windows else self.columns
        if isinstance(sys.stdout, io.TextIOWrapper):  # ids come out whatever the locale is
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        sys.stdout.write(csv_text([], columns))
        failed = 0
        for one in predictions:
            rows = one.windows if self.windows else [one.row]
            if self.windows and one.failed:
                said = f"failed: {one.row['id']}: {one.row['warnings']}"
                click.echo(visible(said), err=True)
            sys.stdout.write(csv_text(rows, columns, header=False))
            sys.stdout.flush()
            failed += one.failed
        return failed

    def _write_csv(self, path: Path, found: Sequence[PredictedRows]) -> None:
        write_csv(path, (one.row for one in found), self.columns)
        if self.windows:
            rows = (row for one in found for row in one.windows)
            name = path.with_name(f"{path.stem}-windows.csv")
            write_csv(name, rows, writers.window_columns(self.labels))

    def _show(self, found: Sequence[PredictedRows]) -> None:
        from rich.console import Console

        if len(found) == 1 and not found[0].failed:
            Console().print(_headline(found[0]), _label_table(found[0], self.labels), sep="\n")
        else:
            Console().print(_song_table(found))
        notes = Console(stderr=True)
        for one in found:
            if one.row["warnings"]:
                said = one.row["warnings"].removeprefix(f"{one.row['id']}: ")
                notes.print(visible(f"{one.row['id']}: {said}"), markup=False, highlight=False)
        if self.windows:
            columns = writers.window_columns(self.labels)
            rows = (row for one in found for row in one.windows)
            click.echo(visible(csv_text(rows, columns)))


def _song_table(found: Sequence[PredictedRows]) -> "Table":
    """One line a song, with the timeline of its answer."""
    from rich.text import Text

    table = plain_table(
        ("song", "left"), ("answer", "left"), ("sure", "right"), ("over time", "left")
    )
    for one in found:
        # Text, because a name such as "song [live].mp3" is no markup.
        name = Text(visible(one.row["id"]))
        if one.failed:
            table.add_row(name, Text(one.row["reason"], "red"), "", "")
            continue
        answer, sure = one.row["predicted"] or "?", f"{100 * one.row['confidence']:.0f} %"
        drawn = f"p_{answer}" in one.row  # not of several labels, nor of none
        over_time = sparkline(one.windows, answer) if drawn else ""
        table.add_row(name, Text(visible(answer)), sure, over_time)
    return table


def _headline(one: PredictedRows) -> Any:
    from rich.text import Text

    sure = f"{100 * one.row['confidence']:.0f} % sure"
    said = visible(one.row["predicted"] or "?")
    return Text.assemble(visible(f"{one.row['id']}: "), (said, "bold"), f", {sure}")


def _label_table(one: PredictedRows, labels: Sequence[str]) -> "Table":
    """One line a label of a single song, each with its timeline, the most probable first."""
    from rich.text import Text

    answer = one.row["predicted"] or ""
    table = plain_table(("label", "left"), ("share", "right"), ("over time", "left"))
    ordered = sorted(labels, key=lambda label: -one.row[f"p_{label}"])
    for label in ordered[:_LABELS]:
        style = "bold" if label in answer.split(";") else ""
        share = f"{100 * one.row[f'p_{label}']:.0f} %"
        table.add_row(
            Text(visible(label), style), share, sparkline(one.windows, label, _LONG_SPARK)
        )
    if len(ordered) > _LABELS:
        table.add_row(f"{len(ordered) - _LABELS} more", "", "")
    elif one.row["seconds"] is not None:
        width = min(_LONG_SPARK, len(one.windows))
        minutes, seconds = divmod(round(one.row["seconds"]), 60)
        table.add_row("", "", Text(f"0:00{f'{minutes}:{seconds:02d}':>{max(6, width - 4)}}", "dim"))
    return table


def plain_table(*columns: tuple[str, str]) -> "Table":
    """Return a table of (name, side) columns; the first folds where a name is too long."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, (name, justify) in enumerate(columns):
        kept = {"overflow": "fold"} if number == 0 else {"no_wrap": name != "answer"}
        table.add_column(name, justify="right" if justify == "right" else "left", **kept)
    return table


def sparkline(windows: Sequence[Row], label: str, most: int = _SPARK) -> str:
    """Draw the label's probability over the song's windows in at most so many characters."""
    bars = _BARS if can_show(_BARS) else _PLAIN_BARS
    shares = [row[f"p_{label}"] for row in windows]
    width = min(most, len(shares))
    parts = [
        shares[i * len(shares) // width : (i + 1) * len(shares) // width] for i in range(width)
    ]
    return "".join(bars[min(7, int(8 * sum(part) / len(part)))] for part in parts)


def can_show(text: str) -> bool:
    """Tell whether standard output can take these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def card_text(card: Card) -> str:
    """Return what a model is, for a terminal."""
    recipe = card.recipe
    lines = [
        f"labels      {', '.join(card.labels)}",
        f"recipe      {recipe.name}: {_networks(recipe)}, pooling {recipe.training.pooling}, "
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
    for name, value in card.figures.get("metrics", {}).items():
        lines.append(f"{name:<20}{_interval(value)}")
    if card.figures:
        lines.append(f"judged on   {card.figures['songs']} songs it had not heard")
    else:
        lines.append("figures     none: it was never judged on songs it had not heard")
    lines.append("versions    " + ", ".join(f"{k} {v}" for k, v in card.versions.items()))
    return visible("\n".join(lines))


def _networks(recipe: Recipe) -> str:
    """Say which networks look at a window, and how many of each."""
    kinds = " and ".join(training.network for training in recipe.trainings)
    folds = recipe.training.folds
    return f"{folds} members each of {kinds}" if folds else f"network {kinds}"


def _settings(name: str, record: msgspec.Struct) -> list[str]:
    import textwrap

    values = ", ".join(f"{k} {v}" for k, v in msgspec.to_builtins(record).items() if v is not None)
    return textwrap.wrap(f"{name:<12}{values}", 79, subsequent_indent=" " * 12)


def _interval(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return "unknown"
    if value["low"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f}  ({value['low']:.3f} to {value['high']:.3f})"


def layer_text(card: Card) -> str:
    """Return the layer table of a model."""
    total = sum(row["parameters"] for row in card.layers)
    lines = [f"{row['parameters']:>9,}  {row['layer']}" for row in card.layers]
    return visible("\n".join([*lines, f"{total:>9,}  parameters in all"]))
