"""How comparisons and a measured leakage look on a terminal, and piped."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from songbag.cli.terminal import can_show, plain_table
from songbag.storage.csv_files import Row

if TYPE_CHECKING:
    from rich.table import Table

    from songbag.tasks.conclusions import Conclusion

_STRIP = 18  # characters of an interval
_PAIRS = 10  # differences shown


def conclusion_text(found: "Conclusion") -> str:
    """Return a comparison as text: what can be told, the systems, and their differences."""
    metric = found.metric
    name = "songs" if metric == "accuracy" else metric
    systems = plain_table(
        ("system", "left"), (name, "right"), ("95 % interval", "left"), ("", "left"),
        ("log loss", "right"), ("a run", "right"),
    )  # fmt: skip
    metric = found.metric
    ends = [
        row[name] for row in found.systems for name in (f"{metric}_low", f"{metric}_high", metric)
    ]
    span = _span(ends)
    for row in found.systems:
        interval = (row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
        systems.add_row(
            _name(row["system"]), f"{row[metric]:.3f}", _between(*interval[1:]),
            _strip(interval, span), f"{row['nll']:.3f}", f"{row['seconds']:.0f} s",
        )  # fmt: skip
    shown = [systems, _differences(found.differences)] if found.differences else [systems]
    more = len(found.differences) - _PAIRS
    last = [f"{more} more pairs: {found.folder / 'differences.csv'}"] if more > 0 else []
    return _printed([*found.said, "", *_spaced(shown), *last])


def _differences(pairs: Sequence[Row]) -> "Table":
    table = plain_table(
        ("difference", "left"), ("points", "right"), ("95 % interval", "left"), ("", "left"),
        ("p", "right"), ("told", "left"),
    )  # fmt: skip
    known = [row[name] for row in pairs for name in ("difference", "low", "high")]
    far = max((abs(value) for value in known if value is not None), default=0.0) or 0.01
    for row in pairs[:_PAIRS]:
        interval = (row["difference"], row["low"], row["high"])
        p = "–" if row["p_adjusted"] is None else f"{row['p_adjusted']:.3f}"
        table.add_row(
            _name(f"{row['a']}\n- {row['b']}"), f"{100 * row['difference']:+.1f}",
            _between(*interval[1:], 100, "+.1f"), _strip(interval, (-far, far), 0.0), p,
            "yes" if row["told_apart"] else "no",
        )  # fmt: skip
    return table


def leakage_text(rows: Sequence[Row], said: Sequence[str]) -> str:
    """Return a measured leakage as text: the splits and what their figures mean."""
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
    return _printed([table, "", *said])


def _span(values: Iterable[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if max(known) > min(known) else (min(known) - 0.01, max(known))


def _strip(
    interval: tuple[float, float | None, float | None],
    span: tuple[float, float],
    zero: float | None = None,
) -> str:
    """Draw an interval with its value, on an axis shared by a table's rows."""
    line, dot, mark = "─●│" if can_show("─●│") else "-o|"

    def place(value: float) -> int:
        return round((_STRIP - 1) * (value - span[0]) / (span[1] - span[0]))

    value, low, high = interval
    drawn = [" "] * _STRIP
    if low is not None and high is not None:
        drawn[place(low) : place(high) + 1] = line * (place(high) + 1 - place(low))
    if zero is not None:
        drawn[place(zero)] = mark
    drawn[place(value)] = dot
    return "".join(drawn)


def _between(low: float | None, high: float | None, scale: float = 1, form: str = ".3f") -> str:
    if low is None or high is None:
        return "unknown"
    return f"{scale * low:{form}} to {scale * high:{form}}"


def _name(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _spaced(shown: Sequence[Any]) -> list[Any]:
    """Put an empty line behind each."""
    return [part for one in shown for part in (one, "")]


def _printed(parts: Sequence[Any]) -> str:
    """Return texts and tables as a terminal shows them; of 80 columns where there is none."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with console.capture() as taken:
        for part in parts:
            console.print(part)
    return taken.get().rstrip("\n")
