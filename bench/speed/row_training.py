"""Training and warm prediction: the founding network on the same frames, from equal weights.

200 songs, 23 windows each, batches of 8, RMSprop 1e-3, all cores; Keras on each backend.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from measuring import SONGBAG, Contestant, Row, finish, interleaved, ratio_row, share_row
from songs import COUNT, FOLDER, songs

LEAST = {"torch": 8, "tensorflow": 3, "jax": 8}


def prepare(folder):
    """Write the frames of all songs, equal starting weights, and a model for prediction."""
    import msgspec
    import torch

    from songbag.data.open_songs import AudioOptions, open_audio
    from songbag.metrics.label_kinds import SINGLE_LABEL
    from songbag.models.build import build, scale_of, song_pooling
    from songbag.recipes.load import load_recipe
    from songbag.settings import Own

    table, recipe = songs()["all"], load_recipe("founding")
    cache = FOLDER / "cache"
    dataset = open_audio(table, AudioOptions(cache)).load(recipe)
    cut = msgspec.structs.replace(recipe.windows, stride=6)
    bags = dataset.cut(recipe.sound, cut)
    mean, deviation = scale_of(bags)
    names = sorted({bag.label for bag in bags})
    torch.manual_seed(0)
    pooling = song_pooling("mean_probability", Own(), len(names), SINGLE_LABEL)
    torch.manual_seed(0)
    network = build("founding", (216, 13), pooling, 0.0, None, False)
    turn = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
    weights = [p.detach().numpy().transpose(turn[p.ndim]) for p in network.parameters()]
    raw = np.stack([bag.features for bag in bags])
    np.savez(
        folder / "data.npz", raw=raw, frames=(raw - mean) / deviation, starts=bags[0].starts,
        y=[names.index(bag.label) for bag in bags], length=216, samples=bags[0].samples,
        **{f"weight{number}": weight for number, weight in enumerate(weights)},
    )  # fmt: skip
    train = ["train", str(table), "-o", str(folder / "m.songbag"), "--recipe", "founding"]
    rest = ["--epochs", "2", "--cache", str(cache), "--quiet"]
    subprocess.run([*SONGBAG, *train, *rest], check=True, capture_output=True)
    return table, cache


def rows_of(contestants, rounds):
    """Return the rows, and what is said about the losses."""
    losses = {name: one.ask("losses") for name, one in contestants.items()}
    ask = {name: {w: (lambda w=w, one=one: one.ask(w)) for w in ("train", "predict", "cached")}
           for name, one in contestants.items()}  # fmt: skip
    times = {
        word: interleaved({name: ask[name][word] for name in contestants}, count)
        for word, count in (("train", rounds), ("predict", 2 * rounds), ("cached", 2 * rounds))
    }
    for name in LEAST:
        work = f"training, one epoch of {COUNT} songs, against Keras on {name}"
        yield ratio_row(f"training-{name}", work, times["train"]["ours"], times["train"][name],
                        LEAST[name])  # fmt: skip
        worst = max(abs(a / b - 1) for a, b in zip(losses["ours"], losses[name], strict=True))
        told = ["  ".join(f"{loss:.4f}" for loss in losses[side]) for side in ("ours", name)]
        yield Row(f"losses-{name}", f"losses of 5 epochs from equal weights, {name}", *told,
                  round(worst, 5), "within 1 %", worst <= 0.01, higher=False)  # fmt: skip
    for word, text in (("cached", f"{COUNT} songs, features read from the disk"),
                       ("predict", f"{COUNT} songs, features in memory")):  # fmt: skip
        least = 6 if word == "cached" else None
        yield ratio_row(f"prediction-{word}", f"warm prediction, {text}, against TensorFlow",
                        times[word]["ours"], times[word]["tensorflow"], least, "ms")  # fmt: skip


def network_share():
    """Return the share of a training's time inside the network, and a text."""
    import time

    import torch

    from songbag.data.bag import Bag
    from songbag.data.dataset import MemoryDataset
    from songbag.data.song import Song
    from songbag.models import optimizers, song_network
    from songbag.settings import Training
    from songbag.training import trainer

    spent = {"forward": 0.0, "backward": 0.0, "optimiser": 0.0, "pooling and loss": 0.0}

    def timed(name, work):
        def run(*arguments, **named):
            began = time.perf_counter()
            found = work(*arguments, **named)
            spent[name] += time.perf_counter() - began
            return found

        return run

    rng = np.random.default_rng(0)
    starts = 6 * (np.arange(23) * 55125 // (512 * 6))
    frames = (rng.normal(size=(2584, 13)).astype(np.float32) for _ in range(200))
    bags = MemoryDataset([Bag(Song(str(n), ""), one, starts) for n, one in enumerate(frames)])
    network = song_network.SongNetwork
    kept = [(network, "song", "forward"), (network, "forward", "forward"),
            (torch.Tensor, "backward", "backward"), (optimizers.RMSprop, "step", "optimiser"),
            (trainer.Trainer, "song_losses", "pooling and loss")]  # fmt: skip
    before = [(place, name, getattr(place, name)) for place, name, _ in kept]
    training = Training(
        network="founding", pooling="mean_probability", optimizer="rmsprop", epochs=5,
        schedule="constant", windows_per_song=0, keep="last",
    )  # fmt: skip
    y = np.arange(200) % 3
    for place, name, part in kept:
        setattr(place, name, timed(part, getattr(place, name)))
    try:
        history = trainer.train_network((bags, y), 3, training, (216, 13), 0).history
    finally:
        for place, name, old in before:
            setattr(place, name, old)
    total = sum(row["seconds"] for row in history)
    text = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in spent.items())
    return sum(
        spent.values()
    ) / total, f"Training of the founding network: {text}, the rest batches."


def main():
    rounds = 3 if os.environ.get("BENCH_QUICK") else 7
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, cache = prepare(folder)
        data, model = folder / "data.npz", folder / "m.songbag"
        contestants = {"ours": Contestant("contestant.py", "ours", data, model, table, cache)}
        for backend in LEAST:
            features = folder / f"{backend}.npy"
            contestants[backend] = Contestant("contestant.py", "keras", data, features,
                                              KERAS_BACKEND=backend)  # fmt: skip
        rows = list(rows_of(contestants, rounds))
        for one in contestants.values():
            one.close()
    share, text = network_share()
    rows.append(share_row("training-share", "share of training inside the network", share, 0.8))
    finish(rows, [text])


if __name__ == "__main__":
    main()
