"""What runs in a worker process: a file in, the bytes of an answer out.

The model is given to the process once, as the server read it: a file that changes on the
disk later changes nothing.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio import waveform
from songbag.audio.source import heard_span
from songbag.data.song_table import Song
from songbag.errors import AudioError
from songbag.inference import tables
from songbag.inference.model_file import ModelFile
from songbag.inference.predict import answer_file
from songbag.inference.predictor import Predictor
from songbag.serving.answer_cache import answer_without, pack
from songbag.settings import Limits, Record
from songbag.storage.csv_files import Row, csv_text


class Reply(Record, frozen=True):
    """An HTTP status and a JSON body."""

    status: int
    body: bytes


class Wanted(Record, frozen=True):
    """Which parts an answer has besides the song's row."""

    windows: bool = True
    peaks: bool = False
    csv: bool = False
    kept: bool = False


class Listening(Record, frozen=True):
    """One file to answer. ``id`` is what the asker calls the song."""

    id: str
    path: str
    limits: Limits
    wanted: Wanted


class Pooling(Record, frozen=True):
    """A kept song to answer without some of its windows."""

    kept: str
    removed: tuple[int, ...]


@dataclass
class _Loaded:
    predictor: Predictor
    labels: Sequence[str]
    hash: str


_loaded: list[_Loaded] = []


def prepare(model: ModelFile) -> None:
    """Load the model into this process."""
    _loaded.append(_Loaded(Predictor(model), model.card.labels, model.hash))


def answer(task: Listening | Pooling) -> Reply:
    """Do one task."""
    try:
        if isinstance(task, Listening):
            return _listen(task, _loaded[-1])
        return _pool_again(task, _loaded[-1])
    except Exception:
        traceback.print_exc()
        return refusal(500, "internal", "The server failed on this song; its log says why.")


def refusal(status: int, reason: str, message: str, **more: Any) -> Reply:
    """Return an error as every error of the server looks."""
    body = {"reason": reason, "message": message, **more}
    return Reply(status=status, body=msgspec.json.encode(body))


def song_refusal(
    song_id: str, reason: str, message: str, labels: Sequence[str], csv: bool
) -> Reply:
    """Return the error of a song that got no answer, with its row of predictions.csv."""
    row = tables.failure_row(song_id, reason, message, labels)
    more = {"csv": _csv([row], [], labels)} if csv else {}
    return refusal(422, reason, message, song=row, **more)


def _listen(task: Listening, loaded: _Loaded) -> Reply:
    labels, wanted = loaded.labels, task.wanted
    found = answer_file(loaded.predictor, Song(task.id, task.path), task.limits)
    if found.prediction is None:
        # Where the file lay on the server is nobody's business.
        message = found.message.replace(task.path, task.id)
        return song_refusal(task.id, found.reason, message, labels, wanted.csv)
    rows = found.window_rows(labels)
    body: dict[str, Any] = {"song": found.row(labels)}
    if wanted.windows:
        body["windows"] = rows
    if wanted.csv:
        body["csv"] = _csv([body["song"]], rows, labels)
    if wanted.peaks:
        body["recording"] = _recording(task, loaded.predictor)
    if wanted.kept:
        body["kept"] = pack(found, found.prediction, loaded.hash)
    return Reply(status=200, body=msgspec.json.encode(body))


def _recording(task: Listening, predictor: Predictor) -> dict[str, Any] | None:
    """Return what the whole file looks like, None where only a part of it can be read."""
    source = Song(task.id, task.path).source(predictor.card.recipe.excerpt)
    try:
        heard_from = heard_span(source, task.limits)[0]
        peaks, seconds = read_peaks(task.path, task.limits)
    except AudioError:
        return None
    return {
        "seconds": seconds,
        "heard_from": heard_from,
        "peaks": [round(float(peak), 3) for peak in peaks],
    }


def _csv(songs: list[Row], windows: list[Row], labels: Sequence[str]) -> dict[str, str]:
    return {
        "songs": csv_text(songs, tables.song_columns(labels)),
        "windows": csv_text(windows, tables.window_columns(labels)),
    }


def _pool_again(task: Pooling, loaded: _Loaded) -> Reply:
    try:
        found, left = answer_without(loaded.predictor, loaded.hash, task.kept, task.removed)
    except ValueError as error:
        return refusal(422, "bad_request", f"{error}.")
    rows = zip(found.window_rows(loaded.labels), left, strict=True)
    windows = [row | {"window": number} for row, number in rows]
    body = {"song": found.row(loaded.labels), "windows": windows}
    return Reply(status=200, body=msgspec.json.encode(body))


# --- peaks ---
#
# How loud a recording is over time, for drawing it.


_RATE = 8000  # Hz: nothing that a drawing shows lies higher
_STEP = 80  # samples a fine peak: 10 ms
MOST = 2000  # peaks a drawing has at most


def read_peaks(path: str | Path, limits: Limits) -> tuple[NDArray[np.float32], float]:
    """Return the largest magnitudes (at most `MOST`,) over equal spans, and the seconds.

    The whole file is drawn, whatever part of it a model hears.

    Raises
    ------
    AudioError
        As in `songbag.audio.waveform.read_blocks`.
    """
    report = waveform.AudioReport()
    fine, rest = [], np.zeros(0, dtype=np.float32)
    for block in waveform.read_blocks(path, _RATE, report, limits=limits):
        values = np.abs(np.concatenate([rest, block]))
        whole = len(values) // _STEP * _STEP
        fine.append(values[:whole].reshape(-1, _STEP).max(axis=1))
        rest = values[whole:]
    if len(rest):
        fine.append(rest.max(keepdims=True))
    every = np.concatenate(fine)
    edges = np.linspace(0, len(every), min(MOST, len(every)) + 1).astype(int)[:-1]
    return np.maximum.reduceat(every, edges), report.samples / _RATE
