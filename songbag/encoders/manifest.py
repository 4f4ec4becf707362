"""Read what an encoder states about itself: a JSON file beside its graph, or metadata inside.

::

    {"sample_rate": 16000, "window": 48000, "hop": 24000}

is all that an encoder from samples needs: hertz, and samples of a piece and between two pieces.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from songbag.encoders.encoder import Encoder, Rows, graph_hash
from songbag.errors import AudioError, ModelFileError, SettingsError
from songbag.onnx_runtime.session import open_session
from songbag.onnx_runtime.untrusted import check_part
from songbag.parts import encoders
from songbag.settings import Encoding, Record, Sound

MOST_BYTES = 1 << 28  # of a graph; a model file holds it
METADATA = "songbag.encoder"  # key of the manifest in a graph's metadata
_MOST_WINDOW = 1 << 24  # samples of a piece: six minutes at 44,100 Hz
_LIKE = 1e-2  # of the largest value: what rounding may change
_MOST_HOP, _LEAST_HOP = 1 << 15, 16  # samples of a frame


class Manifest(Record, frozen=True):
    """What an encoder states about itself.

    Attributes
    ----------
    sample_rate : int
        Hz. Songs are resampled to it.
    window, hop : int
        Samples of a piece, and from one piece to the next (0: as long as a piece).
    channels, dtype : 1, "float32"
        Songbag gives mono samples in -1 to 1; others are refused.
    scale : float
        Samples are multiplied with it: 32768 for an encoder that wants 16-bit numbers.
    sound : Sound or None
        For an encoder that takes other frames than samples, instead of the fields above.
    cell, context, values, maxima, levels : int
        As in `songbag.settings.Encoding`, for an encoder with a ``sound``.
    name, trained_on, license, source, source_sha256, cite : str
    remarks : tuple of str
        What else must be known of figures that the encoder takes part in.
    piece : int
        Cells of the pieces that it was trained on.
    tags : tuple of str
        What the encoder's head says.
    """

    sample_rate: Annotated[int, Meta(ge=1000, le=384_000)] = 0
    window: Annotated[int, Meta(ge=0, le=_MOST_WINDOW)] = 0
    hop: Annotated[int, Meta(ge=0, le=_MOST_WINDOW)] = 0
    channels: Literal[1] = 1
    dtype: Literal["float32"] = "float32"
    scale: float = 1.0
    sound: Sound | None = None
    cell: Annotated[int, Meta(ge=1)] = 1
    context: Annotated[int, Meta(ge=0)] = 0
    values: Annotated[int, Meta(ge=0)] = 0
    maxima: Annotated[int, Meta(ge=0)] = 0
    levels: Annotated[int, Meta(ge=0)] = 0
    piece: Annotated[int, Meta(ge=1)] = 1
    name: str = ""
    trained_on: str = ""
    license: str = ""
    source: str = ""
    source_sha256: str = ""
    cite: str = ""
    remarks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def load_encoder(name: str) -> Encoder:
    """Return an encoder of the registry, or from an ONNX file where the name ends in ``.onnx``.

    Raises
    ------
    SettingsError
        There is none, or its file cannot be used; the message says why.
    """
    if not name.endswith(".onnx"):
        encoder: Encoder = encoders()[name].load()()
        return encoder
    path = Path(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(
                f"{path}: the graph has {path.stat().st_size >> 20} MiB; an encoder may have "
                f"{MOST_BYTES >> 20} MiB, because every model file carries it."
            )
        graph = path.read_bytes()
        check_part(path.name, graph)
        beside = path.with_suffix(".json")
        if beside.is_file():
            return encoder_of(beside.read_bytes(), graph, name=path.stem)
        inside = open_session(graph).get_modelmeta().custom_metadata_map
        if METADATA in inside:
            return encoder_of(inside[METADATA].encode(), graph, name=path.stem)
        raise SettingsError(
            "nothing says what this encoder takes. Put a JSON file of the same name beside it, "
            'such as {"sample_rate": 16000, "window": 48000, "hop": 24000}: hertz, samples of '
            "a piece, samples from one piece to the next."
        )
    except OSError as error:
        raise SettingsError(f"{path}: the encoder cannot be read: {error.strerror}.") from None
    except (ModelFileError, SettingsError, AudioError) as error:
        text = str(error)
        raise SettingsError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def encoder_of(
    manifest: bytes, graph: bytes, head: dict[str, Rows] | None = None, name: str = ""
) -> Encoder:
    """Return an encoder from the JSON of its manifest and its graph, after a trial.

    Raises
    ------
    SettingsError
        The manifest is none, or states what the graph does not do.
    """
    try:
        stated = msgspec.json.decode(manifest, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"what the encoder states about itself cannot be used: {error}."
        ) from None
    sound = stated.sound or _sound_of_pieces(stated)
    pieces = stated.sound is None
    values = _values(graph, stated.values)
    if stated.tags and not head:
        raise SettingsError(
            "tags are of an encoder with a head, and a file has none: leave tags out."
        )
    if pieces and (stated.cell, stated.context, stated.levels) != (1, 0, 0):
        raise SettingsError(
            "cell, context and levels are of an encoder with a sound, and this one states none: "
            "leave them out, or state its sound."
        )
    encoding = Encoding(
        name=stated.name or name,
        hash=graph_hash(graph),
        values=values,
        maxima=stated.maxima,
        cell=max(1, (stated.hop or stated.window) // sound.hop_length) if pieces else stated.cell,
        window=stated.window // sound.hop_length if pieces else 0,
        context=stated.context,
        levels=stated.levels,
        scale=stated.scale,
    )
    sound = msgspec.structs.replace(sound, encoding=encoding)
    about = stated.piece, stated.trained_on, stated.license, stated.remarks
    encoder = Encoder(sound, graph, stated.tags, head or {}, *about)
    if head is None:  # others come with Songbag or a package, and have been tried
        _try(encoder)
    return encoder


def _sound_of_pieces(stated: Manifest) -> Sound:
    """Return frames of samples that pieces and the steps between them are multiples of."""
    hop = stated.hop or stated.window
    if not stated.sample_rate or not stated.window or hop > stated.window:
        raise SettingsError(
            f"an encoder states its sample_rate (here {stated.sample_rate} Hz), the samples of its "
            f"window ({stated.window}), and a hop that is not longer ({hop})."
        )
    common = math.gcd(stated.window, hop)
    lengths = range(min(common, _MOST_HOP), _LEAST_HOP - 1, -1)
    length = next((length for length in lengths if common % length == 0), 0)
    if not length:
        raise SettingsError(
            f"window ({stated.window}) and hop ({hop}) of the encoder have no common divisor of at "
            f"least {_LEAST_HOP} samples. State a hop that has one."
        )
    return Sound(
        feature="waveform",
        sample_rate=stated.sample_rate,
        frame_length=max(length, 16),
        hop_length=length,
    )


def _values(graph: bytes, stated: int) -> int:
    """Return how many values the graph's last axis has, as ``stated`` or as it says itself."""
    session = open_session(graph)
    outputs, inputs = session.get_outputs(), session.get_inputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise SettingsError(
            f"an encoder has one input and one output, this one {len(inputs)} and {len(outputs)}. "
            "Export it with (pieces, samples) in, (pieces, values) out."
        )
    if stated:
        return stated
    shape = outputs[0].shape
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise SettingsError(
            f"the encoder's output has the shape {shape}; needed is (pieces, values) with a fixed "
            "number of values. Export it so, or state values."
        )
    return int(shape[1])


def _try(encoder: Encoder) -> None:
    """Encode a little noise and silence, so that what cannot work is refused before any song.

    Noise is encoded again without its end: the first vector may not depend on what comes later,
    nor on chance.
    """
    sound, encoding = encoder.sound.frames, encoder.encoding
    frames = 3 * max(encoding.window, encoding.cell) + 1
    noise = np.random.default_rng(0).standard_normal((frames, sound.bands)).astype(np.float32)
    for trial in (0.1 * noise, np.zeros_like(noise)):
        rows = np.concatenate(list(encoder.rows([trial])))
        if encoding.window == 0 and len(rows) != -(-frames // encoding.cell):
            raise SettingsError(f"the encoder gives {len(rows)} vectors of {frames} frames.")
    if encoding.window:
        first = next(iter(encoder.rows([0.1 * noise[: encoding.window + 1]])))[0]
        whole = next(iter(encoder.rows([0.1 * noise])))[0]
        if np.abs(first - whole).max() > _LIKE * np.abs(whole).max():
            raise SettingsError(
                "the encoder gives another vector for the same piece beside others, or by chance. "
                "Export it for evaluation, without dropout and statistics of a batch."
            )
