"""Predict the songs of a dataset: each id once, failures too, in any number of processes."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import TypeAlias

from songbag.audio.cache import file_stamp
from songbag.audio.meter import warnings_of
from songbag.audio.sandbox import reuse_decoder, stop_decoder
from songbag.data.dataset import MemoryDataset, SongDataset, SongInput
from songbag.errors import AudioError, ModelFileError, SongTableError
from songbag.inference.model_file import Model, load_model, save_model
from songbag.inference.predictions import Predictions, SongPrediction
from songbag.inference.predictor import Predictor
from songbag.parallel.pool import Workers, in_order, worker_count

# What names a model to other processes: a file's path, size and time, so that a new file is a
# new model; or, for other machines, the file's bytes.
ModelKey: TypeAlias = tuple[Path, int, int] | bytes

_POOL_FROM = 8  # songs to decode below which starting processes costs more than it saves
_THREAD_FROM = 10  # songs without decoding that are worth a thread
_PART = 16  # songs that a thread takes at once: one by one costs as much as a cached song
_CACHED_COST = 1 / 250  # of reading a song from the cache, in songs to decode


def predict(model: Model, dataset: SongDataset) -> Iterator[SongPrediction]:
    """Yield the prediction for every song of a dataset, in order, failures too.

    Frames come from the cache where they are; otherwise a file is decoded in a stream and
    nothing is stored, so a collection of any size needs no disk. The model's encoder, where it has
    one, runs there, while a song is read: the predictor gets its cells.

    Raises
    ------
    SettingsError
        The dataset is a packed collection that was made with other settings.
    SongTableError
        A window of a table has another shape than the model's, or is of other columns.
    """
    card = model.card
    given = dataset.columns if isinstance(dataset, MemoryDataset) else ()
    if card.features and given and given != card.features:
        pairs = zip_longest(given, card.features, fillvalue="nothing")
        named, expected = next(pair for pair in pairs if pair[0] != pair[1])
        raise SongTableError(
            f"{dataset.origin}: other features than the model was trained on: '{named}' where it "
            f"expects '{expected}'. Name its columns, in its order: feature=model.columns."
        )
    return predict_inputs(model, dataset.inputs(card.recipe), dataset.workers)


def predict_inputs(
    model: Model, inputs: Iterable[SongInput], workers: Workers
) -> Iterator[SongPrediction]:
    """Yield the prediction for every input, in order, failures too."""
    if workers == 1:
        return _predict_here(Predictor(model), inputs)
    inputs = list(inputs)
    cost = sum(1.0 if one.decodes else _CACHED_COST for one in inputs)
    if callable(workers) or cost >= _POOL_FROM:
        return _predict_in_pool(model, inputs, workers)
    if any(one.decodes for one in inputs):
        return _predict_here(Predictor(model), inputs)
    threads = worker_count(workers, len(inputs) // _THREAD_FROM)
    return _predict_in_threads(Predictor(model), inputs, threads)


def predict_all(model: Model, dataset: SongDataset) -> Predictions:
    """Return the predictions for all songs of a dataset (see `predict`)."""
    return Predictions(model.card.labels, list(predict(model, dataset)))


def predict_song(predictor: Predictor, song: SongInput) -> SongPrediction:
    """Return the prediction for one song, made in this process."""
    card = predictor.card
    if (bag := song.windows) is not None:
        shape = bag.features.shape[1:]
        if shape != card.window_shape:
            raise SongTableError(
                f"song '{bag.id}' has windows of shape {shape}; the model was trained on "
                f"{card.window_shape}. Give it the features it knows."
            )
    try:
        if bag is not None:
            prediction = predictor.predict_windows(bag.features)
            names, warnings = bag.windows, bag.warnings
            return SongPrediction(song.song, prediction, warnings=warnings, window_names=names)
        blocks, recording = song.frames(card.recipe.sound)
        prediction = predictor.predict(blocks, lambda: recording().samples)
    except AudioError as error:
        return SongPrediction(song.song, None, error.reason, str(error))
    except ModelFileError as error:  # about this song only: the model was readable
        name = song.song.path or song.song.id
        return SongPrediction(song.song, None, "no_answer", f"{name}: {error}")
    facts, sound, cut = recording(), card.recipe.sound, card.recipe.windows
    usual = warnings_of("narrow", facts.warnings) if card.narrow else ()
    warnings = tuple(text for text in facts.warnings if text not in usual)
    if facts.samples < int(cut.seconds * sound.sample_rate):
        length = f"{facts.samples / sound.sample_rate:.1f} s"
        warnings += (f"short: {length} repeated to fill one window of {cut.seconds:g} s",)
    return SongPrediction(song.song, prediction, warnings=warnings, level_db=facts.level_db)


def _predict_here(predictor: Predictor, inputs: Iterable[SongInput]) -> Iterator[SongPrediction]:
    reuse_decoder()
    try:
        yield from (predict_song(predictor, song) for song in inputs)
    finally:
        stop_decoder()


def _predict_in_threads(
    predictor: Predictor, inputs: Sequence[SongInput], threads: int
) -> Iterator[SongPrediction]:
    """Predict songs that need no decoding: networks run outside of Python's lock.

    Without it 290 cached songs take up to half longer (decision 0018).
    """

    def predict_part(first: int) -> list[SongPrediction]:
        return [predict_song(predictor, song) for song in inputs[first : first + _PART]]

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(inputs), threads * _PART):  # results of one round are in memory
            end = min(begin + threads * _PART, len(inputs))
            for predictions in pool.map(predict_part, range(begin, end, _PART)):
                yield from predictions


def _predict_in_pool(
    model: Model, inputs: list[SongInput], workers: Workers
) -> Iterator[SongPrediction]:
    # Other processes read the model from its file; one that is in no file gets one.
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        path = model.path
        if path is None:
            path = Path(folder) / "model.songbag"
            save_model(path, model)
        elsewhere = callable(workers)  # on other machines, where there is no such path
        key = path.read_bytes() if elsewhere else (path, *file_stamp(str(path)))
        work = partial(_predict_in_worker, key)
        with closing(in_order(work, inputs, workers, _died)) as predictions:
            yield from predictions


def _predict_in_worker(key: ModelKey, song: SongInput) -> SongPrediction:
    reuse_decoder()  # in a worker of a pool it ends with the worker
    return predict_song(_predictor(key), song)


@lru_cache(maxsize=2)
def _predictor(key: ModelKey) -> Predictor:
    if not isinstance(key, bytes):
        return Predictor(load_model(key[0]))
    with tempfile.NamedTemporaryFile() as file:
        file.write(key)
        file.flush()
        return Predictor(load_model(file.name))


def _died(song: SongInput) -> SongPrediction:
    name = song.song.path
    message = f"{name}: the process that read it died twice; leave the file out"
    return SongPrediction(song.song, None, "worker_died", message)
