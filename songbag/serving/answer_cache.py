"""What an asker keeps so that a song can be pooled again; the server forgets every song.

It is plain numbers in base64: whoever changes it only changes their own answer.
"""

import base64
import binascii

import msgspec
import numpy as np

from songbag.inference.predict import Answer
from songbag.inference.predictor import Prediction, Predictor
from songbag.settings import Record


class _Kept(Record, frozen=True):
    model: str
    id: str
    level_db: float | None
    warnings: tuple[str, ...]
    columns: int
    outputs: bytes  # float32 (windows, columns)
    times: bytes  # float64 (2, windows): starts, ends


def pack(answer: Answer, found: Prediction, model_hash: str) -> str:
    """Return an answered song as text."""
    outputs = np.ascontiguousarray(found.outputs, dtype="<f4")
    times = np.stack([found.start_seconds, found.end_seconds]).astype("<f8")
    kept = _Kept(
        model=model_hash,
        id=answer.id,
        level_db=answer.level_db,
        warnings=answer.warnings,
        columns=outputs.shape[1],
        outputs=outputs.tobytes(),
        times=times.tobytes(),
    )
    return base64.b64encode(msgspec.msgpack.encode(kept)).decode()


def answer_without(
    predictor: Predictor, model_hash: str, text: str, removed: tuple[int, ...]
) -> tuple[Answer, list[int]]:
    """Answer a packed song as if windows ``removed`` had never been; also the numbers left.

    Raises
    ------
    ValueError
        The text is not what `pack` returned for this model, a window is not in the song,
        or none would be left.
    """
    kept = _unpacked(text, model_hash)
    outputs = np.frombuffer(kept.outputs, dtype="<f4").reshape(-1, kept.columns)
    start, end = np.frombuffer(kept.times, dtype="<f8").reshape(2, len(outputs))
    if not (np.isfinite(outputs).all() and np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("the kept song holds numbers that are not finite")
    if not all(0 <= number < len(outputs) for number in removed):
        raise ValueError(f"the song's windows are numbered 0 to {len(outputs) - 1}")
    left = np.setdiff1d(np.arange(len(outputs)), removed)
    if not len(left):
        raise ValueError("at least one window must be left")
    try:
        found = predictor.predict_outputs(outputs[left], start[left], end[left])
    except Exception:  # onnxruntime raises its own untyped family
        raise ValueError("the kept song does not fit this model") from None
    answer = Answer(kept.id, found, warnings=kept.warnings, level_db=kept.level_db)
    return answer, left.tolist()


def _unpacked(text: str, model_hash: str) -> _Kept:
    try:
        data = base64.b64decode(text, validate=True)
        kept = msgspec.msgpack.decode(data, type=_Kept)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the kept song cannot be read ({error})") from None
    if kept.model != model_hash:
        raise ValueError("the kept song was answered by another model; ask for it again")
    return kept
