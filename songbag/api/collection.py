"""Sort files by what a model answers, and undo it, from Python."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from songbag.api.model import Model
from songbag.collection.answers import require_whole_files
from songbag.collection.sort_files import Step
from songbag.collection.undo import undo as undo_journal
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.open_songs import AudioOptions, open_songs
from songbag.inference.model_file import load_model
from songbag.tasks.predict import Withholding
from songbag.tasks.sort import Sorting

if TYPE_CHECKING:
    import pandas

    from songbag.data.open_songs import SongsLike


def sort(
    model: Model | str | Path,
    songs: "SongsLike",
    into: str | Path,
    action: Literal["copy", "move", "link"] = "copy",
    dry_run: bool = False,
    precision: float | None = None,
    below: float = 0.0,
    cache: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Copy, move or link songs into a folder for each label that a model gives them.

    Songs without a label, or with one too unsure, go to the folder ``_unsure``. No file is
    overwritten, and `undo` takes all of it back.

    Parameters
    ----------
    model, songs
        A model or its file; as for `Model.predict`, files only.
    into : path
        Folder that gets a folder for each label.
    action : {"copy", "move", "link"}
        What is done with the files; links are hard ones, symbolic where those are not possible.
    dry_run : bool
        Return what would be done, and change nothing.
    precision, below : float
        A label only where so large a share is right (0 to 1), or from this confidence on.
    cache, workers, quiet
        As for `songbag.train`.

    Returns
    -------
    DataFrame
        A row a file and label: source, target, status ("done", "there" already, "planned",
        "failed") and reason.

    Raises
    ------
    SettingsError
        Songs are no whole files of this machine, or a model of several labels is to move them.
    """
    import pandas

    loaded = load_model(model.path if isinstance(model, Model) else model)
    rules = Withholding.of(loaded, precision)
    if precision is None:
        rules = replace(rules, confidence=below)
    options = AudioOptions(Path(cache) if cache else None, workers=workers, allow_outside=True)
    dataset = open_songs(songs, options)
    require_whole_files(dataset, "sort")
    assert isinstance(dataset, AudioDataset)
    console = Console(quiet)
    for remark in dataset.remarks:
        console.say(remark)
    sorting = Sorting(loaded, dataset, Path(into), action, rules, console)
    steps: list[tuple[str, Step]] = []
    problems: dict[str, str] = {}
    if dry_run:
        planned, failures = sorting.plan()
        steps = [("there" if step.there else "planned", step) for step in planned]
    else:
        result, failures = sorting.carry_out()
        steps = [("done", step) for step in result.done]
        steps += [("there", step) for step in result.there]
        problems = result.problems
    rows = [
        {"source": step.source, "target": str(step.target), "status": status, "reason": ""}
        for status, step in steps
    ]
    rows += [
        {"source": source, "target": "", "status": "failed", "reason": reason}
        for source, reason in (failures | problems).items()
    ]
    return pandas.DataFrame(rows, columns=["source", "target", "status", "reason"])


def undo(place: str | Path) -> list[str]:
    """Take back what `sort` or ``songbag predict --write-field`` did.

    Parameters
    ----------
    place : path
        The folder of a sorting, or the journal of written tags.

    Returns
    -------
    list of str
        What could not be undone, and why: files that were changed since. Empty if nothing.

    Raises
    ------
    SettingsError
        There is no journal.
    """
    return undo_journal(Path(place))[1]
