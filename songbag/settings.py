"""Frozen records of every choice that changes a number, and the recipes that name them.

`Sound` names the cache and `Windows` cuts the frames; both are saved in every model, so
that a song is read in serving exactly as it was in training. `Training` is what only
learning needs. A `Recipe` has all of them, written as TOML in ``songbag/recipes``.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from songbag.errors import SettingsError
from songbag.parts import NetworkPart, PoolingPart, features, networks, poolings

R = TypeVar("R", bound=msgspec.Struct)

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the settings: immutable, keyword-only, unknown keys refused."""


class Encoding(Record, frozen=True):
    """How frames become vectors of a pre-trained encoder (`songbag.encoders`).

    A row of a song is then no frame but a cell: the encoder's vector of ``cell`` frames and,
    beside it, ``levels`` mean spectra of them, for what does not listen with the encoder.
    """

    name: str  # as in `songbag.parts.encoders`, or of a user's file
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]  # BLAKE2b of the graph
    values: Annotated[int, Meta(ge=1, le=1 << 16)]  # of a vector
    maxima: Annotated[int, Meta(ge=0)] = 0  # so many leading values; the others are means
    cell: Count = 1  # frames from one vector to the next
    # Frames of the piece that each vector is computed from. 0: the graph takes any stretch of
    # frames and returns a vector for each of its cells, which depends on ``context`` frames on
    # either side.
    window: Annotated[int, Meta(ge=0)] = 0
    context: Annotated[int, Meta(ge=0, le=1 << 16)] = 0
    levels: Annotated[int, Meta(ge=0)] = 0  # mean spectra a cell, dB; 0 where frames are samples
    scale: float = 1.0  # multiplies frames

    def __post_init__(self) -> None:
        if self.maxima > self.values or (self.levels and self.cell % self.levels):
            raise SettingsError(
                f"encoder '{self.name}': maxima ({self.maxima}) cannot exceed values "
                f"({self.values}), and levels ({self.levels}) must divide cell ({self.cell})."
            )


class Sound(Record, frozen=True):
    """How a waveform becomes frames. Its fingerprint is part of every cache key.

    Attributes
    ----------
    feature : str
        What a frame holds: "logmel", "mfcc", "waveform", or a feature that another package adds
        (`songbag.parts.features`).
    sample_rate : int
        Hz. Every file is resampled to it.
    frame_length, hop_length : int
        Samples. The Hann window, equal to the FFT length, and its step.
    mel_bands : int
        Bands of the Slaney mel filter bank.
    coefficients : int
        Cepstral coefficients, when ``feature`` is ``"mfcc"``.
    min_frequency : float
        Hz. Lower edge of the lowest mel band.
    top_db : float or None
        dB. Everything further below the song's loudest band is raised to that level
        (librosa's default is 80). It needs the whole song first; None uses only the
        absolute floor of -100 dB.
    deltas : bool
        Append first differences over time (9 frames, as librosa's).
    code : int
        Version of the code that computes frames: raised when numbers change.
    encoding : Encoding or None
        What turns the frames into rows of vectors; None: the frames are the rows.

    Raises
    ------
    SettingsError
        An unknown feature, or settings that exclude each other.

    Examples
    --------
    >>> Sound(feature="mfcc", coefficients=13, deltas=True).bands
    26
    >>> Sound(feature="logmell")
    Traceback (most recent call last):
    songbag.errors.SettingsError: there is no feature 'logmell'. Did you mean 'logmel'?
    """

    feature: str = "logmel"
    sample_rate: Annotated[int, Meta(ge=1000, le=384_000)] = 22050
    frame_length: Annotated[int, Meta(ge=16, le=65536)] = 1024
    hop_length: Count = 512
    mel_bands: Annotated[int, Meta(ge=1, le=512)] = 64
    coefficients: Annotated[int, Meta(ge=1, le=512)] = 13
    min_frequency: Annotated[float, Meta(ge=0)] = 0.0
    top_db: Positive | None = None
    deltas: bool = False
    code: int = 3
    encoding: Encoding | None = None

    def __post_init__(self) -> None:
        _ = self.bands  # refuses an unknown feature, and settings with which it has no frames
        if self.min_frequency >= self.sample_rate / 2:
            raise SettingsError(
                f"sound.min_frequency is {self.min_frequency} Hz; it must lie below half "
                f"the sample rate ({self.sample_rate / 2:g} Hz)."
            )
        if self.hop_length > self.frame_length:
            raise SettingsError(
                f"sound.hop_length {self.hop_length} exceeds frame_length "
                f"{self.frame_length}: samples between frames would never be used."
            )

    @property
    def frames(self) -> "Sound":
        """The same sound without its encoding."""
        return msgspec.structs.replace(self, encoding=None) if self.encoding else self

    @property
    def bands(self) -> int:
        """Values of a row: of a frame, or of a cell."""
        bands = features()[self.feature].bands(self)
        encoding = self.encoding
        return encoding.values + encoding.levels * bands if encoding else bands

    @property
    def step(self) -> int:
        """Samples from one row to the next."""
        return self.hop_length * (self.encoding.cell if self.encoding else 1)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change whenever a frame could."""
        version = features()[self.feature].version  # of a feature that another package adds
        values = msgspec.to_builtins(self)
        if not self.encoding:
            del values["encoding"]  # as before there were encoders
        text = msgspec.json.encode(values) + (f" {version}".encode() if version else b"")
        return hashlib.blake2b(text, digest_size=8).hexdigest()


class Windows(Record, frozen=True):
    """How frames become windows (the window law is in `songbag.audio.windows`).

    Attributes
    ----------
    seconds, hop_seconds : float
        Length of a window and distance between two starts.
    stride : int
        Frames. Starts lie on this grid: the time stride of the network's trunk.
    """

    seconds: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    hop_seconds: Annotated[float, Meta(gt=0, le=3600)] = 2.5
    stride: Count = 1


class Excerpt(Record, frozen=True):
    """Which part of a song is used: its first or middle ``seconds`` (None: all of it)."""

    seconds: Positive | None = None
    place: Literal["first", "middle"] = "first"


class Training(Record, frozen=True):
    """How a network is trained.

    Attributes
    ----------
    network, pooling : str
        Names of `songbag.parts`, or "own" for objects passed in Python. They are checked by
        `read` and before a training: a model file may name parts that are not installed.
    loss : {"song", "window", "own"}
        Cross-entropy of the pooled song, or of every window against its song's label.
    epochs, songs_per_batch : int
    windows_per_song : int
        Random windows of each song in a step; 0 takes all of them.
    optimizer, learning_rate, weight_decay, schedule
        ``learning_rate`` is the peak of the one-cycle and cosine schedules. "lbfgs" solves
        a linear network exactly through the mean of logits; ``weight_decay`` is its ridge
        penalty then, and where there are folds they choose among multiples of it. "ridge"
        solves a kernel machine by least squares; folds choose its penalty by themselves.
    whitening : float
        From 0 to below 1: how far the penalty of "lbfgs" follows how songs of one label differ.
    patience : int
        Epochs without a better validation song loss before stopping; 0 never stops.
    keep : {"best", "last"}
        Weights of the epoch with the best validation song loss, or of the last epoch.
    shards_at_once : int
        Shards of a packed collection that an epoch reads at once (0: all, in one
        permutation of the songs), for collections larger than memory.
    balance : bool
        Weight songs inversely to the frequency of their label.
    label_smoothing, mixup, dropout : float
    gain, filtering : float
        dB. Windows are made louder or softer by up to ``gain``, and coloured by a random
        smooth curve over their bands of up to ``filtering``, the same for all windows of a
        song in a step. For frames in dB (log-mel).
    time_mask, band_mask : int
        Largest SpecAugment masks, in frames and bands (0: none).
    share : bool
        Run a trunk once over all windows of a song, where that is exact but for rounding.
    precision : {"float32", "mixed"}
        Mixed trains in bfloat16 where the processor is fast at it (a GPU, or a CPU with AVX-512
        BF16 or AMX), with float32 weights. Prediction is always in float32.
    folds : int
        0: one network, trained on all training songs. Otherwise so many, each trained on all but
        one fold: they are members of the model, and what they predict of that fold calibrates it
        and weighs its branches. A further branch takes the first's folds (0), or fewer, joined.
    spectra_weigh : float
        Of a further branch of a recipe with an encoder: it is trained only where the branches
        before it that take spectra have at least this share of the weight by songs held out.
    average : float
        Decay of the exponential moving average of the weights per step (0: none).
    """

    network: str = "cnn"
    pooling: str = "mean_logit"
    loss: Literal["song", "window", "own"] = "song"
    epochs: Count = 30
    songs_per_batch: Count = 8
    windows_per_song: Annotated[int, Meta(ge=0)] = 6
    optimizer: Literal["adamw", "lbfgs", "ridge", "rmsprop", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 0.01
    whitening: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    schedule: Literal["constant", "cosine", "onecycle"] = "onecycle"
    patience: Annotated[int, Meta(ge=0)] = 0
    keep: Literal["best", "last"] = "best"
    shards_at_once: Annotated[int, Meta(ge=0)] = 0
    balance: bool = True
    label_smoothing: Share = 0.0
    mixup: Annotated[float, Meta(ge=0)] = 0.0
    dropout: Share = 0.0
    gain: Annotated[float, Meta(ge=0)] = 0.0
    filtering: Annotated[float, Meta(ge=0)] = 0.0
    time_mask: Annotated[int, Meta(ge=0)] = 0
    band_mask: Annotated[int, Meta(ge=0)] = 0
    share: bool = True
    precision: Literal["float32", "mixed"] = "float32"
    folds: Annotated[int, Meta(ge=0)] = 0
    spectra_weigh: Share = 0.0
    average: Share = 0.0

    @property
    def uses_solver(self) -> bool:
        """Whether a linear network is solved on all songs at once, without epochs."""
        return self.optimizer in ("lbfgs", "ridge")

    @property
    def augments(self) -> bool:
        """Whether windows are changed at random."""
        changes = self.mixup, self.gain, self.filtering, self.time_mask, self.band_mask
        return any(changes)

    @property
    def network_part(self) -> NetworkPart:
        """What the network is, as `pooling_part`."""
        return NetworkPart(name="own") if self.network == "own" else networks()[self.network]

    @property
    def pooling_part(self) -> PoolingPart:
        """What the pooling is; of one passed in Python nothing is known.

        Raises
        ------
        SettingsError
            There is none of this name.
        """
        return PoolingPart(name="own") if self.pooling == "own" else poolings()[self.pooling]

    def require_known_parts(self) -> None:
        """Raise SettingsError if the network or the pooling is not installed.

        Examples
        --------
        >>> Training(network="cnn2").require_known_parts()
        Traceback (most recent call last):
        songbag.errors.SettingsError: there is no network 'cnn2'. Did you mean 'cnn'?
        """
        _ = self.network_part, self.pooling_part


@dataclass(frozen=True)
class Own:
    """A user's objects in the place of named parts of a training; None uses the named part.

    Attributes
    ----------
    network : nn.Module, Keras model (torch backend), or callable
        Windows (windows, ...), or vectors (windows, values) where an encoder listens, to
        outputs (windows, classes), or one output for two labels. A callable makes one from
        (window_shape, outputs). It is copied before training.
    pooling : callable
        Logits (songs, windows, classes) to song logits (songs, classes).
    loss : callable
        Song logits (songs, classes) and label indices (songs,) to one loss, or one a song.
    """

    network: Any = None
    pooling: Any = None
    loss: Any = None

    def named(self, training: Training) -> Training:
        """Return the settings with "own" in the place of the parts that are given."""
        own = {name: "own" for name in ("network", "pooling", "loss") if getattr(self, name)}
        return msgspec.structs.replace(training, **own)


class Adapt(Record, frozen=True):
    """What a recipe changes by itself when the songs are few, short or very many.

    Attributes
    ----------
    below_songs : int
        With fewer songs only the recipe's last branch is trained (0: never).
    short_windows : bool
        Windows are at most half as long as the middle song, and at least one second.
    most_visits : int
        Epochs are cut so that a member sees about so many songs in all (0: never).
    """

    below_songs: Annotated[int, Meta(ge=0)] = 0
    short_windows: bool = False
    most_visits: Annotated[int, Meta(ge=0)] = 0


class Recipe(Record, frozen=True):
    """A named set of choices: everything needed to go from songs to a model.

    Attributes
    ----------
    training : Training
        Of the network, or of the first branch.
    branches : tuple of Training
        Further kinds of networks on the same frames, joined with weights that the folds give.
    encoder : str
        The encoder that listens where none is chosen; empty for none.
    encoded : tuple of Training
        Taken instead of ``training`` and ``branches`` where an encoder listens.
    without : Recipe, optional
        Taken where songs held out say that the encoder does not help; None: it is not asked.
    augment : int, 0 to 3
        Copies of a song, their sound changed, to train on (`songbag.data.changed_songs`).
    """

    name: str
    sound: Sound = Sound()
    windows: Windows = Windows()
    excerpt: Excerpt = Excerpt()
    training: Training = Training()
    branches: tuple[Training, ...] = ()
    adapt: Adapt = Adapt()
    encoder: str = ""
    encoded: tuple[Training, ...] = ()
    without: "Recipe | None" = None
    augment: Annotated[int, Meta(ge=0, le=3)] = 0

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Return the first branch's training and the further ones'."""
        return self.training, *self.branches

    def __post_init__(self) -> None:
        folds = self.training.folds
        if folds == 1 or (self.branches and not folds):
            raise SettingsError(
                f"training.folds is {folds}: nothing could weigh branches. Set 3 or more."
            )


class Limits(Record, frozen=True):
    """What one file may cost before decoding stops with a reason.

    Attributes
    ----------
    native_samples : float
        Most samples over all channels at the file's own rate.
    cpu_seconds, wall_seconds : float
        Time of the processor for decoding, and time of waiting for it.
    memory_bytes, spool_bytes : float
        Memory beyond what is in use at first, and the temporary file of a two-pass sound.
    """

    hours: Positive = 1.0  # of decoded sound
    native_samples: Positive = 4e8
    cpu_seconds: Positive = 60.0
    wall_seconds: Positive = 120.0
    memory_bytes: Positive = 2.0**30
    spool_bytes: Positive = 2.0**30
    open_files: Count = 16  # at once, beyond those already open

    @classmethod
    def of_hours(cls, hours: float) -> "Limits":
        """Scale what grows with the length of a recording to ``hours``."""
        if not 0 < hours <= 8760:
            raise SettingsError(f"max_hours is {hours:g}. Give hours above 0, up to 8760.")
        scale = max(1.0, hours)
        return cls(
            hours=hours,
            native_samples=4e8 * scale,
            cpu_seconds=60.0 * scale,
            wall_seconds=120.0 * scale,
            spool_bytes=2.0**30 * scale,
        )

    @property
    def file_bytes(self) -> float:
        """Size beyond which no file can hold so few samples, cover pictures included."""
        return 8 * self.native_samples + 2.0**28
