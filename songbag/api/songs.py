"""Look at songs from Python: check, tag, embed and pack them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songbag.console import Console
from songbag.data.dataset import SongDataset
from songbag.data.open_songs import AudioOptions, open_audio, open_songs
from songbag.quality.findings import COLUMNS
from songbag.tasks.check import survey_songs, write_cleaned

if TYPE_CHECKING:
    import pandas

    from songbag.api.model import Model
    from songbag.data.open_songs import SongsLike


def check(
    songs: "SongsLike",
    fix: str | Path | None = None,
    crossval: str | Path | None = None,
    labels: bool = False,
    group: str | None = None,
    recipe: str | Path = "auto",
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
    fix
        CSV file that gets the table without unreadable and silent songs and all copies
        but the best; songs whose copies have different labels are left out altogether.
    crossval
        Folder written by `songbag.crossval`: labels its answers contradict are ranked.
    labels
        Rank labels by linear networks on what the recipe hears, without a cross-validation.
    group, recipe
        As for `train`; the recipe says what is heard, in windows of which length.
    cache, workers, max_hours, quiet
        Folder of what was found before; processes; longest recording; no messages.

    Returns
    -------
    DataFrame
        One row a finding, the gravest first: kind, severity ("error", "warning", "note"),
        id, other_id, label, other_label, found, advice. Empty where nothing was found.
    """
    import pandas

    from songbag.encoders.choose import choose_recipe

    if isinstance(songs, SongDataset):
        raise TypeError("check reads audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    dataset, console = open_audio(songs, options, group), Console(quiet)
    folds = Path(crossval) if crossval else None
    survey = survey_songs(dataset, console, choose_recipe(recipe), folds, labels)
    if fix is not None:
        for line in write_cleaned(dataset, survey, Path(fix)):
            console.say(line)
    return pandas.DataFrame([one.row() for one in survey.findings], columns=COLUMNS)


def tag(
    songs: "SongsLike",
    windows: bool = False,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
) -> "pandas.DataFrame":
    """Return an encoder's tags of songs, without any training.

    Parameters
    ----------
    songs
        As for `Model.predict`.
    windows
        A row a piece (3 s with musicnn), indexed by ``id``, ``start`` and ``end`` (seconds),
        instead of a row a song, indexed by ``id``.
    encoder, cache, workers, max_hours
        A name of ``songbag encoders``; the others as for `Model.predict`.

    Returns
    -------
    DataFrame
        status, reason, a probability for each tag, warnings.
    """
    return _encoded(songs, windows, encoder, cache, workers, max_hours, tags=True)


def embed(
    songs: "SongsLike",
    windows: bool = False,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
) -> "pandas.DataFrame":
    """Return an encoder's vectors of songs, v0, v1, ..., for other tools (see `tag`)."""
    return _encoded(songs, windows, encoder, cache, workers, max_hours, tags=False)


def similar(
    songs: "SongsLike",
    to: "SongsLike | None" = None,
    n: int = 10,
    windows: bool = False,
    index: str | Path | None = None,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Return which songs sound alike, without any training.

    Parameters
    ----------
    songs
        The collection, as for `Model.predict`; songs in files only.
    to
        The songs that are asked for, as for ``songs``; by default each of ``songs``.
    n
        Answers to each.
    windows
        Moments that are alike, instead of songs.
    index
        File of the vectors, which grows; by default one in the cache.
    encoder, cache, workers, max_hours, quiet
        As for `tag`.

    Returns
    -------
    DataFrame
        A row an answer: to, rank, id, similarity (-1 to 1: the cosine of standardised vectors),
        start, end, to_start, to_end (seconds: the moment that is most alike), copy (in words,
        where both are one recording), label, path.

    Raises
    ------
    SongTableError
        No song could be read. Single ones that could not are said unless ``quiet``.
    """
    import pandas

    from songbag.encoders.manifest import load_encoder
    from songbag.tasks.similar import COLUMNS, find_similar

    if isinstance(songs, SongDataset) or isinstance(to, SongDataset):
        raise TypeError("similar reads audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    dataset, console = open_audio(songs, options), Console(quiet)
    asked = None if to is None else open_audio(to, options)
    file = None if index is None else Path(index)
    similar_songs = find_similar(dataset, asked, [], load_encoder(encoder), file, console)
    for remark in (*dataset.remarks, *similar_songs.collection.failures):
        console.say(remark)
    answers = similar_songs.moments if windows else similar_songs.songs
    return pandas.DataFrame([row for rows in answers(n) for row in rows], columns=COLUMNS)


def song_map(
    songs: "SongsLike",
    output: str | Path,
    model: str | Path | None = None,
    index: str | Path | None = None,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Draw a map of songs on a page that can be searched and heard.

    Parameters
    ----------
    songs
        As for `Model.predict`; songs in files only.
    output
        HTML file, one that needs no network.
    model
        Model file whose answers, mistakes and confidence are shown, too.
    index
        File of the vectors, which grows; by default one in the cache, that of `similar`.
    encoder, cache, workers, max_hours, quiet
        As for `tag`.

    Returns
    -------
    DataFrame
        Indexed by ``id``, a row a song that could be read: x, y (songs that sound alike are close
        together; the numbers have no unit), and what is known of label, answer, verdict ("right"
        or "wrong"), confidence (0 to 1), training ("in training" or "new to the model"), artist.

    Raises
    ------
    SongTableError
        No song could be read. Single ones that could not are said unless ``quiet``.
    SettingsError
        scikit-learn is not installed.
    """
    import pandas

    from songbag.encoders.manifest import load_encoder
    from songbag.inference.model_file import load_model
    from songbag.tasks.song_map import map_songs

    if isinstance(songs, SongDataset):
        raise TypeError("a map is of audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    dataset, console = open_audio(songs, options), Console(quiet)
    loaded = None if model is None else load_model(model)
    file = None if index is None else Path(index)
    made = map_songs(dataset, load_encoder(encoder), loaded, Path(output), file, console)
    for remark in (*dataset.remarks, *made.failures):
        console.say(remark)
    columns: dict[str, Any] = {"x": made.points[:, 0], "y": made.points[:, 1]}
    columns |= {colouring.title: list(colouring.values) for colouring in made.colourings}
    ids = pandas.Index([song.id for song in made.songs], name="id")
    return pandas.DataFrame(columns, index=ids)


def suggest(
    model: "Model | str | Path",
    songs: "SongsLike",
    n: int = 25,
    output: str | Path | None = None,
    labelled: "Sequence[str | Path]" = (),
    seed: int = 0,
    encoder: str = "musicnn",
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
) -> "pandas.DataFrame":
    """Return which songs to label next, to make a model better.

    Four of five are songs that the model is unsure of and that are unlike each other
    (`songbag.collection.suggestions`). One of five is drawn at random: songs that a model chose are
    harder than others, so `train` never tests them.

    Parameters
    ----------
    model, songs
        A model or its file; as for `Model.predict`, songs in files only.
    n
        Songs to label.
    output : path, optional
        New CSV file that gets the table, for `songbag label` or a spreadsheet.
    labelled : sequence of path
        Tables whose songs are not suggested. Songs that the model was trained on, or that have a
        label in their own table, are never suggested.
    seed
        Of the draws.
    encoder, cache, workers, max_hours, quiet
        As for `similar`: what hears which songs are alike.

    Returns
    -------
    DataFrame
        A row a song, in the order in which to label: path, label (empty), chosen ("model" or
        "random"), reason (in words), predicted, confidence (0 to 1), decision and note (empty),
        and the columns of the songs' own table.

    Raises
    ------
    SongTableError
        No song is left to label, or none could be read. Single ones that could not are said.
    SettingsError
        ``output`` is there already: labels may stand in it.
    """
    import pandas

    from songbag.encoders.manifest import load_encoder
    from songbag.inference.model_file import load_model
    from songbag.tasks.suggest import require_new, suggest as task

    if isinstance(songs, SongDataset):
        raise TypeError("suggest reads audio files; windows of a table have none")
    if output is not None:
        require_new(Path(output))
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    paths = [songs] if isinstance(songs, str | Path) else songs  # ids as on the command line
    dataset, console = open_audio(paths, options), Console(quiet)
    known = open_audio(list(labelled), options).songs if labelled else []
    loaded = load_model(model if isinstance(model, str | Path) else model.path)
    suggested = task(loaded, dataset, known, n, load_encoder(encoder), console, seed)
    for remark in (*dataset.remarks, *suggested.failures):
        console.say(remark)
    if output is not None:
        suggested.write(Path(output))
    rows, columns = suggested.table()
    return pandas.DataFrame(rows, columns=columns)


def _encoded(
    songs: "SongsLike",
    windows: bool,
    encoder: str,
    cache: str | Path | None,
    workers: int | None,
    max_hours: float,
    tags: bool,
) -> "pandas.DataFrame":
    import pandas

    from songbag.encoders.manifest import load_encoder
    from songbag.tasks.embed import encode_songs, table_columns, value_columns

    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    loaded, dataset = load_encoder(encoder), open_songs(songs, options)
    values, encoded = value_columns(loaded, tags), encode_songs(dataset, loaded, tags, windows)
    rows = [row for song in encoded for row in song.rows(values, windows)]
    frame = pandas.DataFrame(rows, columns=table_columns(values, windows))
    return frame.set_index(["id", "start", "end"] if windows else "id")


def pack(
    songs: "SongsLike",
    output: str | Path,
    recipe: str | Path = "auto",
    encoder: str | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    max_hours: float = 1.0,
    quiet: bool = False,
    verify: bool = False,
) -> Path:
    """Write songs with the features of a recipe into a folder of a few large files.

    Such a folder takes the place of its songs in `train`, `crossval` and ``predict``: they are
    never decoded again. A stopped packing goes on behind the last whole file.

    Parameters
    ----------
    songs
        A folder, a table, or a DataFrame with a ``path`` column.
    output : path
        The folder, which is returned.
    recipe, encoder
        As for `train`.
    cache, workers, max_hours, quiet
        As for `check`.
    verify
        Read files that are there already, and make damaged ones again.
    """
    from songbag.encoders.choose import choose_recipe
    from songbag.tasks.pack import pack_songs

    if isinstance(songs, SongDataset):
        raise TypeError("pack reads audio files; windows of a table have none")
    options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside=True)
    chosen = choose_recipe(recipe, {}, encoder)
    pack_songs(open_audio(songs, options), chosen, Path(output), Console(quiet), verify=verify)
    return Path(output)
