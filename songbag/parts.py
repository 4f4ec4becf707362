"""Parts that are chosen by name: poolings, networks, features and encoders.

A part is described by one object with plain attributes, so that the command line, the checks
before a training and prediction can ask what it is without importing numpy or torch. The code
behind it is named by ``target``, "module:object", and imported when the part is used.

Other packages add parts by entry points; nothing in Songbag changes for it::

    [project.entry-points."songbag.poolings"]
    midrange = "my_package.poolings:midrange"

    [project.entry-points."songbag.networks"]
    tiny = "my_package.networks:Tiny"

    [project.entry-points."songbag.features"]
    loudness = "my_package.features:LOUDNESS"

    [project.entry-points."songbag.encoders"]
    birds = "my_package.encoders:BIRDS"

An entry point names a description (`PoolingPart`, `NetworkPart`, `FeaturePart`, `EncoderPart`),
or the function or class itself. In the second case the description is taken from its
docstring's first line and from those of its attributes that are called as the fields of the
description; what is not stated has the field's default. The function of a pooling without more
is therefore a pooling whose ``space`` is None. The module that an entry point names is imported
when the part is asked for by its name.

Examples
--------
>>> poolings()["vote"].space is None
True
>>> [name for name in networks() if networks()[name].linear]
['kernel', 'linear', 'probe', 'statistics']
>>> poolings()["votes"]
Traceback (most recent call last):
songbag.errors.SettingsError: there is no pooling 'votes'. Did you mean 'vote'?
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from songbag.errors import SettingsError
from songbag.registry import Part, Registry, Target

if TYPE_CHECKING:
    from songbag.settings import Sound


@dataclass(frozen=True, kw_only=True)
class PoolingPart(Part):
    """How the windows' logits of a song become the song's logits.

    The target takes logits (songs, windows, classes) and returns song logits (songs, classes),
    in operations of torch that ONNX has too. If it has the parameters ``scores`` and
    ``multilabel``, it is also given the scores (songs, windows, k) that its scorer makes, and
    whether the task is multilabel.

    Attributes
    ----------
    space : {"logit", "probability"} or None
        Where the song's score is a weighted sum of the windows' values. None: nowhere, and a
        window's contribution is what leaving it out takes away.
    weights : str or callable
        For a space: to weights (songs, windows, classes) that sum to one over the windows,
        with the parameters of the target.
    left_out : str or callable
        Without a space: to song logits without each window, (songs, windows, classes), where
        there is a quicker way than pooling the others again.
    scorer : {"", "attention", "gated"} or float
        What makes the scores: nothing, a small network on a window's embedding, or a learned
        number that starts at this value.
    differentiable : bool
        Whether a loss on the song can be trained through it.
    linear : bool
        Whether the song's logits are linear in the windows': then a linear network can be
        solved exactly.
    bag_size_bias : bool
        Whether the answer changes when every window comes twice.
    overconfident : bool
        Whether its probabilities mean nothing before calibration: a single network is then
        calibrated on songs held out in turn.
    """

    space: Literal["logit", "probability"] | None = None
    weights: Target = ""
    left_out: Target = ""
    scorer: str | float = ""
    differentiable: bool = True
    linear: bool = False
    bag_size_bias: bool = False
    overconfident: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkPart(Part):
    """What turns one window into logits.

    The target is called with the shape of a window and the number of outputs and, if it has the
    parameter, with ``dropout``. It returns an ``nn.Module`` from windows (windows, ...) to
    outputs (windows, outputs); `songbag.models.networks` says how overlapping windows can share
    a trunk.

    Attributes
    ----------
    takes : {"matrix", "any", "hidden"}
        Whether windows must be matrices, or may be vectors too; "hidden": the hidden layer of
        an encoder's own head. Of an encoder "any" takes the vector, "matrix" the spectra beside it.
    scaled : bool
        Whether it is given values with zero mean and unit deviation over the training songs.
    linear : bool
        Whether it is one linear layer on fixed features, a
        `songbag.models.song_statistics.LinearHead`, which can be solved exactly.
    solver : {"lbfgs", "ridge"}
        The optimizer that solves it, where it is linear.
    missing : bool
        Whether windows may have missing values (NaN).
    """

    takes: Literal["matrix", "any", "hidden"] = "any"
    scaled: bool = True
    linear: bool = False
    solver: Literal["lbfgs", "ridge"] = "lbfgs"
    missing: bool = False


@dataclass(frozen=True, kw_only=True)
class FeaturePart(Part):
    """What a frame of a song holds.

    The target is called with an iterable of blocks of samples (n,), float32, and the `Sound`; it
    yields frames (n, bands), float32, 1 + samples // hop_length in all, as
    `songbag.audio.features.logmel` does. The same song must give the same frames however its
    samples are cut into blocks. It runs in a process of its own, with the limits of one file.

    Attributes
    ----------
    bands : callable
        From the `Sound` to the values of a frame. Raises SettingsError for settings with which
        there is no frame.
    is_waveform : bool
        Whether frames are the samples themselves, as encoders take them.
    onnx : str or callable
        Adds the same computation to an ONNX graph, as `songbag.inference.sound_graph.add_logmel`
        does. Without it a model cannot be exported as one graph from samples to answer.
    version : int
        To be raised when the numbers change, so that cached frames are computed again.
    """

    bands: "Callable[[Sound], int]" = lambda sound: sound.mel_bands
    is_waveform: bool = False
    onnx: Target = ""
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class EncoderPart(Part):
    """A pre-trained network whose vectors are learned on instead of frames.

    The target is called without arguments and returns a `songbag.encoders.encoder.Encoder`, which
    says what it was trained on.
    """


@cache
def poolings() -> Registry[PoolingPart]:
    """Return all poolings by name."""
    return Registry(PoolingPart, "pooling", _POOLINGS)


@cache
def networks() -> Registry[NetworkPart]:
    """Return all networks by name.

    Examples
    --------
    >>> [name for name in networks() if networks()[name].takes == "matrix"]
    ['cnn', 'cnn1d', 'founding', 'statistics']
    """
    return Registry(NetworkPart, "network", _NETWORKS)


@cache
def features() -> Registry[FeaturePart]:
    """Return all features by name.

    Examples
    --------
    >>> list(features())
    ['logmel', 'mfcc', 'waveform']
    """
    return Registry(FeaturePart, "feature", _FEATURES)


@cache
def encoders() -> Registry[EncoderPart]:
    """Return all encoders by name.

    Examples
    --------
    >>> list(encoders())
    ['musicnn']
    """
    return Registry(EncoderPart, "encoder", _ENCODERS)


# --- Songbag's own ---

_POOLINGS = (
    PoolingPart(
        name="mean_logit",
        summary="the mean of the windows' logits: sure windows count more",
        target="songbag.models.pooling:mean_logit",
        space="logit",
        weights="songbag.models.pooling:uniform",
        linear=True,
    ),
    PoolingPart(
        name="mean_probability",
        summary="the mean of the windows' probabilities: outliers do little harm",
        target="songbag.models.pooling:mean_probability",
        space="probability",
        weights="songbag.models.pooling:uniform",
    ),
    PoolingPart(
        name="vote",
        summary="the chance of winning a majority vote of the windows",
        target="songbag.models.vote:vote",
        left_out="songbag.models.vote:vote_left_out",
        bag_size_bias=True,
        overconfident=True,  # it takes windows as independent
    ),
    PoolingPart(
        name="hard_vote",
        summary="the share of the windows' votes, for networks with a loss on the window",
        target="songbag.models.pooling:hard_vote",
        differentiable=False,
        bag_size_bias=True,
    ),
    PoolingPart(
        name="max",
        summary="the strongest window, class by class",
        target="songbag.models.pooling:max_logit",
        space="logit",
        weights="songbag.models.pooling:max_weights",
    ),
    PoolingPart(
        name="top_k",
        summary="the mean of the strongest quarter of the windows, class by class",
        target="songbag.models.pooling:top_k",
        space="logit",
        weights="songbag.models.pooling:top_weights",
    ),
    PoolingPart(
        name="log_mean_exp",
        summary="a smooth maximum whose sharpness is learned",
        target="songbag.models.pooling:log_mean_exp",
        scorer=0.5413,  # softplus gives 1
    ),
    PoolingPart(
        name="linear_softmax",
        summary="windows weighted by their own probability",
        target="songbag.models.pooling:linear_softmax",
        space="probability",
        weights="songbag.models.pooling:linear_weights",
    ),
    PoolingPart(
        name="power",
        summary="windows weighted by a learned power of their probability",
        target="songbag.models.pooling:power",
        space="probability",
        weights="songbag.models.pooling:power_weights",
        scorer=0.5413,  # softplus gives 1
    ),
    PoolingPart(
        name="autopool",
        summary="windows weighted by a learned softmax of their probability",
        target="songbag.models.pooling:autopool",
        space="probability",
        weights="songbag.models.pooling:autopool_weights",
        scorer=0.0,
    ),
    PoolingPart(
        name="attention",
        summary="logits weighted by a small network on the window's embedding",
        target="songbag.models.pooling:attention",
        space="logit",
        weights="songbag.models.pooling:attention_weights",
        scorer="attention",
    ),
    PoolingPart(
        name="gated_attention",
        summary="as attention, with a gate in the small network",
        target="songbag.models.pooling:attention",
        space="logit",
        weights="songbag.models.pooling:attention_weights",
        scorer="gated",
    ),
    PoolingPart(
        name="conjunctive",
        summary="logits weighted by gates that do not compete with each other",
        target="songbag.models.pooling:conjunctive",
        space="logit",
        weights="songbag.models.pooling:gate_weights",
        scorer="attention",
    ),
    PoolingPart(
        name="noisy_or",
        summary="the chance that at least one window is of the class",
        target="songbag.models.pooling:noisy_or",
        bag_size_bias=True,
    ),
)

_NETWORKS = (
    NetworkPart(
        name="cnn",
        summary="four blocks of 3 x 3 convolution on log-mel windows",
        target="songbag.models.networks:Cnn",
        takes="matrix",
    ),
    NetworkPart(
        name="cnn1d",
        summary="three blocks of convolution over time, the bands being channels",
        target="songbag.models.networks:Cnn1d",
        takes="matrix",
    ),
    NetworkPart(
        name="founding",
        summary="the network of the founding question's answer, on raw MFCC",
        target="songbag.models.networks:Founding",
        takes="matrix",
        scaled=False,
    ),
    NetworkPart(
        name="kernel",
        summary="one linear layer on a window's likeness to landmarks",
        target="songbag.models.kernel_machine:Kernel",
        scaled=False,  # it scales its values
        linear=True,
        solver="ridge",
        missing=True,
    ),
    NetworkPart(
        name="linear",
        summary="one linear layer on a window's values, such as an embedding",
        target="songbag.models.song_statistics:Linear",
        scaled=False,  # it scales its features
        linear=True,
    ),
    NetworkPart(
        name="probe",
        summary="one linear layer on the hidden layer of the encoder's own head",
        target="songbag.models.song_statistics:Linear",
        takes="hidden",
        scaled=False,  # it scales its features
        linear=True,
    ),
    NetworkPart(
        name="mlp",
        summary="two hidden layers on a window's values",
        target="songbag.models.networks:Mlp",
    ),
    NetworkPart(
        name="statistics",
        summary="one linear layer on statistics of a log-mel window",
        target="songbag.models.song_statistics:Statistics",
        takes="matrix",
        scaled=False,  # it scales its features
        linear=True,
    ),
)


def _with_deltas(rows: int, sound: "Sound") -> int:
    return 2 * rows if sound.deltas else rows


def _mfcc_bands(sound: "Sound") -> int:
    if sound.coefficients > sound.mel_bands:
        raise SettingsError(
            f"sound.coefficients is {sound.coefficients}, but there are only {sound.mel_bands} "
            "mel_bands to make them from. Lower the one or raise the other."
        )
    return _with_deltas(sound.coefficients, sound)


_FEATURES = (
    FeaturePart(
        name="logmel",
        summary="levels of mel bands, dB",
        target="songbag.audio.features:logmel",
        bands=lambda sound: _with_deltas(sound.mel_bands, sound),
        onnx="songbag.inference.sound_graph:add_logmel",
    ),
    FeaturePart(
        name="mfcc",
        summary="mel-frequency cepstral coefficients",
        target="songbag.audio.features:mfcc",
        bands=_mfcc_bands,
        onnx="songbag.inference.sound_graph:add_mfcc",
    ),
    FeaturePart(
        name="waveform",
        summary="the samples themselves, for an encoder",
        target="songbag.audio.features:waveform",
        bands=lambda sound: sound.hop_length,
        is_waveform=True,
        onnx="songbag.inference.sound_graph:add_waveform",
    ),
)

_ENCODERS = (
    EncoderPart(
        name="musicnn",
        summary="50 tags of music: genres, moods, instruments, decades",
        target="songbag.encoders.musicnn:load",
    ),
)
