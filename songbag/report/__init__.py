"""One self-contained page about a folder that a job left, made from its files alone.

`run` shows how good a model is, `mistakes` and `excerpts` the songs it got wrong and how they
sound, `studies` a comparison and a measured leakage; `drawings` turns numbers into places,
`pages` fills the templates. Nothing on a page comes from the network, and every number on it
stands in a CSV or JSON file beside it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from songbag.errors import SongTableError
from songbag.report.pages import render
from songbag.report.run import view_run
from songbag.report.studies import view_comparison, view_leakage
from songbag.storage.files import write_bytes

View = Callable[[Path, dict[str, Any], Path], dict[str, Any]]

# The file that tells what a folder is, the template, and what fills it.
KINDS: dict[str, tuple[str, View]] = {
    "metrics.json": ("run.html", view_run),
    "comparison.json": ("comparison.html", view_comparison),
    "leakage.json": ("leakage.html", view_leakage),
}


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a folder made by train, crossval, evaluate, compare or leakage.

    Parameters
    ----------
    folder : Path
        With metrics.json and predictions.csv, or comparison.json, or leakage.json.
    path : Path, optional
        The HTML file; ``report.html`` in the folder by default.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    SongTableError
        The folder holds none of these, or a file in it cannot be read.
    """
    target = path or folder / "report.html"
    for name, (template, view) in KINDS.items():
        if (folder / name).exists():
            values = view(folder, _read(folder / name), target.parent)
            write_bytes(target, render(template, values | {"name": folder.resolve().name}).encode())
            return target
    raise SongTableError(
        f"{folder}: no {', '.join(KINDS)} in it. A report needs a folder written by train, "
        "crossval, evaluate, compare or leakage."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise SongTableError(f"{path}: not the file that a job wrote ({error}).") from None
    return found
