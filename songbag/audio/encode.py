"""Waveforms to files: what the generator of songs, excerpts and tests write."""

from pathlib import Path

import av
import numpy as np

from songbag.audio.downmix import Samples

_CODECS = {
    ".wav": ("pcm_s16le", "s16"),
    ".flac": ("flac", "s16"),
    ".opus": ("libopus", "flt"),
    ".webm": ("libopus", "flt"),
    ".mp3": ("libmp3lame", "fltp"),
    ".m4a": ("aac", "fltp"),
}


def write_waveform(
    path: str | Path, waveform: Samples, sample_rate: int, bit_rate: int = 128_000
) -> None:
    """Write a mono or (channels, samples) waveform; the name's ending chooses the format.

    Opus is always written at 48 kHz, as its format demands.
    """
    ending = Path(path).suffix.lower()
    if ending not in _CODECS:
        raise ValueError(f"cannot write '{ending}'; known: {', '.join(_CODECS)}")
    codec, sample_format = _CODECS[ending]
    planes = np.ascontiguousarray(np.atleast_2d(waveform), dtype=np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    rate = 48_000 if codec == "libopus" else sample_rate
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        stream.codec_context.open()
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(sample_format, layout, rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
