"""Labels in time: Audacity label files and Raven selection tables, as songs to train on.

A labelled span is a song with few windows. What nobody labelled is unknown and not trained on,
unless the recordings are labelled exhaustively (``background``).
"""

import csv
import io
import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TypeAlias

from songbag.console import counted
from songbag.data.columns import NAMES
from songbag.data.folders import LABEL_FILES
from songbag.data.song import Song, join_labels, part_name
from songbag.data.text_files import decode, encoding_of
from songbag.errors import SongTableError, suggestion

Piece: TypeAlias = tuple[float, float, tuple[str, ...]]  # start, end, labels

SHORTEST_GAP = 1.0  # seconds without a label that are background
LONGEST_GAP = 10.0  # seconds: longer ones become several songs
_TOUCHING = 0.05  # seconds by which spans may overlap because they were drawn by hand
_POINT = 0.1  # seconds that the label of a point in time stands for
_RAVEN = ("begin time (s)", "end time (s)")
_RAVEN_FILES = ("begin file", "begin path", "file", "file name")
_RAVEN_LABELS = ("annotation", "common name", "species code", "call type", "type", "id")
# A.Table.1.selections.txt and A.selections.txt are of the recording A.
_RAVEN_NAME = re.compile(r"(\.table\.\d+)?\.selections$", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Span:
    """Seconds of a recording, from ``start`` to ``end``, with a label."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class SpanOptions:
    """Where labels in time lie, and what they mean.

    ``place`` is a folder with one file a recording or one table with a column of files; None:
    beside the recordings, where there are any. ``background`` is the label of what is not
    labelled, None where that is unknown. ``column`` is that of the label in Raven tables.
    """

    place: Path | None = None
    background: str | None = None
    column: str | None = None


# --- reading ----------------------------------------------------------------------------


def read_spans(path: Path, column: str | None = None) -> dict[str, list[Span]] | None:
    r"""Return the spans of a label file by the recording that it names, "" where it names none.

    None where the file is neither an Audacity label file nor a Raven selection table. An empty
    file has no spans.

    Raises
    ------
    SongTableError
        A line of such a file is wrong, or a table has no column of labels.

    Examples
    --------
    >>> _ = Path("calls.txt").write_text("1,5\t2.25\twren\n")
    >>> read_spans(Path("calls.txt"))
    {'': [Span(start=1.5, end=2.25, label='wren')]}
    """
    data = path.read_bytes()
    encoding = encoding_of(data[:4])
    head = data[:65536].decode(encoding, "replace").lstrip("\ufeff")
    first = next((line for line in head.splitlines() if line.strip()), "")
    names = [cell.strip().lower() for cell in first.split("\t")]
    if set(_RAVEN) <= set(names):
        return _read_raven(decode(data, encoding, str(path)), str(path), column)
    cells = first.split("\t")
    if first and (len(cells) < 2 or None in map(_seconds, cells[:2])):
        return None
    spans = list[Span]()
    text = decode(data, encoding, str(path)).lstrip("\ufeff")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("\\"):  # the frequencies of a spectral label
            continue
        start, end, label = [*line.split("\t", 2), "", ""][:3]
        spans.append(_span(start, end, label, f"{path}, line {number}"))
    return {"": spans}


def _read_raven(text: str, name: str, column: str | None) -> dict[str, list[Span]]:
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), delimiter="\t"))
    columns = [each for each in (rows[0] if rows else {}) if each]
    known = {each.strip().lower(): each for each in columns}
    if not rows:
        return {"": []}
    label = _label_column(known, column, name)
    file = next((known[each] for each in _RAVEN_FILES if each in known), None)
    offset = known.get("file offset (s)")
    files = {PurePath((row[file] or "").replace("\\", "/")).name for row in rows} if file else {""}
    if len(files) > 1 and offset is None:
        raise SongTableError(
            f"{name}: it is of {len(files)} recordings, and 'Begin Time (s)' counts over all of "
            "them. Save it with the column 'File Offset (s)', or one table a recording."
        )
    spans = defaultdict[str, list[Span]](list)
    for number, row in enumerate(rows, start=2):
        where = f"{name}, line {number}"
        begin, end = row[known[_RAVEN[0]]], row[known[_RAVEN[1]]]
        span = _span(begin, end, row[label], where)
        if offset is not None:
            begins = _seconds(row[offset] or "")
            if begins is None:
                raise SongTableError(f"{where}: the file offset is '{row[offset]}', no seconds.")
            span = replace(span, start=begins, end=begins + span.end - span.start)
        of_file = PurePath((row[file] or "").replace("\\", "/")).name if file else ""
        if span not in spans[of_file]:  # a selection has a row for each of its views
            spans[of_file].append(span)
    return dict(spans)


def _label_column(known: Mapping[str, str], chosen: str | None, name: str) -> str:
    """Return the column of a Raven table that holds labels."""
    if chosen is not None:
        if chosen.strip().lower() in known:
            return known[chosen.strip().lower()]
        raise SongTableError(
            f"{name}: there is no column '{chosen}'.{suggestion(chosen, known.values())}"
        )
    for each in (*NAMES["label"], *_RAVEN_LABELS):
        if each in known:
            return known[each]
    raise SongTableError(
        f"{name}: there is no column of labels; columns are {', '.join(known.values())}. Name it: "
        "--label COLUMN."
    )


def _span(start: str | None, end: str | None, label: str | None, where: str) -> Span:
    begins, ends = _seconds(start or ""), _seconds(end or "")
    if begins is None or ends is None or ends < begins:
        raise SongTableError(
            f"{where}: '{start}' to '{end}' are no seconds of a recording. Write start, end and "
            "label with tabs between them, as Audacity does."
        )
    if not (label or "").strip():
        raise SongTableError(f"{where}: the label is empty. Name what is there, or delete it.")
    if begins == ends:
        begins, ends = max(0.0, begins - _POINT / 2), ends + _POINT / 2
    return Span(begins, ends, (label or "").strip())


def _seconds(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


# --- recordings and their label files ---------------------------------------------------


def with_spans(
    songs: Sequence[Song],
    options: SpanOptions,
    folder: Path | None,
    seconds_of: Callable[[Song], float],
) -> tuple[list[Song], list[str]]:
    """Return songs with recordings replaced by their labelled spans, and remarks on that.

    Parameters
    ----------
    folder : Path or None
        Where the recordings lie, if all of a folder are taken: label files are then sought
        beside them, unless ``options`` say where they are.
    seconds_of : callable
        Returns the length of a recording, infinite where it is not known.

    Raises
    ------
    SongTableError
        A label file is wrong, two recordings may be meant by one, or none is of a recording.
    """
    place = options.place or folder
    if place is None:
        return list(songs), []
    by_song, unused = _spans_by_song(songs, place, options)
    if not any(by_song.values()):
        if options.place is None:
            return list(songs), []
        raise SongTableError(
            f"{place}: no label file there is of a recording. It has the recording's name, such as "
            "a.txt for a.wav, or names it in a column."
        )
    spans = {song: _pieces(of_song) for song, of_song in by_song.items()}
    multilabel = any(len(piece[2]) > 1 for pieces in spans.values() for piece in pieces)
    labels = {span.label for of_song in by_song.values() for span in of_song}
    result, whole, unlabelled, unknown = list[Song](), 0, 0, 0
    for song in songs:
        if song.line is None and song.label not in labels:
            song = replace(song, label=None)  # a folder, of a site perhaps, is no label then
        of_song = spans.get(song.id)
        pieces = list(_songs_of(song, of_song, multilabel, options.background, seconds_of))
        result += pieces
        whole += bool(pieces) and song.id not in spans
        unlabelled += not pieces and song.id not in spans
        unknown += not pieces and song.id in spans
    remarks = _remarks(by_song, multilabel, unused, unlabelled, unknown, options)
    if whole:
        remarks.insert(1, f"{counted(whole, 'whole recording')} with a label of their own beside")
    return result, remarks


def _remarks(
    by_song: Mapping[str, Sequence[Span]],
    multilabel: bool,
    unused: Sequence[str],
    unlabelled: int,
    unknown: int,
    options: SpanOptions,
) -> list[str]:
    """Return in words what label files became."""
    count = sum(map(len, by_song.values()))
    rest = f"the rest is '{options.background}'" if options.background else "the rest is unknown"
    if multilabel and options.background:
        rest = "the rest has none of the labels"
    several = "; some overlap, so a span may have several labels" if multilabel else ""
    what = f"{counted(count, 'labelled span')} of {counted(len(by_song), 'recording')}"
    remarks = [f"{what}, {rest}{several}"]
    if unused:
        more = ", ..." if len(unused) > 3 else ""
        shown = f"{', '.join(unused[:3])}{more}"
        remarks.append(f"{counted(len(unused), 'label file')} of no recording here: {shown}")
    if unlabelled:
        what = counted(unlabelled, "recording")
        remarks.append(f"left out: {what} without a label file or a label")
    if unknown:
        remarks.append(
            f"left out: {counted(unknown, 'recording')} with an empty label file; where that means "
            "that nothing is there, name it: --background none"
        )
    return remarks


def _spans_by_song(
    songs: Sequence[Song], place: Path, options: SpanOptions
) -> tuple[dict[str, list[Span]], list[str]]:
    """Return the spans of recordings by their ids, and label files that are of none."""
    known = defaultdict[str, list[Song]](list)  # by the names under which a file may mean them
    for song in songs:
        path = PurePath(song.path.replace("\\", "/"))
        for name in {path.name.lower(), path.stem.lower()}:
            known[name].append(song)
    spans, unused, empty = defaultdict[str, list[Span]](list), list[str](), list[str]()
    strange = list[Path]()
    files = [place]
    if not place.is_file():
        visible = (file for file in place.rglob("*") if not file.name.startswith("."))
        files = sorted(file for file in visible if file.suffix.lower() in LABEL_FILES)
    for file in files:
        of_files = read_spans(file, options.column)
        if of_files is None:
            if place == file or options.place is not None or _recording_of(known, file, place, ""):
                strange.append(file)
            continue
        for name, of_file in of_files.items():
            meant = _recording_of(known, file, place, name)
            if meant is None:
                unused.append(name or str(file))
            elif of_file:
                spans[meant.id] += of_file
            else:
                empty.append(meant.id)
    if strange and (spans or options.place is not None):
        raise SongTableError(
            f"{strange[0]}: neither an Audacity label file (start, end, label with tabs between "
            "them) nor a Raven selection table. Save it as one, or take it away."
        )
    return {**{one: [] for one in empty}, **spans} if spans else {}, unused


def _recording_of(
    known: Mapping[str, Sequence[Song]], file: Path, place: Path, name: str
) -> Song | None:
    """Return the recording that a label file means: the one it names, or of its own name."""
    stem = _RAVEN_NAME.sub("", file.stem)
    songs = known.get((name or stem).lower()) or known.get(PurePath(name).stem.lower()) or ()
    if len(songs) > 1:  # of several with this name, the one beside the file
        folder = file.parent if place.is_dir() else place
        relative = file.parent.relative_to(place) if place.is_dir() else Path()
        beside = [s for s in songs if Path(s.path).parent in (folder, folder.resolve())]
        beside = beside or [s for s in songs if PurePath(s.id).parent == relative]
        if len(beside) != 1:
            shown = " and ".join(song.id for song in songs[:2])
            raise SongTableError(
                f"{file}: it may be of {shown}. Give recordings different names, or put the label "
                "file beside its recording."
            )
        songs = beside
    if songs and (songs[0].start or songs[0].end is not None):
        raise SongTableError(
            f"{file}: it labels spans of {songs[0].path}, and so does the table ({songs[0].id}). "
            "Keep one of the two."
        )
    return songs[0] if songs else None


# --- spans as songs ---------------------------------------------------------------------


def _pieces(spans: Iterable[Span]) -> list[Piece]:
    """Cut overlapping spans where one begins or ends, so that each piece has all its labels.

    >>> _pieces([Span(0, 4, "a"), Span(3, 5, "b")])
    [(0, 3, ('a',)), (3, 4, ('a', 'b')), (4, 5, ('b',))]
    """
    ordered = sorted(spans)
    for place, (span, after) in enumerate(pairwise(ordered)):
        if after.start - span.start > _TOUCHING >= span.end - after.start > 0:
            ordered[place] = replace(span, end=after.start)
    edges = sorted({edge for span in ordered for edge in (span.start, span.end)})
    pieces, active, waiting = list[Piece](), list[Span](), deque(ordered)
    for start, end in pairwise(edges):
        active = [span for span in active if span.end > start]
        begins = bool(waiting) and waiting[0].start <= start
        while waiting and waiting[0].start <= start:
            active.append(waiting.popleft())
        labels = tuple(sorted({span.label for span in active}))
        if pieces and not begins and pieces[-1][1:] == (start, labels):
            pieces[-1] = (pieces[-1][0], end, labels)
        elif labels:
            pieces.append((start, end, labels))
    return pieces


def _songs_of(
    song: Song,
    pieces: Sequence[Piece] | None,
    multilabel: bool,
    background: str | None,
    seconds_of: Callable[[Song], float],
) -> Iterator[Song]:
    """Yield the spans of a recording as songs; one without a label file as it is."""
    if pieces is None:
        if song.label or song.multilabel:
            yield replace(song, multilabel=multilabel or song.multilabel)
        return
    for start, end, labels in pieces:
        yield _part(song, start, end, join_labels(labels), multilabel)
    if background is None:
        if not pieces and multilabel:
            yield _part(song, 0.0, None, "", multilabel)
        return
    label = "" if multilabel else background
    begins = 0.0
    for start, end, _ in [*pieces, (seconds_of(song), 0.0, ())]:
        yield from _gap(song, begins, start, label, multilabel)
        begins = max(begins, end)


def _gap(song: Song, start: float, end: float, label: str, multilabel: bool) -> Iterator[Song]:
    """Yield what lies between labelled spans, in pieces of at most `LONGEST_GAP`."""
    parts = list[tuple[float, float | None]]()
    if math.isinf(end):
        parts.append((start, None))
    elif end - start >= SHORTEST_GAP:
        count = math.ceil((end - start) / LONGEST_GAP)
        edges = [start + (end - start) * number / count for number in range(count + 1)]
        parts += pairwise(edges)
    for first, last in parts:
        yield replace(_part(song, first, last, label, multilabel), background=not multilabel)


def _part(song: Song, start: float, end: float | None, label: str, multilabel: bool) -> Song:
    return replace(
        song,
        id=f"{song.id}{part_name(start, end)}",
        start=start,
        end=end,
        label=label if multilabel else label or None,
        multilabel=multilabel,
    )
