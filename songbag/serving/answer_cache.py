"""An answer as text that the client stores, so that its song can be pooled again.

The server stores nothing about a song. The text is plain numbers in base64: a client that
changes it changes only its own answer.
"""

import base64
import binascii

import msgspec
import numpy as np

from songbag.data.song import Song
from songbag.inference.predictions import SongPrediction
from songbag.inference.predictor import Prediction, Predictor, WindowOutputs
from songbag.settings import Record


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
    """Return a song's answer as if it never had the windows ``removed``.

    Parameters
    ----------
    text : str
        From `encode_answer`.
    removed : tuple of int
        Numbers of windows, from 0.

    Returns
    -------
    answer : SongPrediction
    left : list of int
        Numbers of the windows that were used.

    Raises
    ------
    ValueError
        The text is not from `encode_answer` and this model, a number is not a window of
        the song, or no window would be left.
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
