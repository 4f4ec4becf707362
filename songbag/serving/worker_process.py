"""What runs inside a worker process: predict one uploaded song, or pool an answer again.

The process receives the models once, as the server read them. When a file changes, the server
starts other processes (`songbag.serving.hosted_models`).
"""

import base64
import binascii
import io
import traceback
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio import waveform
from songbag.audio.audio_file import AudioReport
from songbag.audio.waveform import excerpt_span
from songbag.data.audio_dataset import AudioInput
from songbag.data.dataset import Recording
from songbag.data.song import Song
from songbag.encoders.encoder import Encoder, Pieces, Rows
from songbag.encoders.known import find_encoder
from songbag.errors import AudioError
from songbag.inference.model_file import Model
from songbag.inference.predict import predict_song
from songbag.inference.predictions import (
    SongPrediction,
    song_columns,
    song_row,
    window_columns,
    window_rows,
    withhold,
)
from songbag.inference.predictor import Prediction, Predictor, WindowOutputs
from songbag.serving.replies import HTTPError, Reply
from songbag.settings import Limits, Record, Sound
from songbag.storage.files import Row, csv_text

_TAGS = 5  # of a song
MAX_PEAKS = 2000  # of one drawing
_PEAK_RATE = 8000  # Hz; a drawing shows nothing that needs more
_PEAK_SAMPLES = 80  # 10 ms
_SOUND_RATE = 32_000  # Hz, of sound that is decoded for a browser


class PredictTask(Record, frozen=True):
    """One file to predict, and which parts its answer has besides the song's row."""

    model: str  # its hash
    id: str  # of the song in the answer
    path: str
    limits: Limits
    windows: bool
    peaks: bool
    csv: bool
    cached: bool
    tags: bool


class FileTask(Record, frozen=True):
    """A file whose waveform is drawn, or whose sound is decoded."""

    path: str
    limits: Limits


class WithoutTask(Record, frozen=True):
    """An answer from `encode_answer` to pool again without some of its windows."""

    model: str  # its hash
    cached: str
    removed: tuple[int, ...]


Task: TypeAlias = PredictTask | WithoutTask

# The models of this process by hash: `load_models` runs once in each, `run_task` for every
# request.
_predictors: dict[str, Predictor] = {}


def load_models(models: Sequence[Model]) -> None:
    """Load the models into this process."""
    _predictors.update({model.hash: Predictor(model) for model in models})


def run_task(task: Task) -> Reply:
    """Return the reply to one task; an unexpected exception goes to the log as status 500."""
    try:
        if isinstance(task, PredictTask):
            body = _predict(task, _predictors[task.model])
        else:
            body = _predict_without(task, _predictors[task.model])
        return Reply(status=200, body=msgspec.json.encode(body))
    except HTTPError as error:
        return error.reply
    except Exception:
        traceback.print_exc()
        message = "The server failed on this song; its log has the details."
        return HTTPError(500, "internal", message).reply


def failed_song(
    song_id: str, reason: str, message: str, labels: Sequence[str], csv: bool
) -> HTTPError:
    """Return the error of a song without an answer, with its row of predictions.csv."""
    row = song_row(SongPrediction(Song(song_id, ""), None, reason, message), labels)
    fields = {"csv": _csv_parts([row], [], labels)} if csv else {}
    return HTTPError(422, reason, message, song=row, **fields)


def _predict(task: PredictTask, predictor: Predictor) -> dict[str, Any]:
    labels = predictor.card.labels
    song = Song(task.id, task.path)
    source = song.source(predictor.card.recipe.excerpt)
    heard = _Listened(AudioInput(song, source, None, Path(), task.limits))
    answer = predict_song(predictor, heard if task.tags else heard.input)
    if answer.prediction is None:
        # The client does not need to know where the file lay on the server.
        message = answer.message.replace(task.path, task.id)
        raise failed_song(task.id, answer.reason, message, labels, task.csv)
    windows = window_rows(answer, labels)
    row = withhold(song_row(answer, labels), unknown=predictor.card.unknown)
    body: dict[str, Any] = {"song": row}
    if task.windows:
        body["windows"] = windows
    if tags := heard.tags():
        body["tags"] = tags
    if task.csv:
        body["csv"] = _csv_parts([body["song"]], windows, labels)
    if task.peaks:
        body["recording"] = None
        try:
            begin = excerpt_span(source, task.limits)[0]
            peaks, seconds = read_peaks(task.path, task.limits)
            rounded = [round(float(peak), 3) for peak in peaks]
            body["recording"] = {"seconds": seconds, "heard_from": begin, "peaks": rounded}
        except AudioError:  # the excerpt can be read, the whole file cannot
            pass
    if task.cached:
        body["kept"] = encode_answer(answer, answer.prediction, task.model)
    return body


@dataclass
class _Listened:
    """A song whose encoder, if it has tags, says what it heard while the song is predicted."""

    input: AudioInput
    encoder: Encoder | None = None
    pieces: list[Rows] = field(default_factory=list)
    decodes: bool = True
    windows: None = None

    @property
    def song(self) -> Song:
        return self.input.song

    def frames(self, sound: Sound) -> tuple[Iterator[Rows], Callable[[], Recording]]:
        """Return the frames of the song, and keep the encoder's vectors."""
        blocks, recording = self.input.frames(sound)
        if sound.encoding is None or not find_encoder(sound).tags:
            return blocks, recording
        self.encoder = find_encoder(sound)
        return self._kept(blocks, Pieces(self.encoder)), recording

    def _kept(self, blocks: Iterator[Rows], pieces: Pieces) -> Iterator[Rows]:
        for block in blocks:
            self.pieces += pieces.add(block)
            yield block
        self.pieces += pieces.end()

    def tags(self) -> list[Row]:
        """Return the most probable tags of the song."""
        if self.encoder is None or not self.pieces:
            return []
        shares = self.encoder.tag_probabilities(np.stack(self.pieces)).mean(axis=0)
        best = np.argsort(-shares, kind="stable")[:_TAGS].tolist()
        return [{"tag": self.encoder.tags[k], "probability": float(shares[k])} for k in best]


def _predict_without(task: WithoutTask, predictor: Predictor) -> dict[str, Any]:
    labels = predictor.card.labels
    try:
        answer, left = answer_without(predictor, task.model, task.cached, task.removed)
    except ValueError as error:
        raise HTTPError(422, "bad_request", f"{error}.") from None
    rows = zip(window_rows(answer, labels), left, strict=True)
    windows = [row | {"window": number} for row, number in rows]
    row = withhold(song_row(answer, labels), unknown=predictor.card.unknown)
    return {"song": row, "windows": windows}


def _csv_parts(songs: list[Row], windows: list[Row], labels: Sequence[str]) -> dict[str, str]:
    return {
        "songs": csv_text(songs, song_columns(labels)),
        "windows": csv_text(windows, window_columns(labels)),
    }


def read_peaks(path: str | Path, limits: Limits) -> tuple[NDArray[np.float32], float]:
    """Return the largest magnitude of at most `MAX_PEAKS` equal spans, and the length in seconds.

    They draw the whole file, whatever excerpt of it the model uses; 1 is full scale.
    """
    report = AudioReport()
    fine, rest = [], np.zeros(0, dtype=np.float32)
    for block in waveform.read_blocks(path, _PEAK_RATE, report, limits=limits):
        values = np.abs(np.concatenate([rest, block]))
        whole = len(values) // _PEAK_SAMPLES * _PEAK_SAMPLES
        fine.append(values[:whole].reshape(-1, _PEAK_SAMPLES).max(axis=1))
        rest = values[whole:]
    if len(rest):
        fine.append(rest.max(keepdims=True))
    peaks = np.concatenate(fine)
    edges = np.linspace(0, len(peaks), min(MAX_PEAKS, len(peaks)) + 1).astype(int)[:-1]
    return np.maximum.reduceat(peaks, edges), report.samples / _PEAK_RATE


def draw_wave(task: FileTask) -> Reply:
    """Return the peaks (see `read_peaks`) and the length of a file; no model is needed."""
    try:
        peaks, seconds = read_peaks(task.path, task.limits)
    except AudioError as error:
        return HTTPError(422, error.reason, str(error)).reply
    rounded = [round(float(peak), 3) for peak in peaks]
    return Reply(status=200, body=msgspec.json.encode({"seconds": seconds, "peaks": rounded}))


def decode_sound(task: FileTask) -> Reply:
    """Return a file as WAV, 16 bits, mono, which every browser plays."""
    buffer = io.BytesIO()
    try:
        with wave.open(buffer, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(_SOUND_RATE)
            blocks = waveform.read_blocks(task.path, _SOUND_RATE, AudioReport(), limits=task.limits)
            for block in blocks:
                sound.writeframesraw((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
    except AudioError as error:
        return HTTPError(422, error.reason, str(error)).reply
    return Reply(status=200, body=buffer.getvalue(), headers={"content-type": "audio/wav"})


# --- an answer as text that the client stores ----------------------------------------------
# The server stores nothing about a song. The text is plain numbers in base64: a client that
# changes it changes only its own answer.


class _CachedAnswer(Record, frozen=True):
    model: str
    id: str
    level_db: float | None
    warnings: tuple[str, ...]
    columns: int
    outputs: bytes  # float32 (windows, columns)
    times: bytes  # float64 (2, windows): starts, ends


def encode_answer(answer: SongPrediction, prediction: Prediction, model_hash: str) -> str:
    """Return an answer as the text that `answer_without` takes."""
    outputs = np.ascontiguousarray(prediction.outputs, dtype="<f4")
    times = np.stack([prediction.start_seconds, prediction.end_seconds]).astype("<f8")
    cached = _CachedAnswer(
        model=model_hash,
        id=answer.id,
        level_db=answer.level_db,
        warnings=answer.warnings,
        columns=outputs.shape[1],
        outputs=outputs.tobytes(),
        times=times.tobytes(),
    )
    return base64.b64encode(msgspec.msgpack.encode(cached)).decode()


def answer_without(
    predictor: Predictor, model_hash: str, text: str, removed: tuple[int, ...]
) -> tuple[SongPrediction, list[int]]:
    """Return an encoded answer as if its song never had the windows ``removed``.

    Also returns the numbers of the windows that were used. A ValueError says what is wrong with
    the text or the numbers.
    """
    try:
        data = base64.b64decode(text, validate=True)
        cached = msgspec.msgpack.decode(data, type=_CachedAnswer)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"`kept` cannot be read ({error})") from None
    if cached.model != model_hash:
        raise ValueError("`kept` is the answer of another model; predict the song again")
    outputs = np.frombuffer(cached.outputs, dtype="<f4").reshape(-1, cached.columns)
    start, end = np.frombuffer(cached.times, dtype="<f8").reshape(2, len(outputs))
    if not (np.isfinite(outputs).all() and np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("`kept` contains numbers that are not finite")
    if not all(0 <= number < len(outputs) for number in removed):
        raise ValueError(f"the song's windows are numbered 0 to {len(outputs) - 1}")
    left = np.setdiff1d(np.arange(len(outputs)), removed)
    if not len(left):
        raise ValueError("at least one window must be left")
    try:
        prediction = predictor.predict_outputs(WindowOutputs(outputs[left], start[left], end[left]))
    except Exception:  # onnxruntime raises exceptions without a common base class
        raise ValueError("`kept` does not fit this model") from None
    answer = SongPrediction(
        Song(cached.id, ""), prediction, warnings=cached.warnings, level_db=cached.level_db
    )
    return answer, left.tolist()
