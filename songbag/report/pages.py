"""Values to a page: templates that escape everything, and how numbers are written."""

import base64
import hashlib
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = "templates"
SCRIPT = "page.js"

# A figure's name in metrics.json to what a reader calls it, and what it means.
MEASURES = {
    "accuracy": ("song accuracy", "share of songs labelled right"),
    "balanced_accuracy": ("balanced accuracy", "mean of the labels' recalls"),
    "macro_f1": ("macro F1", "mean of the labels' F1"),
    "micro_f1": ("micro F1", "F1 of all yes and no together"),
    "roc_auc": ("ROC AUC", "how well songs are ranked; chance is 0.5"),
    "map": ("mean average precision", "how well each label's songs are ranked first"),
    "mean_average_precision": ("mean average precision", "how well each label's songs are ranked"),
    "nll": ("log loss", "surprise at the truth in nats; less is better"),
    "brier": ("Brier score", "squared error of the probabilities; less is better"),
    "ece": ("calibration error", "how far confidence is from the share right; less is better"),
    "subset_accuracy": ("subset accuracy", "share of songs with every label right"),
    "hamming_accuracy": ("label accuracy", "share of all yes and no that are right"),
}
_UNITS = (("s", 1, 90.0), ("min", 60, 5400.0), ("h", 3600, math.inf))
BASELINES = {
    "majority": "always the most frequent label",
    "level": "loudness alone",
    "map": "the same answer for every song",
}


def render(template: str, values: dict[str, Any]) -> str:
    """Return a page of ``templates`` filled with values, every text among them escaped.

    The page carries a policy under which no script but its own can run, whatever a song is
    called, and nothing can be fetched.
    """
    pages = _pages()
    assert pages.loader is not None
    script = pages.loader.get_source(pages, SCRIPT)[0].strip()
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return pages.get_template(template).render(values, script=script, script_hash=mark)


@cache
def _pages() -> "Environment":
    """Return the templates, compiled once: that takes longer than filling them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader("songbag.report", FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, share, number, short, points, clock, time, measure, breakable)
    pages.filters |= {one.__name__: one for one in filters}
    return pages


def percent(value: float | None) -> str:
    """Return a share as 81.2 %, with spaces that do not break."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def share(value: float) -> str:
    """Return a share in percent where the sign is understood."""
    return f"{100 * value:.1f}"


def breakable(name: str) -> "Markup":
    """Return a name, escaped, that may be broken behind its hyphens and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub("(?<=[-_])", "<wbr>", str(escape(name))))


def points(value: float | None) -> str:
    """Return a difference of shares in points, with its sign."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}".replace("-", "−") if round(value, 3) else "0.0"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, a dash where it is unknown."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def short(cell: str) -> str:
    """Return a cell of a table; a number has three decimals at the most."""
    return f"{float(cell):.3f}" if re.fullmatch(r"-?\d+\.\d{4,}", cell) else cell


def clock(seconds: float) -> str:
    """Return a place in a song as 1:07.5."""
    minutes, rest = divmod(round(seconds, 1), 60)
    text = f"{rest:04.1f}"
    return f"{int(minutes)}:{text[:-2] if text.endswith('.0') else text}"


def time(seconds: float | None) -> str:
    """Return how long something took: 12 s, 3.4 min, 1.2 h."""
    if seconds is None:
        return "–"
    unit, size = next(one for one in _UNITS if seconds < one[2])[:2]
    return f"{seconds / size:.{int(seconds < 10 * size)}f}\u00a0{unit}"


def measure(name: str) -> tuple[str, str]:
    """Return what a figure is called and what it means."""
    return MEASURES.get(name, (name.replace("_", " "), ""))
