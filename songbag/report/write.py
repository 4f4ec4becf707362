"""Write the page of a folder: see which command wrote it, and fill the template for that."""

from pathlib import Path
from typing import Any

import msgspec

from songbag.errors import SongTableError
from songbag.report.pages import render
from songbag.report.views import VIEWS
from songbag.storage.files import write_bytes


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a folder made by train, crossval, evaluate, compare or leakage.

    The page is ``report.html`` in the folder unless a path is given; its path is returned.
    """
    page = path or folder / "report.html"
    file = next((folder / name for name in VIEWS if (folder / name).exists()), None)
    if file is None:
        raise SongTableError(
            f"{folder}: no {', '.join(VIEWS)} in it. A report needs a folder written by train, "
            "crossval, evaluate, compare or leakage."
        )
    try:
        results = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise SongTableError(f"{file}: not the file that Songbag wrote ({error}).") from None
    template, view = VIEWS[file.name]
    values = view(folder, results, page.parent) | {"name": folder.resolve().name}
    write_bytes(page, render(template, values).encode())
    return page
