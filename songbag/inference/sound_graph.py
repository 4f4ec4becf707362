"""From samples to frames and window starts, as operations of a graph.

The same sums as `songbag.audio.features` and `songbag.audio.windows`, over the whole song at
once; the constants are theirs. What is written there about definitions holds here.
"""

import numpy as np
from onnx import TensorProto

from songbag import parts
from songbag.audio import features, windows
from songbag.errors import ExportError
from songbag.onnx_runtime.graph_builder import GraphBuilder, float32, int64
from songbag.settings import Sound, Windows


def add_frames(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add frames (frames, sound.bands) of a waveform (samples,).

    Raises
    ------
    ExportError
        The feature of another package has no ONNX builder.
    """
    part = parts.features()[sound.feature]
    add_feature = part.load("onnx")
    if add_feature is None:
        raise ExportError(
            f"the feature '{sound.feature}' of the package {part.package} does not say how it is "
            "computed in ONNX, so there is no graph from samples to answer. Nothing was written. "
            "Predict with the library instead."
        )
    frames: str = add_feature(nodes, waveform, sound)
    return frames


def add_logmel(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.logmel`."""
    frames = _loudness(nodes, waveform, sound)
    return _with_deltas(nodes, frames) if sound.deltas else frames


def add_mfcc(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.mfcc`."""
    matrix = features.cepstrum_matrix(sound.mel_bands, sound.coefficients)
    frames = nodes.add("MatMul", _loudness(nodes, waveform, sound), matrix)
    return _with_deltas(nodes, frames) if sound.deltas else frames


def add_waveform(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.waveform`."""
    width = sound.hop_length
    beyond = nodes.add(
        "Sub", int64(width), nodes.add("Mod", _samples(nodes, waveform), int64(width))
    )
    padded = nodes.add("Pad", waveform, nodes.add("Concat", int64(0), beyond, axis=0))
    return nodes.add("Reshape", padded, int64(-1, width))


def add_starts(nodes: GraphBuilder, waveform: str, sound: Sound, cut: Windows) -> str:
    """Add the first frame of every window, (windows,): the window law."""
    window, hop = windows.window_and_hop(sound, cut)
    beyond = nodes.add("Sub", _samples(nodes, waveform), int64(window))
    hops = nodes.add("Div", nodes.add("Max", beyond, int64(0)), int64(hop))
    count = nodes.add("Squeeze", nodes.add("Add", hops, int64(1)))
    k = nodes.add("Range", np.array(0), count, np.array(1))
    grid = int64(sound.hop_length * cut.stride)
    return nodes.add(
        "Mul", nodes.add("Div", nodes.add("Mul", k, int64(hop)), grid), int64(cut.stride)
    )


def add_filled(nodes: GraphBuilder, frames: str, starts: str, length: int) -> str:
    """Add the frames up to the last window's end, taken modulo their number.

    A song of at least one window has them all; a shorter one is repeated.
    """
    end = nodes.add("Add", nodes.add("ReduceMax", starts, keepdims=0), np.array(length))
    places = nodes.add("Range", np.array(0), end, np.array(1))
    count = nodes.add("Shape", frames, start=0, end=1)
    return nodes.add("Gather", frames, nodes.add("Mod", places, count), axis=0)


def add_start_seconds(nodes: GraphBuilder, starts: str, sound: Sound) -> str:
    """Add where each window begins, seconds (windows,)."""
    seconds = float32(sound.hop_length / sound.sample_rate)
    return nodes.add("Mul", nodes.add("Cast", starts, to=TensorProto.FLOAT), seconds)


def _samples(nodes: GraphBuilder, waveform: str) -> str:
    return nodes.add("Shape", waveform)


def _loudness(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add log-mel frames (frames, mel_bands), dB, none further below the loudest than top_db."""
    power = _power(nodes, waveform, sound)
    mel = nodes.add("MatMul", power, features.mel_matrix(sound))
    floored = nodes.add("Max", mel, float32(features.FLOOR))
    frames = nodes.add("Mul", nodes.add("Log", floored), float32(10 / np.log(10)))
    if sound.top_db is None:
        return frames
    loudest = nodes.add("ReduceMax", frames, keepdims=0)
    return nodes.add("Max", frames, nodes.add("Sub", loudest, float32(sound.top_db)))


def _power(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add the power spectrum, (frames, frame_length // 2 + 1).

    onnxruntime counts an STFT's frames in float32. Zeros for half a hop more than the last
    frame needs keep the count right up to millions of frames; without them the rounding may
    read beyond the end.
    """
    hop, length = sound.hop_length, sound.frame_length
    edge, samples = length // 2, _samples(nodes, waveform)
    last = nodes.add("Div", nodes.add("Sub", samples, int64(length - 2 * edge)), int64(hop))
    wanted = nodes.add("Add", nodes.add("Mul", last, int64(hop)), int64(length + hop // 2 - edge))
    pads = nodes.add("Concat", int64(edge), nodes.add("Sub", wanted, samples), axis=0)
    signal = nodes.add("Pad", waveform, pads)
    hann = features.hann(sound.frame_length)
    # The FFT of lengths that are no power of two loses four digits in float32.
    exact = sound.frame_length & (sound.frame_length - 1) != 0
    if exact:
        signal, hann = nodes.add("Cast", signal, to=TensorProto.DOUBLE), hann.astype(np.float64)
    signal = nodes.add("Unsqueeze", signal, int64(0, 2))
    spectrum = nodes.add("STFT", signal, np.array(sound.hop_length), hann, onesided=1)
    power = nodes.add("ReduceSumSquare", spectrum, int64(-1), keepdims=0)
    power = nodes.add("Squeeze", power, int64(0))
    return nodes.add("Cast", power, to=TensorProto.FLOAT) if exact else power


def _with_deltas(nodes: GraphBuilder, frames: str) -> str:
    """Append regression slopes over neighbouring frames, the ends repeated."""
    reach = features.DELTA
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    slope = (steps / np.float32(np.sum(steps**2))).reshape(1, 1, -1, 1)
    near = nodes.add("Pad", frames, int64(reach, 0, reach, 0), mode="edge")
    slopes = nodes.add("Conv", nodes.add("Unsqueeze", near, int64(0, 1)), slope)
    return nodes.add("Concat", frames, nodes.add("Squeeze", slopes, int64(0, 1)), axis=1)
