"""A timeline every 0.5 s instead of every 2.5 s: what the finer one costs."""

import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from measuring import Row, finish, interleaved, told
from songs import songs


def our_times(rounds):
    """Return the seconds of a coarse and a fine timeline, from frames and from the file."""
    import torch

    from songbag.audio.audio_file import AudioReport
    from songbag.audio.features import frames
    from songbag.audio.waveform import read_blocks
    from songbag.console import Console
    from songbag.data.open_songs import AudioOptions, open_audio
    from songbag.inference.model_file import Model
    from songbag.inference.predict import predict_file
    from songbag.inference.predictor import Predictor
    from songbag.recipes.load import load_recipe
    from songbag.settings import Limits
    from songbag.tasks.train import train

    torch.set_num_threads(1)
    recipe = load_recipe("founding", {"training.epochs": 1})
    with tempfile.TemporaryDirectory() as name:
        few = open_audio(songs()["few"], AudioOptions(Path(name) / "cache"))
        model = train(few, recipe, Console(quiet=True)).model
    song = few.songs[0]
    rate = recipe.sound.sample_rate
    waveform = np.concatenate(list(read_blocks(song.path, rate, AudioReport())))
    heard = frames(waveform, recipe.sound)
    works = {}
    for hop in (2.5, 0.5):
        cut = msgspec.structs.replace(model.card.recipe.windows, hop_seconds=hop)
        changed = msgspec.structs.replace(model.card.recipe, windows=cut)
        card = msgspec.structs.replace(model.card, recipe=changed)
        predictor = Predictor(Model(card, model.parts))
        works[f"frames {hop}"] = lambda p=predictor: p.predict([heard], lambda: len(waveform))
        works[f"file {hop}"] = lambda p=predictor: predict_file(p, song, Limits())
    return interleaved(works, rounds, warm=3)


def their_times(rounds):
    """Return the seconds of the founding program for windows every 2.5 s and 0.5 s."""
    import librosa
    from founding import BANDS, HOP, RATE, WINDOW, read_table, song_model

    path = read_table(songs()["all"])[0][0]
    models = {}

    def run(hop):
        waveform, _ = librosa.load(path, sr=RATE)
        cut = librosa.util.frame(waveform, frame_length=WINDOW, hop_length=int(hop * RATE))
        asked = {"sr": RATE, "n_mfcc": BANDS, "hop_length": HOP, "n_fft": 2 * HOP}
        x = np.stack([librosa.feature.mfcc(y=one, **asked) for one in cut.T])[None, ..., None]
        if hop not in models:
            models[hop] = song_model(*x.shape[1:4], 3)
        models[hop].predict(x, verbose=0)

    return interleaved({hop: lambda hop=hop: run(hop) for hop in (2.5, 0.5)}, rounds)


def main():
    rounds = 5 if os.environ.get("BENCH_QUICK") else 15
    ours, theirs = our_times(rounds), their_times(max(3, rounds // 3))
    rows = []
    for kind, text in (("frames", "frames in memory"), ("file", "from the file")):
        fine, coarse = ours[f"{kind} 0.5"], ours[f"{kind} 2.5"]
        both = f"{told(coarse, 'ms')} to {told(fine, 'ms')}"
        other = f"{told(theirs[2.5], 'ms')} to {told(theirs[0.5], 'ms')}" if kind == "file" else ""
        rows.append(Row(f"timeline-{kind}", f"timeline every 0.5 s instead of 2.5 s, {text}", both,
                        other, round(fine / coarse, 2), "≤ 1.5×", fine / coarse <= 1.5,
                        higher=False))  # fmt: skip
    rows.append(Row("timeline-theirs", "the same of the founding program", "", other,
                    round(theirs[0.5] / theirs[2.5], 2), "", higher=False))  # fmt: skip
    finish(rows)


if __name__ == "__main__":
    main()
