"""Fill the HTML templates, and write numbers as readers see them."""

import base64
import hashlib
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

# A metric's key in metrics.json to its name on the page, and what it means.
METRICS = {
    "accuracy": ("song accuracy", "share of songs labelled right"),
    "balanced_accuracy": ("balanced accuracy", "mean of the labels' recalls"),
    "macro_f1": ("macro F1", "mean of the labels' F1"),
    "micro_f1": ("micro F1", "F1 of all yes and no together"),
    "roc_auc": ("ROC AUC", "how well songs are ranked; chance is 0.5"),
    "map": ("mean average precision", "how well each label's songs are ranked first"),
    "nll": ("log loss", "mean −log probability of the true label, in nats; less is better"),
    "brier": ("Brier score", "squared error of the probabilities; less is better"),
    "ece": ("calibration error", "how far confidence is from the share right; less is better"),
    "subset_accuracy": ("subset accuracy", "share of songs with every label right"),
    "hamming_accuracy": ("label accuracy", "share of all yes and no that are right"),
}
_UNITS = (("s", 1, 90.0), ("min", 60, 5400.0), ("h", 3600, math.inf))
# A baseline's key in metrics.json to its name on the page.
BASELINES = {
    "majority": "guessing the most frequent label",
    "level": "loudness alone",
    "map": "the same answer for every song",
}


def render(template: str, values: dict[str, Any], script: str = "page.js") -> str:
    """Return a page of ``templates`` filled with values; every text in them is escaped.

    The page has a content policy that allows no script but its own, whatever a song is
    called, and no request.
    """
    environment = _environment()
    assert environment.loader is not None
    code = environment.loader.get_source(environment, script)[0].strip()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(values, script=code, script_hash=digest)


@cache
def _environment() -> "Environment":
    """Return the templates, which take longer to compile than to fill."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader("songbag.report"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, share, number, short, points, clock, time, metric, breakable)
    environment.filters |= {function.__name__: function for function in filters}
    return environment


def percent(value: float | None) -> str:
    """Return a share in percent, with a space that does not break; a dash where unknown."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def share(value: float) -> str:
    """Return a share in percent without the sign."""
    return f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign: +12.3."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}".replace("-", "−") if round(value, 3) else "0.0"


def number(value: float | None) -> str:
    """Return a number with three decimals, a dash where it is unknown."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def short(cell: str) -> str:
    """Return a cell of a CSV file, a number with at most three decimals."""
    return f"{float(cell):.3f}" if re.fullmatch(r"-?\d+\.\d{4,}", cell) else cell


def clock(seconds: float) -> str:
    """Return a time in a song: 1:07.5."""
    minutes, rest = divmod(round(seconds, 1), 60)
    text = f"{rest:04.1f}"
    return f"{int(minutes)}:{text[:-2] if text.endswith('.0') else text}"


def time(seconds: float | None) -> str:
    """Return how long something took: 12 s, 3.4 min, 72 min, 2.0 h."""
    if seconds is None:
        return "–"
    unit, size = next((unit, size) for unit, size, below in _UNITS if seconds < below)
    return f"{seconds / size:.{int(seconds < 10 * size)}f}\u00a0{unit}"


def metric(name: str) -> tuple[str, str]:
    """Return a metric's name on the page and what it means."""
    return METRICS.get(name, (name.replace("_", " "), ""))


def breakable(name: str) -> "Markup":
    """Return a name, escaped, that may break after its hyphens and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub("(?<=[-_])", "<wbr>", str(escape(name))))
