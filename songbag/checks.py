"""Songs looked at before training, from Python: `check`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from songbag.jobs.checks.cleaning import write_cleaned
from songbag.jobs.checks.findings import COLUMNS
from songbag.jobs.checks.survey import survey_songs
from songbag.jobs.console import Console
from songbag.recipes import load_recipe
from songbag.settings import Limits
from songbag.songs.song_bags import SongBags
from songbag.songs.table import grouped_by, read_songs
from songbag.sound.cache import default_folder

if TYPE_CHECKING:
    import pandas

    from songbag.model import Songs


def check(
    songs: "Songs",
    fix: str | Path | None = None,
    crossval: str | Path | None = None,
    group: str | None = None,
    recipe: str | Path = "cnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Say what is wrong with songs and labels before anything is trained on them.

    Parameters
    ----------
    songs
        A folder with a subfolder a label, a table, or a DataFrame with a ``path`` column.
    fix : path, optional
        CSV file that gets the table without unreadable and silent songs and all copies
        but the best; songs whose copies have different labels are left out altogether.
    crossval : path, optional
        Folder written by `songbag.crossval`: labels its answers contradict are ranked.
    group : str, optional
        Column of what must not stand on two sides of a split, instead of ``artist``.
    recipe
        Says how long a window is.
    cache, workers, max_hours, quiet
        Folder of what was found before; processes; longest recording; no messages.

    Returns
    -------
    DataFrame
        One row a finding, the gravest first: kind, severity ("error", "warning", "note"),
        id, other_id, label, other_label, found, advice. Empty where nothing was found.

    Raises
    ------
    SongTableError, SettingsError
    """
    import pandas

    if isinstance(songs, SongBags):
        raise TypeError("check listens to files; bags of a window table have none")
    table = read_songs(songs, allow_outside=True)
    if group is not None:
        table = replace(table, songs=grouped_by(table.songs, group))
    console = Console(quiet)
    survey = survey_songs(
        table,
        Path(cache) if cache else default_folder(),
        console,
        load_recipe(recipe).windows.seconds,
        Limits.of_hours(max_hours),
        workers,
        Path(crossval) if crossval else None,
    )
    if fix is not None:
        for line in write_cleaned(table, survey, Path(fix)):
            console.say(line)
    return pandas.DataFrame([one.row() for one in survey.findings], columns=COLUMNS)
