"""Known data sets from Python: their facts, and the honest table of a folder that holds one."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def known_data() -> "pandas.DataFrame":
    """Return what is known of public data sets, as `songbag data list` shows it.

    Returns
    -------
    DataFrame
        A row a data set, by name: title, songs, licence, size, split, metric, layout (texts),
        wrong (tuple of texts), published (tuple of texts, each with its source).

    Examples
    --------
    >>> known_data().loc["esc50", "split"]
    'the five given folds: pieces of one recording are in one fold; never reshuffled'
    """
    import pandas

    from songbag.known.data_set import known

    texts = ("title", "songs", "licence", "size", "split", "metric", "layout", "wrong")
    rows = {}
    for name, data in known().items():
        figures = tuple(f"{one.value} {one.system} ({one.source})" for one in data.figures)
        rows[name] = {text: getattr(data, text) for text in texts} | {"published": figures}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("name")


def data_table(
    name: str, folder: str | Path, output: str | Path | None = None
) -> "pandas.DataFrame":
    """Return the honest table of a folder that holds a known data set.

    Parameters
    ----------
    name : str
        Of `known_data`.
    folder : path
        That holds it, laid out as the data set is.
    output : path, optional
        CSV file that gets the table.

    Returns
    -------
    DataFrame
        A row a song: id, path, label (or labels), and where the data set has them artist or
        group, and split or fold. `songbag.train` and `songbag.crossval` take it.

    Raises
    ------
    SettingsError
        The name is unknown.
    SongTableError
        The folder is not that data set; the first difference is named.

    Examples
    --------
    >>> data_table("esc50", "nowhere")
    Traceback (most recent call last):
    songbag.errors.SongTableError: nowhere: there is no such folder. ESC-50 is laid out as: ...
    """
    import pandas

    from songbag.known.data_set import data_set
    from songbag.known.tables import table_of

    table = table_of(data_set(name), Path(folder))
    if output is not None:
        table.write(Path(output))
    return pandas.DataFrame(table.rows, columns=table.columns)
