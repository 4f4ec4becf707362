"""Results as text: CSV when piped, tables on a terminal, files when asked for."""

import io
import shutil
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from songbag.console import visible
from songbag.data.song import Song
from songbag.inference.model_file import Card
from songbag.inference.predictions import (
    song_columns,
    window_columns,
    write_json_lines,
    write_json_rows,
)
from songbag.storage.files import Row, csv_text, write_csv
from songbag.tasks.predict import PredictedRows, journal_path

if TYPE_CHECKING:
    from rich.table import Table

    from songbag.quality.findings import Finding
    from songbag.tasks.conclusions import Conclusion

    Interval = tuple[float, float | None, float | None]  # value, low, high

_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
_FINDINGS_SHOWN = 10  # of a kind
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "__..--=#"  # where the terminal's encoding has no blocks
_SPARK, _LONG_SPARK = 24, 48  # characters of a timeline among others, and alone
_LABELS = 12  # labels shown of a single song
_STRIP = 18  # characters of a drawn interval
_PAIRS = 10  # differences shown


# --- predictions ------------------------------------------------------------------------


def write_predictions(
    predictions: Iterable[PredictedRows],
    labels: Sequence[str],
    songs: Sequence[Song],
    options: dict[str, Any],
) -> int:
    """Write predictions where ``songbag predict`` is told to; return how many songs failed.

    ``songs`` are all songs, for the names of the user's columns; of ``options`` csv_file,
    json_file, windows and bom count.
    """
    csv_file, json_file = options["csv_file"], options["json_file"]
    columns, of_windows = song_columns(labels, songs), window_columns(labels)
    if not (csv_file or json_file or sys.stdout.isatty()):
        return _stream(predictions, columns, of_windows if options["windows"] else None)
    predicted = list(predictions)
    by_song = [song.windows for song in predicted] if options["windows"] else []
    windows = [row for rows in by_song for row in rows]
    if csv_file is not None:
        write_csv(csv_file, (song.row for song in predicted), columns, options["bom"])
        if options["windows"]:
            name = csv_file.with_name(f"{csv_file.stem}-windows.csv")
            write_csv(name, windows, of_windows, options["bom"])
    if json_file is not None:
        rows = [song.row for song in predicted]
        if json_file.suffix == ".jsonl":
            write_json_lines(json_file, rows, by_song, labels)
        else:
            write_json_rows(json_file, rows, by_song)
    if csv_file or json_file:
        journal_path(csv_file or json_file).unlink(missing_ok=True)
    if sys.stdout.isatty():
        _print_songs(predicted, labels)
        if options["windows"] and not (csv_file or json_file):
            click.echo(visible(csv_text(windows, of_windows)))
    return sum(song.failed for song in predicted)


def _stream(
    predictions: Iterable[PredictedRows], columns: list[str], of_windows: list[str] | None
) -> int:
    """Print each song, or its windows, as soon as it is predicted."""
    print_csv(csv_text([], of_windows or columns))
    failed = 0
    for song in predictions:
        failed += song.failed
        if of_windows is None:
            print_csv(csv_text([song.row], columns, header=False))
            continue
        if song.failed:
            click.echo(visible(f"failed: {song.row['id']}: {song.row['warnings']}"), err=True)
        print_csv(csv_text(song.windows, of_windows, header=False))
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
    """Return a line per song, with the timeline of its label where that breaks no name."""
    from rich.text import Text

    longest = max(len(str(song.row["id"])) for song in songs)
    answers = max(len(song.row["predicted"] or "answer") for song in songs)
    drawn = longest + answers + _SPARK + 10 <= shutil.get_terminal_size().columns
    table = _table("song", "answer", ">sure", *(["over time"] if drawn else []))
    for song in songs:
        # Text, because rich would read "song [live].mp3" as markup.
        name = Text(visible(song.row["id"]))
        if song.failed:
            table.add_row(name, Text(song.row["reason"], "red"))
            continue
        label, sure = song.row["predicted"] or "?", f"{100 * song.row['confidence']:.0f} %"
        single = f"p_{label}" in song.row  # not several labels, nor none
        over_time = [_sparkline(song.windows, label) if single else ""] if drawn else []
        table.add_row(name, Text(visible(label)), sure, *over_time)
    return table


def _label_table(song: PredictedRows, labels: Sequence[str]) -> "Table":
    """Return a line per label of a single song, with its timeline, the most probable first."""
    from rich.text import Text

    predicted = (song.row["predicted"] or "").split(";")
    table = _table("label", ">share", "over time")
    ordered = sorted(labels, key=lambda label: -song.row[f"p_{label}"])
    for label in ordered[:_LABELS]:
        name = Text(visible(label), "bold" if label in predicted else "")
        share = f"{100 * song.row[f'p_{label}']:.0f} %"
        table.add_row(name, share, _sparkline(song.windows, label, _LONG_SPARK))
    if len(ordered) > _LABELS:
        table.add_row(f"{len(ordered) - _LABELS} more", "", "")
    elif song.row["seconds"] is not None:
        width = min(_LONG_SPARK, len(song.windows))
        minutes, seconds = divmod(round(song.row["seconds"]), 60)
        table.add_row("", "", Text(f"0:00{f'{minutes}:{seconds:02d}':>{max(6, width - 4)}}", "dim"))
    return table


def _table(*columns: str) -> "Table":
    """Return a table of these columns, right-aligned after ">"; the first folds long names."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        long = {"overflow": "fold"} if number == 0 else {"no_wrap": name != "answer"}
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", **long)
    return table


def _sparkline(windows: Sequence[Row], label: str, width: int = _SPARK) -> str:
    """Return a label's probability over the windows, drawn in at most ``width`` characters."""
    bars = _BARS if _can_show(_BARS) else _PLAIN_BARS
    shares = [row[f"p_{label}"] for row in windows]
    width = min(width, len(shares))
    parts = [
        shares[i * len(shares) // width : (i + 1) * len(shares) // width] for i in range(width)
    ]
    return "".join(bars[min(7, int(8 * sum(part) / len(part)))] for part in parts)


def _can_show(text: str) -> bool:
    """Tell whether standard output can encode these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- findings ---------------------------------------------------------------------------


def print_findings(findings: Sequence["Finding"]) -> None:
    """Print a table for each kind of finding."""
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    by_kind: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.severity, finding.kind].append(finding)
    terminal = Console()
    for (severity, kind), rows in by_kind.items():
        count = f"  {len(rows)}" if len(rows) > 1 else ""
        title = Text.assemble((severity, _COLOURS[severity]), "  ", (kind, "bold"), (count, "dim"))
        terminal.print(Group(title, Padding(Text(rows[0].advice, "dim"), (0, 0, 0, 2))))
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(ratio=2, overflow="fold")
        table.add_column(ratio=3, overflow="fold")
        table.expand = True
        for finding in rows[:_FINDINGS_SHOWN]:
            # Text, because rich would read "song [live].mp3" as markup.
            ids = [name for name in (finding.id, finding.other_id) if name]
            names = "\n  = ".join(ids) or finding.label
            table.add_row(Text(f"  {names}"), Text(finding.found))
        terminal.print(table)
        if len(rows) > _FINDINGS_SHOWN:
            rest = f"  and {len(rows) - _FINDINGS_SHOWN} more; -o FILE writes all of them"
            terminal.print(rest, style="dim")


# --- models -----------------------------------------------------------------------------


def card_text(card: Card) -> str:
    """Return the labels, settings, split, figures and versions of a model."""
    recipe = card.recipe
    networks = ", ".join(training.network for training in recipe.trainings)
    folds = recipe.training.folds
    members = f"{folds} folds of {networks}" if folds else f"network {networks}"
    lines = [
        f"labels      {', '.join(card.labels)}",
        *_wrapped(
            "recipe",
            f"{recipe.name}: {members}, pooling {recipe.training.pooling}, "
            f"loss on the {recipe.training.loss}",
        ),
        f"windows     {recipe.windows.seconds:g} s every {recipe.windows.hop_seconds:g} s, "
        f"{' x '.join(map(str, card.window_shape))}",
        *_encoder(card),
        *_settings("sound", recipe.sound),
        *_settings("excerpt", recipe.excerpt),
        *_settings("training", recipe.training),
        *(line for branch in recipe.branches for line in _settings("branch", branch)),
        *_settings("adapt", recipe.adapt),
        f"seed        {card.seed}",
        *([f"unknown     {card.unknown:.3g} of known songs are set aside"] if card.unknown else []),
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
    of = f"of {card.figures['songs']}" if card.figures else "none: it was not evaluated on"
    lines.append(f"figures     {of} songs that were not trained on")
    lines += _wrapped("versions", ", ".join(f"{k} {v}" for k, v in card.versions.items()))
    return visible("\n".join(lines))


def _settings(name: str, record: msgspec.Struct) -> list[str]:
    values = ", ".join(f"{k} {v}" for k, v in msgspec.to_builtins(record).items() if v is not None)
    return _wrapped(name, values)


def _encoder(card: Card) -> list[str]:
    facts = card.encoder
    if facts is None:
        return []
    heard = f"{facts.name}, trained on {facts.trained_on}" if facts.trained_on else facts.name
    about = [heard, f"licence {facts.license}" if facts.license else "", *facts.remarks]
    return _wrapped("encoder", "; ".join(filter(None, about)))


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name:<12}{text}", 79, subsequent_indent=" " * 12)


def layer_text(card: Card) -> str:
    """Return the layers of a model with their numbers of parameters."""
    total = sum(row["parameters"] for row in card.layers)
    lines = [f"{row['parameters']:>9,}  {row['layer']}" for row in card.layers]
    return visible("\n".join([*lines, f"{total:>9,}  parameters in all"]))


# --- comparisons ------------------------------------------------------------------------


def conclusion_text(conclusion: "Conclusion") -> str:
    """Return a comparison as text: conclusions, systems, and their differences."""
    from rich.text import Text

    metric = conclusion.metric
    figure = "songs" if metric == "accuracy" else metric
    table = _table("system", f">{figure}", "95 % interval", "", ">log loss", ">a run")
    names = (metric, f"{metric}_low", f"{metric}_high")
    span = _span(row[name] for row in conclusion.systems for name in names)
    for row in conclusion.systems:
        value, low, high = (row[name] for name in names)
        table.add_row(
            Text(row["system"]), f"{value:.3f}", _between(low, high),
            _strip((value, low, high), span), f"{row['nll']:.3f}",
            "–" if row["seconds"] is None else f"{row['seconds']:.0f} s",
        )  # fmt: skip
    parts = [*conclusion.said, "", table, "", _difference_table(conclusion.differences), ""]
    if (more := len(conclusion.differences) - _PAIRS) > 0:
        parts.append(f"{more} more pairs: {conclusion.folder / 'differences.csv'}")
    return _printed(parts)


def _difference_table(pairs: Sequence[Row]) -> "Table":
    from rich.text import Text

    table = _table("difference", ">points", "95 % interval", "", ">p", "told")
    ends = [row[name] for row in pairs for name in ("difference", "low", "high")]
    far = max(abs(value) for value in ends if value is not None) or 0.01
    for row in pairs[:_PAIRS]:
        interval = (row["difference"], row["low"], row["high"])
        table.add_row(
            Text(f"{row['a']}\n- {row['b']}"), f"{100 * row['difference']:+.1f}",
            _between(*interval[1:], 100, "+.1f"), _strip(interval, (-far, far), 0.0),
            f"{row['p_adjusted']:.3f}", "yes" if row["told_apart"] else "no",
        )  # fmt: skip
    return table


def leakage_text(rows: Sequence[Row], sentences: Sequence[str]) -> str:
    """Return a measurement of leakage as text: the splits, and what their figures mean."""
    table = _table("split by", ">songs", "95 % interval", "", ">windows")
    span = _span([0.0, *(row[name] for row in rows for name in ("low", "high", "accuracy"))])
    for row in rows:
        interval = (row["accuracy"], row["low"], row["high"])
        table.add_row(
            row["split"].replace("_", " "), f"{row['accuracy']:.3f}", _between(*interval[1:]),
            _strip(interval, span), f"{row['window_accuracy']:.3f}",
        )  # fmt: skip
    return _printed([table, "", *sentences])


def robust_text(rows: Sequence[Row], metric: str) -> str:
    """Return what changes of the sound do to a model's decisions, as text."""
    table = _table("change", ">songs", ">failed", ">changed", f">{metric}", "95 % interval")
    for row in rows:
        counts = [str(row[name]) for name in ("songs", "failed", "changed")]
        value = "–" if row[metric] is None else f"{row[metric]:.3f}"
        table.add_row(row["change"], *counts, value, _between(row["low"], row["high"]))
    return _printed(["", table])


def _span(values: Iterable[float | None]) -> tuple[float, float]:
    """Return an axis that contains all values, longer than zero."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if max(known) > min(known) else (min(known) - 0.01, max(known))


def _strip(interval: "Interval", span: tuple[float, float], zero: float | None = None) -> str:
    """Return an interval with its value, drawn on an axis shared by a table's rows."""
    line, dot, mark = "─●│" if _can_show("─●│") else "-o|"

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


def _printed(parts: Sequence[Any]) -> str:
    """Return texts and tables as they look on the terminal, of 80 columns where there is none."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get().rstrip("\n")
