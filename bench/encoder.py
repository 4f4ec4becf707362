"""What the encoder costs: a minute of audio, the prediction of a song, a training.

1. Core-seconds for a minute of audio, decoding left out, mel spectrum included: the original
   (musicnn 0.1.0 under TensorFlow 2.15, in an environment of its own that this script makes),
   Songbag's encoder, and the same network in torch with its two-dimensional convolutions as written
   in the paper's code. The three take turns, medians are shown.
2. A warm prediction of one song, beside decoding and encoding it and nothing else.
3. ``songbag train`` with the default recipe, with an empty and with a filled cache.

Usage: ``make bench-encoder``, or ``python bench/encoder.py [rounds] [songs.csv]``.
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

from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.extract import decode_rows
from songbag.audio.features import frame_blocks
from songbag.audio.sandbox import reuse_decoder, stop_decoder
from songbag.audio.synthesis import GENRES, synthesise
from songbag.data.audio_dataset import AudioInput
from songbag.data.song import Song
from songbag.encoders.musicnn import load
from songbag.inference.model_file import load_model
from songbag.inference.predict import predict_song
from songbag.inference.predictor import Predictor
from songbag.settings import Limits
from songbag.storage.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
EMOTIFY = ROOT.parent / "shared/data/emotify/songs.csv"
RIVAL = ROOT / ".venv-musicnn"
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


def bench_minute(rounds: int) -> None:
    """Print core-seconds a minute of the three, and ratios."""
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


def bench_prediction(rounds: int, model: Path, song: Path) -> None:
    """Print seconds of a warm prediction, and of decoding and encoding the song."""
    predictor, encoder = Predictor(load_model(model)), load()
    source, limits = Source(path=str(song)), Limits()
    heard = AudioInput(Song("x", str(song)), source, None, Path(), limits)
    times: dict[str, list[float]] = {"predict": [], "decode and encode": []}
    reuse_decoder()
    for turn in range(rounds + 1):
        began = time.perf_counter()
        predict_song(predictor, heard)
        predicted = time.perf_counter() - began
        began = time.perf_counter()
        for _ in decode_rows(source, encoder.sound, AudioReport(), limits, Path()):
            pass
        alone = time.perf_counter() - began
        if turn:
            times["predict"].append(predicted)
            times["decode and encode"].append(alone)
    stop_decoder()
    ours, least = (statistics.median(times[name]) for name in ("predict", "decode and encode"))
    print(
        f"warm prediction of {song.name}: {ours:.2f} s, {ours / least:.2f} x decoding and encoding"
    )


def bench_training(songs: Path, folder: Path) -> Path:
    """Print seconds of a training with an empty and with a filled cache; return the model."""
    model = folder / "auto.songbag"
    command = [sys.executable, "-m", "songbag", "train", str(songs), "-o", str(model), "--quiet"]
    command += ["--allow-outside", "--cache", str(folder / "cache")]
    for what in ("empty cache", "filled cache", "filled cache"):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        print(f"train {songs.name}, {what}: {time.perf_counter() - began:.1f} s", flush=True)
    return model


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    songs = Path(sys.argv[2]) if len(sys.argv) > 2 else EMOTIFY
    bench_minute(rounds)
    if not songs.exists():
        sys.exit(f"{songs}: no such table; name one for the other figures")
    with tempfile.TemporaryDirectory() as folder:
        model = bench_training(songs, Path(folder))
        first = songs.parent / read_csv(songs)[0]["path"]
        bench_prediction(rounds, model, first)


if __name__ == "__main__":
    main()
