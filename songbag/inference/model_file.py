"""One file that is only data: what a model is, its weights and its graphs.

A stored (uncompressed) zip of

``model.json``           the `Card`: labels, settings, split certificate, figures, hashes
``weights.safetensors``  the truth, for continuing a training
``network.onnx``, ``pooling.onnx``   derived from it at saving
``encoder.onnx``         the pre-trained encoder, where the recipe has one
``typicality.safetensors``  where unknown songs are set aside: what known ones are like

Nothing in it is ever executed or unpickled. Sizes are capped and checked before anything
is read, every part must have the hash that the card states, and graphs may hold nothing
but ONNX's own operations and their own weights (`songbag.onnx_runtime.untrusted`).
"""

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.splits import Certificate
from songbag.encoders.encoder import Encoder, EncoderFacts
from songbag.encoders.known import remember
from songbag.errors import ModelFileError, SettingsError
from songbag.metrics.calibration import Calibration
from songbag.metrics.label_kinds import LabelKind, kind_of
from songbag.onnx_runtime.untrusted import check_part
from songbag.settings import Recipe, Record
from songbag.storage.downloads import local_model
from songbag.storage.files import atomic_write

FORMAT = 3  # 1: without an encoder; 2: without typicality
_CARD = "model.json"
_SIZES = {"weights.safetensors": 1 << 27, "network.onnx": 1 << 27, "pooling.onnx": 1 << 24}
PARTS = tuple(_SIZES)
_ENCODER, TYPICALITY = "encoder.onnx", "typicality.safetensors"
_SIZES |= {_ENCODER: 1 << 28, TYPICALITY: 1 << 27}
_CARD_BYTES = 1 << 24  # a million songs heard
_FIELD_BYTES = 1 << 20  # any other field of the card
# What zipfile raises for damaged bytes; RuntimeError for what it takes to be encrypted.
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, LookupError, ArithmeticError,
           struct.error, ValueError)  # fmt: skip
_END = 22  # bytes of a zip's last record, which says how long its directory is


class Card(Record, frozen=True):
    """All that a model says about itself."""

    format: int
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]  # in the order of columns
    recipe: Recipe  # with the windows' stride as the network needs it
    # (frames, bands), or the shape of one window of a table.
    window_shape: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)]
    source: Literal["audio", "table"]
    space: Literal["logit", "probability"] | None  # where contributions add up to the score
    features: tuple[str, ...] = ()  # of a table: names of its features, where they are known
    multilabel: bool = False
    thresholds: tuple[float, ...] = ()  # multilabel: the probability from which a label holds
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0  # divides song logits
    # What answering only from a confidence on was worth on songs held out in turn: rows of
    # confidence, share answered, share right and its lower limit.
    precision: tuple[tuple[float, float, float, float], ...] = ()
    encoder: EncoderFacts | None = None
    seed: int = 0
    split: Certificate | None = None
    # Short hashes of the ids that training and validation used, a thousand in a string.
    heard: tuple[Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{12}){1,1000}$")], ...] = ()
    songs: str = ""  # hash of those songs' features and labels
    majority: str = ""  # the most frequent label of the training songs
    background: str = ""  # the label that says that nothing is there, if there is one
    level: dict[str, list[float]] | None = None  # parameters of the level-only baseline
    # The share of known songs that may be set aside as unknown; 0: the model cannot tell.
    unknown: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    narrow: bool = False  # most training songs were warned of as "narrow": no other song is then
    figures: dict[str, Any] = msgspec.field(default_factory=dict)  # on the test songs, if any
    layers: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = msgspec.field(default_factory=dict)  # of packages, at training
    hashes: dict[str, str] = msgspec.field(default_factory=dict)  # part to BLAKE2b

    @property
    def kind(self) -> LabelKind:
        """How many labels a song may have."""
        return kind_of(self.multilabel)

    def calibrated(self, calibration: Calibration) -> "Card":
        """Return the card with another calibration; without thresholds those of its kind."""
        thresholds = self.kind.default_thresholds(len(self.labels))
        return msgspec.structs.replace(
            self,
            temperature=calibration.temperature,
            thresholds=calibration.thresholds or thresholds,
            precision=calibration.precision,
        )


@dataclass(frozen=True)
class Model:
    """A trained model in memory: its card, and its weights and graphs as bytes."""

    card: Card
    parts: dict[str, bytes]  # by their names in the file
    path: Path | None = None  # of the file it was loaded from

    @cached_property
    def hash(self) -> str:
        """32 hexadecimal digits of what predictions depend on."""
        card = msgspec.structs.replace(self.card, figures={})
        return hashlib.blake2b(msgspec.json.encode(card), digest_size=16).hexdigest()

    def with_card(self, **changes: Any) -> "Model":
        """Return the model with other values of its card; it is then in no file."""
        return Model(msgspec.structs.replace(self.card, **changes), self.parts)

    @classmethod
    def of_parts(cls, card: Card, parts: dict[str, bytes]) -> "Model":
        """Return a model whose card states the hashes of its parts."""
        hashes = {name: _hash(data) for name, data in parts.items()}
        return cls(msgspec.structs.replace(card, hashes=hashes), parts)


def song_hashes(ids: Iterable[str]) -> tuple[str, ...]:
    """Return ``heard`` of a card: short hashes of song ids, so that no id stands in a model."""
    text: str = np.sort(_short_hashes(ids)).tobytes().hex()
    step = 12_000  # a thousand songs in a string: as single ones they would fill the memory
    return tuple(text[first : first + step] for first in range(0, len(text), step))


def used_in_training(card: Card, ids: Iterable[str]) -> NDArray[np.bool_]:
    """Return for each id whether the model was trained on that song, shape (ids,)."""
    return np.isin(_short_hashes(ids), np.frombuffer(bytes.fromhex("".join(card.heard)), "S6"))


def _short_hashes(ids: Iterable[str]) -> NDArray[np.bytes_]:
    return np.fromiter((hashlib.blake2b(i.encode(), digest_size=6).digest() for i in ids), "S6")


def save_model(path: str | Path, model: Model) -> None:
    """Write a model file, whole or not at all; the same model gives the same bytes."""
    for name, data in model.parts.items():
        if len(data) > _SIZES[name]:
            raise ModelFileError(
                f"{path}: {name} has {len(data) >> 20} MiB; at most {_SIZES[name] >> 20} MiB "
                "are read. Use a smaller network."
            )
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        card = msgspec.json.format(msgspec.json.encode(model.card), indent=1)
        for name, data in {_CARD: card, **model.parts}.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def load_model(
    path: str | Path, parts: tuple[str, ...] = ("network.onnx", "pooling.onnx")
) -> Model:
    """Read a model file and the named parts of it.

    An address is downloaded first (`songbag.storage.downloads`). An encoder in it can then be used
    in this process (`songbag.encoders.known`).

    Raises
    ------
    ModelFileError
        Missing, not a model file, damaged, too large, written by a newer Songbag, or
        with parts that could do more than compute.
    """
    path = local_model(path)
    try:
        with _open_model_file(path) as file, zipfile.ZipFile(file) as archive:
            _refuse_foreign(path, archive)
            card = _card(path, archive.read(_CARD))
            if parts and card.recipe.sound.encoding:
                parts = (*parts, _ENCODER)
            if parts and card.unknown:
                parts = (*parts, TYPICALITY)
            parts_read = {name: archive.read(name) for name in parts}
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file.") from None
    except _DAMAGE as error:
        raise ModelFileError(
            f"{path}: not a model file, or a damaged one ({error}). Train or copy it again."
        ) from None
    for name, data in parts_read.items():
        if card.hashes.get(name) != _hash(data):
            raise ModelFileError(
                f"{path}: {name} is not what was saved (its hash differs). The file was damaged "
                "or changed; copy it again."
            )
        try:
            check_part(name, data)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error} It cannot be used.") from None
    if _ENCODER in parts_read:
        encoder = Encoder(card.recipe.sound, parts_read[_ENCODER])
        if card.hashes[_ENCODER] != encoder.encoding.hash:  # the same hash, checked above
            raise ModelFileError(f"{path}: its encoder is not the one that its settings name.")
        remember(encoder)
    return Model(card, parts_read, path)


def _open_model_file(path: str | Path) -> BinaryIO:
    """Open a regular file whose zip directory is small enough to be read.

    zipfile reads the whole directory at once, however long, and looks for it in odd
    places; a model file ends in a plain end record.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait, a device has no end
        raise ValueError("it is not a file")
    file = open(path, "rb")  # noqa: SIM115
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END - 20))
        tail = file.read()
        end = struct.unpack("<IHHHHIIH", tail[-_END:]) if size >= _END else (0,) * 8
        directory, comment = end[5], end[7]
        if end[0] != 0x06054B50 or comment or b"PK\6\7" in tail or directory > 1 << 16:
            raise zipfile.BadZipFile("it does not end as model files do")
        if size > _CARD_BYTES + sum(_SIZES.values()) + (1 << 16):
            raise zipfile.BadZipFile(f"{size >> 20} MiB are more than a model has")
    except BaseException:
        file.close()
        raise
    return file


def _refuse_foreign(path: str | Path, archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    limits = {_CARD: _CARD_BYTES, **_SIZES}
    for entry in entries:
        if entry.filename not in limits:
            raise ModelFileError(f"{path}: holds a part '{entry.filename[:80]}' no model has.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ModelFileError(f"{path}: {entry.filename} is compressed; model files are not.")
        if entry.file_size > limits[entry.filename]:
            raise ModelFileError(
                f"{path}: {entry.filename} has {entry.file_size >> 20} MiB; at most "
                f"{limits[entry.filename] >> 20} MiB are read."
            )
    names = sorted(entry.filename for entry in entries)
    if len(set(names)) < len(names) or not limits.keys() - {_ENCODER, TYPICALITY} <= set(names):
        raise ModelFileError(
            f"{path}: parts are missing or doubled; a model has {', '.join((_CARD, *PARTS))}."
        )


def _card(path: str | Path, data: bytes) -> Card:
    try:
        stated = msgspec.json.decode(data, type=_Format).format
        if stated < 1:
            raise ModelFileError(f"{path}: its format is {stated}; there is no such format.")
        if stated > FORMAT:
            raise ModelFileError(
                f"{path}: written in format {stated} by a newer Songbag; this one reads up to "
                f"{FORMAT}. Update Songbag."
            )
        for name, value in msgspec.json.decode(data, type=dict[str, msgspec.Raw]).items():
            if name != "heard" and len(bytes(value)) > _FIELD_BYTES:
                raise ModelFileError(f"{path}: '{name[:80]}' in its {_CARD} is too long.")
        return msgspec.json.decode(data, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path}: its {_CARD} is not valid: {error}.") from None
    except SettingsError as error:  # such as a feature of a package that is not installed
        raise ModelFileError(f"{path}: its settings cannot be used: {error}") from None


class _Format(msgspec.Struct):
    format: int


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
