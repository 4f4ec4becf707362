"""From samples to frames and window starts, as operations of a graph.

The same sums as `songbag.audio.features` and `songbag.audio.windows`, over the whole song at
once; the constants are theirs. What is written there about definitions holds here.
"""

import numpy as np
from onnx import TensorProto

from songbag.audio import features, windows
from songbag.onnx_runtime.graph_builder import Nodes, real, whole
from songbag.settings import Sound, Windows


def add_frames(nodes: Nodes, waveform: str, sound: Sound) -> str:
    """Add frames (frames, sound.bands) of a waveform (samples,)."""
    if sound.feature == "waveform":
        return _frames_of_samples(nodes, waveform, sound.hop_length)
    frames = _log_mel(nodes, waveform, sound)
    if sound.top_db is not None:
        loudest = nodes.add("ReduceMax", frames, keepdims=0)
        frames = nodes.add("Max", frames, nodes.add("Sub", loudest, real(sound.top_db)))
    if sound.feature == "mfcc":
        matrix = features.cepstrum_matrix(sound.mel_bands, sound.coefficients)
        frames = nodes.add("MatMul", frames, matrix)
    return _with_deltas(nodes, frames) if sound.deltas else frames


def add_starts(nodes: Nodes, waveform: str, sound: Sound, cut: Windows) -> str:
    """Add the first frame of every window, (windows,): the window law."""
    window, hop = windows.lengths(sound, cut)
    beyond = nodes.add("Sub", _samples(nodes, waveform), whole(window))
    hops = nodes.add("Div", nodes.add("Max", beyond, whole(0)), whole(hop))
    count = nodes.add("Squeeze", nodes.add("Add", hops, whole(1)))
    k = nodes.add("Range", np.array(0), count, np.array(1))
    grid = whole(sound.hop_length * cut.stride)
    return nodes.add(
        "Mul", nodes.add("Div", nodes.add("Mul", k, whole(hop)), grid), whole(cut.stride)
    )


def add_filled(nodes: Nodes, frames: str, starts: str, length: int) -> str:
    """Add the frames up to the last window's end, taken modulo their number.

    A song of at least one window has them all; a shorter one is repeated.
    """
    end = nodes.add("Add", nodes.add("ReduceMax", starts, keepdims=0), np.array(length))
    places = nodes.add("Range", np.array(0), end, np.array(1))
    count = nodes.add("Shape", frames, start=0, end=1)
    return nodes.add("Gather", frames, nodes.add("Mod", places, count), axis=0)


def add_start_seconds(nodes: Nodes, starts: str, sound: Sound) -> str:
    """Add where each window begins, seconds (windows,)."""
    seconds = real(sound.hop_length / sound.sample_rate)
    return nodes.add("Mul", nodes.add("Cast", starts, to=TensorProto.FLOAT), seconds)


def _frames_of_samples(nodes: Nodes, waveform: str, width: int) -> str:
    samples = _samples(nodes, waveform)
    beyond = nodes.add("Sub", whole(width), nodes.add("Mod", samples, whole(width)))
    padded = nodes.add("Pad", waveform, nodes.add("Concat", whole(0), beyond, axis=0))
    return nodes.add("Reshape", padded, whole(-1, width))


def _samples(nodes: Nodes, waveform: str) -> str:
    return nodes.add("Shape", waveform)


def _log_mel(nodes: Nodes, waveform: str, sound: Sound) -> str:
    power = _power(nodes, waveform, sound)
    mel = nodes.add("MatMul", power, features.mel_matrix(sound))
    heard = nodes.add("Max", mel, real(features.FLOOR))
    return nodes.add("Mul", nodes.add("Log", heard), real(10 / np.log(10)))


def _power(nodes: Nodes, waveform: str, sound: Sound) -> str:
    """Add the power spectrum, (frames, frame_length // 2 + 1)."""
    signal = _padded(nodes, waveform, sound)
    hann = features.hann(sound.frame_length)
    # The FFT of lengths that are no power of two loses four digits in float32.
    exact = sound.frame_length & (sound.frame_length - 1) != 0
    if exact:
        signal, hann = nodes.add("Cast", signal, to=TensorProto.DOUBLE), hann.astype(np.float64)
    signal = nodes.add("Unsqueeze", signal, whole(0, 2))
    spectrum = nodes.add("STFT", signal, np.array(sound.hop_length), hann, onesided=1)
    power = nodes.add("ReduceSumSquare", spectrum, whole(-1), keepdims=0)
    power = nodes.add("Squeeze", power, whole(0))
    return nodes.add("Cast", power, to=TensorProto.FLOAT) if exact else power


def _padded(nodes: Nodes, waveform: str, sound: Sound) -> str:
    """Add the waveform between zeros, half a hop longer than its last frame needs.

    onnxruntime counts an STFT's frames in float32. With half a hop to spare the count is
    right up to millions of frames; without it the rounding may read beyond the end.
    """
    hop, length = sound.hop_length, sound.frame_length
    edge = length // 2
    samples = _samples(nodes, waveform)
    last = nodes.add("Div", nodes.add("Sub", samples, whole(length - 2 * edge)), whole(hop))
    wanted = nodes.add("Add", nodes.add("Mul", last, whole(hop)), whole(length + hop // 2 - edge))
    after = nodes.add("Sub", wanted, samples)
    pads = nodes.add("Concat", whole(edge), after, axis=0)
    return nodes.add("Pad", waveform, pads)


def _with_deltas(nodes: Nodes, frames: str) -> str:
    """Append regression slopes over neighbouring frames, the ends repeated."""
    reach = features.DELTA
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    slope = (steps / np.float32(np.sum(steps**2))).reshape(1, 1, -1, 1)
    near = nodes.add("Pad", frames, whole(reach, 0, reach, 0), mode="edge")
    slopes = nodes.add("Conv", nodes.add("Unsqueeze", near, whole(0, 1)), slope)
    return nodes.add("Concat", frames, nodes.add("Squeeze", slopes, whole(0, 1)), axis=1)
