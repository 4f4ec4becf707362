"""Run a pre-trained encoder: blocks of frames in, rows of vectors out, in bounded memory."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.errors import AudioError, ModelFileError
from songbag.onnx_runtime.session import open_session, run
from songbag.settings import Encoding, Record, Sound

Rows: TypeAlias = NDArray[np.float32]

_STRETCH = 2048  # frames encoded at once, whatever the blocks: the same song, the same rounding
_PIECES = 16  # pieces encoded at once


class EncoderFacts(Record, frozen=True):
    """What must be known of figures that an encoder takes part in."""

    name: str
    trained_on: str = ""
    license: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """A pre-trained network in memory, and what it takes and gives.

    Attributes
    ----------
    sound : Sound
        With its encoding: the frames that the graph takes, and the rows that come out.
    graph : bytes
        ONNX. With ``encoding.window`` 0 from ``frames`` (frames, bands) to cells (cells,
        values); else from samples (pieces, samples) to vectors (pieces, values).
    tags : tuple of str
        Names of what it was trained to say; empty if it says nothing.
    head : dict of ndarray
        Its layers after the pooling, as far as they are known: matrix and bias of a hidden layer
        ("summary", before its ReLU) and of the logits of the tags ("tags").
    piece : int
        Cells of the pieces that it was trained on, for which tags are meant.
    trained_on, license : str
    remarks : tuple of str
        As in `EncoderFacts`.
    """

    sound: Sound
    graph: bytes
    tags: tuple[str, ...] = ()
    head: dict[str, Rows] = field(default_factory=dict)
    piece: int = 1
    trained_on: str = ""
    license: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def encoding(self) -> Encoding:
        """How frames become vectors."""
        assert self.sound.encoding is not None
        return self.sound.encoding

    @property
    def facts(self) -> EncoderFacts:
        """What a model and a report say of it."""
        return EncoderFacts(
            name=self.encoding.name,
            trained_on=self.trained_on,
            license=self.license,
            remarks=self.remarks,
        )

    def rows(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        """Yield rows (n, sound.bands) of a song, float16 precision, from blocks of its frames.

        The rows do not depend on how the frames are cut into blocks: 1 + samples // sound.step
        in all.

        Parameters
        ----------
        blocks : iterable of ndarray (n, sound.frames.bands)

        Raises
        ------
        AudioError
            The graph fails on this song, or gives other shapes or values that are not finite.
        """
        rows = self._of_pieces(blocks) if self.encoding.window else self._of_stretches(blocks)
        for part in rows:
            with np.errstate(over="ignore"):
                # Rounded at once, so that cached rows are those of a song that is not cached.
                rounded = part.astype(np.float16).astype(np.float32)
            if not np.isfinite(rounded).all():
                raise AudioError(
                    "encoder",
                    f"encoder '{self.encoding.name}' gives values above 65,504, which float16 does "
                    "not hold. Scale its output down.",
                )
            yield rounded

    def hidden(self, vectors: Rows) -> Rows:
        """Return the hidden layer (pieces, units), before its ReLU, of vectors (pieces, values).

        Where no hidden layer is known these are the vectors themselves.
        """
        if "summary" not in self.head:
            return vectors
        units: Rows = vectors @ self.head["summary"] + self.head["summary_bias"]
        return units

    def tag_probabilities(self, vectors: Rows) -> Rows:
        """Return probabilities (pieces, tags) of pooled vectors (pieces, values)."""
        logits = np.maximum(self.hidden(vectors), 0) @ self.head["tags"] + self.head["tags_bias"]
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)

    @cached_property
    def _session(self) -> Any:
        return open_session(self.graph)

    def _of_stretches(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        cell = self.encoding.cell
        context = -(-self.encoding.context // cell) * cell
        core = max(-(-_STRETCH // cell) * cell, context)
        waiting, before = np.zeros((0, self.sound.frames.bands), np.float32), 0
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            while len(waiting) >= before + core + context:
                yield self._stretch(waiting[: before + core + context], before, core)
                waiting, before = waiting[before + core - context :], context
        if len(waiting) > before:
            yield self._stretch(waiting, before, len(waiting) - before)

    def _stretch(self, frames: Rows, before: int, count: int) -> Rows:
        """Return the rows of ``count`` frames after ``before``, which the graph sees too."""
        encoding = self.encoding
        first, cells = before // encoding.cell, -(-count // encoding.cell)
        shape = (-(-len(frames) // encoding.cell), encoding.values)
        vectors = self._run({"frames": frames * np.float32(encoding.scale)}, shape)
        vectors = vectors[first : first + cells]
        if not encoding.levels:
            return vectors
        spectra = mean_levels(frames[before : before + count], encoding)
        return np.concatenate([vectors, spectra.reshape(cells, -1)], axis=1)

    def _of_pieces(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        """Yield a vector every ``cell`` frames, of the piece that begins there.

        Pieces that would reach beyond the song end where it ends; a song that is shorter than
        a piece is repeated.
        """
        cell, window = self.encoding.cell, self.encoding.window
        waiting, first, done = np.zeros((0, self.sound.frames.bands), np.float32), 0, 0
        batch: list[Rows] = []
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            # The last frame may be filled up with zeros: it is known at the end.
            while done * cell + window < first + len(waiting):
                begin = done * cell - first
                batch.append(waiting[begin : begin + window])
                done += 1
                if len(batch) == _PIECES:
                    yield self._pieces(batch)
                    batch = []
            used = max(0, min(done * cell, first + len(waiting) - window - 1) - first)
            waiting, first = waiting[used:], first + used
        frames = first + len(waiting) - 1  # whole ones
        end = waiting[: len(waiting) - 1] if frames else waiting
        end = np.resize(end, (max(window, len(end)), end.shape[1]))[-window:]
        for _ in range(done, 1 + frames // cell):
            batch.append(end)
        for begin in range(0, len(batch), _PIECES):
            yield self._pieces(batch[begin : begin + _PIECES])

    def _pieces(self, batch: list[Rows]) -> Rows:
        samples = np.stack([piece.ravel() for piece in batch])
        name = self._session.get_inputs()[0].name
        inputs = {name: samples * np.float32(self.encoding.scale)}
        return self._run(inputs, (len(batch), self.encoding.values))

    def _run(self, inputs: dict[str, Any], shape: tuple[int, int]) -> Rows:
        name = self.encoding.name
        try:
            vectors = run(self._session, inputs)[0]
        except ModelFileError as error:
            raise AudioError("encoder", f"encoder '{name}': {error}") from None
        if vectors.dtype.kind != "f":
            raise AudioError(
                "encoder", f"encoder '{name}' gives {vectors.dtype}; needed are float32 values."
            )
        if vectors.shape != shape:
            raise AudioError(
                "encoder",
                f"encoder '{name}' gives vectors of the shape {vectors.shape}; needed is {shape}.",
            )
        if not np.isfinite(vectors).all():
            raise AudioError(
                "encoder",
                f"encoder '{name}' gives vectors that are not finite. Check its sample rate and "
                "scale, or use another.",
            )
        return vectors


def mean_levels(frames: Rows, encoding: Encoding) -> Rows:
    """Return mean spectra (cells, levels, bands), dB, of frames (frames, bands), dB.

    The mean is of powers. Of a last cell with fewer frames the last spectrum is repeated.
    """
    each, cells = encoding.cell // encoding.levels, -(-len(frames) // encoding.cell)
    power = np.power(np.float32(10), frames / np.float32(10))
    begins = np.arange(0, len(frames), each)
    counts = np.diff(np.append(begins, len(frames))).astype(np.float32)
    means = np.add.reduceat(power, begins, axis=0) / counts[:, None]
    spectra = np.float32(10) * np.log10(means)
    missing = cells * encoding.levels - len(spectra)
    spectra = np.concatenate([spectra, np.repeat(spectra[-1:], missing, axis=0)])
    return spectra.reshape(cells, encoding.levels, frames.shape[1])


def pooled(rows: Rows, encoding: Encoding) -> Rows:
    """Return one vector (values,) of rows (cells, bands): maxima of maxima, means of means."""
    maxima = rows[:, : encoding.maxima].max(axis=0)
    means = rows[:, encoding.maxima : encoding.values].mean(axis=0)
    return np.concatenate([maxima, means])


class Pieces:
    """Pools the rows of a song, as they come, to the vectors (values,) of the encoder's pieces.

    What is left over at the end is a piece if it is at least half as long as one, or all there is.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoding, self.length = encoder.encoding, encoder.piece
        self.waiting = np.zeros((0, encoder.sound.bands), np.float32)
        self.count = 0

    def add(self, rows: Rows) -> list[Rows]:
        """Take rows (n, bands); return the vectors of the pieces that are complete with them."""
        self.waiting = np.concatenate([self.waiting, rows])
        vectors = []
        while len(self.waiting) >= self.length:
            vectors.append(pooled(self.waiting[: self.length], self.encoding))
            self.waiting = self.waiting[self.length :]
        self.count += len(vectors)
        return vectors

    def end(self) -> list[Rows]:
        """Return the vector of what is left over, unless that is short and there were others."""
        short = self.count and 2 * len(self.waiting) < self.length
        return [] if short else [pooled(self.waiting, self.encoding)]


def graph_hash(graph: bytes) -> str:
    """Return the name that an encoder has in caches: 32 hexadecimal digits."""
    return hashlib.blake2b(graph, digest_size=16).hexdigest()
