"""Many songs to many answers: each id out once, failures as rows, any number of processes."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from songbag.audio.audio_file import AudioReport
from songbag.audio.cache import DamagedFramesError, Index, Receipt, file_stamp, read_frames
from songbag.audio.features import Frames
from songbag.audio.sandbox import decode_in_sandbox, reuse_decoder, stop_decoder
from songbag.audio.source import Source, local_source
from songbag.data.bag import Bag
from songbag.data.packed import Packed
from songbag.data.song_table import Song, SongTable
from songbag.data.unpacking import hear_packed
from songbag.errors import AudioError, ModelFileError, SongTableError
from songbag.inference import tables
from songbag.inference.model_file import read_model
from songbag.inference.predictor import Prediction, Predictor, Said
from songbag.parallel.memory import keep_memory
from songbag.parallel.pool import Threads, Workers, in_order, worker_count
from songbag.settings import Limits
from songbag.storage.csv_files import Row
from songbag.storage.remote import AnyPath

_Stamped = tuple[str, int, int]  # a model's path, size and mtime_ns: a new file, a new model
_Model = _Stamped | bytes  # a cluster's workers get the file itself, once

_POOL_FROM = 8  # songs to decode below which starting processes costs more than it saves
_THREAD_FROM = 10  # songs whose frames are there already that are worth a thread
_TOGETHER = 1 << 32  # samples times bands of songs answered together: 32 MB at a hop of 512
_CACHED = 250  # songs whose frames are there already cost as much as one to decode


@dataclass(frozen=True)
class Answer:
    """One song's answer or failure.

    ``prediction`` is None for a failure; ``reason`` is a short word and ``message`` a
    sentence then.
    """

    id: str
    prediction: Prediction | None
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    level_db: float | None = None
    window_names: tuple[str, ...] = ()

    def row(self, labels: Sequence[str]) -> Row:
        """Return the song's row of predictions.csv."""
        if self.prediction is None:
            return tables.failure_row(self.id, self.reason, self.message, labels)
        row = tables.song_row(self.id, self.prediction, labels, self.level_db)
        return row | {"warnings": "; ".join(self.warnings)}

    def window_rows(self, labels: Sequence[str]) -> list[Row]:
        """Return the song's rows of windows.csv, none for a failure."""
        if self.prediction is None:
            return []
        return tables.window_rows(self.id, self.prediction, labels, self.window_names)


@dataclass(frozen=True)
class _Task:
    id: str
    source: Source
    known: Receipt | None  # what the cache knows of it


_Kept = tuple[Frames, Receipt]


@dataclass(frozen=True)
class _Heard:
    said: Said
    samples: int
    warnings: Sequence[str]
    level_db: float


def answer_all(
    songs: Sequence[Song],
    model_path: str | Path,
    cache: AnyPath,
    limits: Limits | None = None,
    workers: Workers = None,
) -> Iterator[Answer]:
    """Yield an answer for every song, in order.

    Frames come from the cache where they are; otherwise the file is decoded in a stream
    and nothing is stored, so a collection of any size needs no disk.
    """
    keep_memory()  # frames of a hundred kilobytes come and go with every song
    stamped = (str(model_path), *file_stamp(str(model_path)))
    recipe = _predictor(stamped).card.recipe
    model = Path(model_path).read_bytes() if callable(workers) else stamped
    sources = [song.source(recipe.excerpt) for song in songs]
    known = Index(cache, recipe.sound).lookup(sources)
    tasks = [_Task(s.id, o, k) for s, o, k in zip(songs, sources, known, strict=True)]
    limits = limits or Limits()
    cached = sum(receipt is not None and receipt.status == "ok" for receipt in known)
    costly = len(tasks) - cached + cached // _CACHED
    if callable(workers) or costly >= _POOL_FROM:
        work = partial(_answer, model, cache, limits)
        return _released(in_order(work, tasks, workers, _died))
    threads = worker_count(workers, cached // _THREAD_FROM)
    return _released(_staged(_predictor(model), cache, limits, tasks, threads))


def _released(answers: Iterator[Answer]) -> Iterator[Answer]:
    try:
        yield from answers
    finally:
        stop_decoder()


def _staged(
    predictor: Predictor, cache: AnyPath, limits: Limits, tasks: Sequence[_Task], count: int
) -> Iterator[Answer]:
    """Answer songs, some together: all are read, then all heard by the network, then answered.

    One after the other takes a third longer, as each finds the processor's caches full of
    something else; threads that do all of it wait for each other at every call.
    """
    reuse_decoder()
    with closing(Threads(count)) as threads:
        # Several threads that read files here take longer than one; from elsewhere they do not.
        readers = Threads(1) if isinstance(cache, Path) else threads
        for some in _together(tasks):
            kept = readers.each(partial(_read, cache), some)
            pairs = list(zip(some, kept, strict=True))
            heard = threads.each(lambda pair: _heard(predictor, limits, *pair), pairs)
            yield from map(partial(_answered, predictor), some, heard)


def _together(tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
    """Yield tasks whose frames may lie in memory together; one that is to be decoded ends them."""
    some, room = list[_Task](), _TOGETHER
    for task in tasks:
        some.append(task)
        known = task.known
        room -= known.samples * known.bands if known and known.status == "ok" else _TOGETHER
        if room <= 0:
            yield some
            some, room = [], _TOGETHER
    if some:
        yield some


def answer_bags(bags: Iterable[Bag], model_path: str | Path) -> Iterator[Answer]:
    """Yield an answer for every bag: songs already heard, or windows of a table.

    Raises
    ------
    SongTableError
        A window has another shape than the model's.
    """
    predictor = _predictor((str(model_path), *file_stamp(str(model_path))))
    return (_bag_answer(predictor, bag) for bag in bags)


def answer_packed(folder: Path, model_path: str | Path) -> tuple[SongTable, Iterator[Answer]]:
    """Return the songs of a packed collection and an answer for each, failures too, in order.

    Raises
    ------
    SettingsError, SongTableError
        It was not heard as the model hears, or is damaged.
    """
    recipe = _predictor((str(model_path), *file_stamp(str(model_path)))).card.recipe
    heard = hear_packed(folder, recipe)
    failed = {song.id: (reason, message) for song, reason, message in heard.failed}
    everyone = Packed(folder).songs()

    def answers() -> Iterator[Answer]:
        answered = answer_bags(heard, model_path)
        for song in everyone:
            yield Answer(song.id, None, *failed[song.id]) if song.id in failed else next(answered)

    return SongTable(everyone, heard.origin), answers()


def answer_file(predictor: Predictor, song: Song, limits: Limits) -> Answer:
    """Answer one song in this process, from its file alone."""
    task = _Task(song.id, song.source(predictor.card.recipe.excerpt), None)
    return _answered(predictor, task, _heard(predictor, limits, task, None))


def _bag_answer(predictor: Predictor, bag: Bag) -> Answer:
    shape = bag.features.shape[1:]
    if bag.starts is None and shape != predictor.card.window_shape:
        raise SongTableError(
            f"song '{bag.id}' has windows of shape {shape}; the model was trained on "
            f"{predictor.card.window_shape}. Give it the features it knows."
        )
    try:
        if bag.starts is not None:
            found = predictor.predict([bag.features], lambda: bag.samples)
            warnings = (*bag.warnings, *_short(predictor, bag.samples))
            return Answer(bag.id, found, warnings=warnings, level_db=bag.level_db)
        found = predictor.predict_windows(bag.features)
    except ModelFileError as error:
        return _unanswered(bag.id, bag.id, error)
    return Answer(bag.id, found, warnings=bag.warnings, window_names=bag.windows)


def _answer(model: _Model, cache: AnyPath, limits: Limits, task: _Task) -> Answer:
    reuse_decoder()  # in a worker of a pool it ends with the worker
    predictor = _predictor(model)
    return _answered(predictor, task, _heard(predictor, limits, task, _read(cache, task)))


def _heard(
    predictor: Predictor, limits: Limits, task: _Task, kept: _Kept | None
) -> _Heard | Answer:
    """Return what the network says of a song, or why it says nothing."""
    try:
        if kept is not None:
            frames, known = kept
            said = predictor.window_outputs([frames], lambda: known.samples)
            return _Heard(said, known.samples, known.warnings, known.level_db)
        report = AudioReport()
        with local_source(task.source, limits) as source:
            blocks = decode_in_sandbox(source, predictor.card.recipe.sound, report, limits)
            said = predictor.window_outputs(blocks, lambda: report.samples)
        return _Heard(said, report.samples, report.warnings(), report.level_db)
    except AudioError as error:
        return Answer(task.id, None, error.reason, str(error))
    except ModelFileError as error:
        return _unanswered(task.id, task.source.path, error)


def _answered(predictor: Predictor, task: _Task, heard: _Heard | Answer) -> Answer:
    if isinstance(heard, Answer):
        return heard
    try:
        prediction = predictor.predict_outputs(*heard.said)
    except ModelFileError as error:
        return _unanswered(task.id, task.source.path, error)
    warnings = (*heard.warnings, *_short(predictor, heard.samples))
    return Answer(task.id, prediction, warnings=warnings, level_db=heard.level_db)


def _unanswered(id: str, named: str, error: ModelFileError) -> Answer:
    # Of this song only: the file was readable.
    return Answer(id, None, "no_answer", f"{named}: {error}")


def _short(predictor: Predictor, samples: int) -> list[str]:
    sound, cut = predictor.card.recipe.sound, predictor.card.recipe.windows
    if samples >= int(cut.seconds * sound.sample_rate):
        return []
    heard = f"{samples / sound.sample_rate:.1f} s"
    return [f"short: {heard} repeated to fill one window of {cut.seconds:g} s"]


def _read(cache: AnyPath, task: _Task) -> _Kept | None:
    """Return what the cache keeps of a song, None where that is nothing or damaged."""
    if task.known is None or task.known.status == "failed":
        return None
    try:
        key = task.known.key  # joined as text where that can be: pathlib takes as long as reading
        return read_frames(os.path.join(cache, key) if isinstance(cache, Path) else cache / key)
    except DamagedFramesError:
        return None  # heard from the file instead


def _died(task: _Task) -> Answer:
    message = f"{task.source.path}: the process that read it died twice; leave the file out"
    return Answer(task.id, None, "worker_died", message)


@lru_cache(maxsize=2)
def _predictor(model: _Model) -> Predictor:
    if not isinstance(model, bytes):
        return Predictor(read_model(model[0]))
    with tempfile.NamedTemporaryFile() as file:
        file.write(model)
        file.flush()
        return Predictor(read_model(file.name))
