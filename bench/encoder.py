"""What a minute of audio costs in the encoder, beside the original and a plain convolution.

The original (musicnn 0.1.0 under TensorFlow 2.15, in an environment of its own that this script
makes), Songbag's encoder, and the same network in torch with its two-dimensional convolutions as
written in the paper's code. Core-seconds for a minute of audio, decoding left out, mel spectrum
included; the three take turns, medians are shown.

Usage: ``make bench-encoder``, or ``python bench/encoder.py [rounds]``.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn
from torch.nn import functional

from songbag.audio.features import frame_blocks
from songbag.audio.synthesis import GENRES, synthesise
from songbag.encoders.musicnn import load

RIVAL = Path(__file__).parent.parent / ".venv-musicnn"
RATE, SECONDS = 16000, 60
ORIGINAL = """
import contextlib, io, sys, time
from musicnn.extractor import extractor
for line in sys.stdin:
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        extractor(line.strip(), model="MSD_musicnn", extract_features=True)
    print(time.process_time() - began, flush=True)
"""


def rival() -> subprocess.Popen:
    """Start the original in its own environment, which is made first if it is not there."""
    python = RIVAL / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", RIVAL], check=True)
        pip = [python, "-m", "pip", "install", "-q"]
        packages = ["tensorflow-cpu==2.15.1", "numpy<2", "librosa", "soundfile", "setuptools<81"]
        subprocess.run([*pip, *packages], check=True)
        subprocess.run([*pip, "--no-deps", "musicnn==0.1.0"], check=True)
    return subprocess.Popen(
        [python, "-W", "ignore", "-c", ORIGINAL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


class Plain(nn.Module):
    """The front-end's two timbral branches as two-dimensional convolutions, and the rest.

    Weights are random: only the work counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.timbral = nn.ModuleList(nn.Conv2d(1, 204, (7, bands)) for bands in (38, 67))
        self.temporal = nn.ModuleList(nn.Conv2d(1, 51, (taps, 1)) for taps in (128, 64, 32))
        self.middle = nn.ModuleList(nn.Conv1d(n, 64, 7, padding=3) for n in (561, 64, 64))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (204, 204, 51, 51, 51))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return channels (753, frames) of mel (frames, 96)."""
        image, parts = mel[None, None], []
        convolutions = [*self.timbral, *self.temporal]
        for convolution, norm in zip(convolutions, self.norms, strict=True):
            taps = convolution.kernel_size[0]
            padded = functional.pad(image, (0, 0, (taps - 1) // 2, taps // 2))
            parts.append(norm(functional.relu(convolution(padded))).amax(dim=3)[0])
        layers = [torch.cat(parts)]
        for convolution in self.middle:
            seen = functional.relu(convolution(layers[-1][None]))[0]
            layers.append(seen + layers[-1] if len(layers) > 1 else seen)
        return torch.cat(layers)


def main() -> None:
    """Print core-seconds a minute of the three, and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    encoder, plain = load(), Plain().eval()
    samples = synthesise(GENRES[0], np.random.default_rng(0), SECONDS, RATE)
    times: dict[str, list[float]] = {"original": [], "songbag": [], "plain torch": []}
    with tempfile.TemporaryDirectory() as folder, rival() as original:
        file = Path(folder) / "song.wav"
        soundfile.write(file, samples, RATE, subtype="FLOAT")
        for turn in range(rounds + 1):
            original.stdin.write(f"{file}\n")
            original.stdin.flush()
            seconds = {"original": float(original.stdout.readline())}
            began = time.process_time()
            for _ in encoder.rows(frame_blocks([samples], encoder.sound.frames)):
                pass
            seconds["songbag"] = time.process_time() - began
            began = time.process_time()
            mel = np.concatenate(list(frame_blocks([samples], encoder.sound.frames)))
            with torch.no_grad():
                for piece in torch.from_numpy(mel).split(187):
                    plain(piece)
            seconds["plain torch"] = time.process_time() - began
            if turn:  # the first loads and compiles
                for name, value in seconds.items():
                    times[name].append(value)
            print({name: round(value, 2) for name, value in seconds.items()}, flush=True)
        original.stdin.close()
    ours = statistics.median(times["songbag"])
    print(f"{platform.processor() or platform.machine()}, {rounds} rounds, core-seconds a minute")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:12} {median:6.2f}   {median / ours:5.2f} x songbag")


if __name__ == "__main__":
    main()
