"""What the exact vote costs: beside a training step of the founding network, and on long songs.

python bench/vote.py
"""

import time

import numpy as np
import torch

from songbag.data.bag import Bag
from songbag.data.song import Song
from songbag.models.vote import vote
from songbag.settings import Training
from songbag.training.trainer import train_network


def median(work, rounds=21):
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * sorted(times)[rounds // 2]


def forward_and_backward(songs, windows, classes):
    logits = torch.randn(songs, windows, classes, requires_grad=True)
    return lambda: vote(logits)[:, 0].sum().backward()


def training_step(pooling, classes):
    """Milliseconds a step: eight songs of 23 founding windows, all of them, one epoch of many."""
    rng = np.random.default_rng(0)
    starts = np.arange(23, dtype=np.int64) * 102
    bags = [
        Bag(Song(str(k), ""), rng.normal(size=(2600, 13)).astype(np.float32), starts)
        for k in range(64)
    ]
    y = np.arange(64) % classes
    training = Training(
        network="founding", pooling=pooling, optimizer="rmsprop", windows_per_song=0, epochs=6,
        schedule="constant", keep="last",
    )  # fmt: skip
    rows = train_network((bags, y), classes, training, (216, 13), 0).history
    return 1000 * float(np.median([row["seconds"] for row in rows[1:]])) / 8


def main() -> None:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for classes in (2, 4):
            alone = median(forward_and_backward(8, 23, classes))
            step = min(training_step("mean_probability", classes) for _ in range(3))
            print(
                f"{threads} thread(s), {classes} classes: vote of 8 songs x 23 windows "
                f"{alone:.2f} ms, training step {step:.1f} ms: {100 * alone / step:.0f} %"
            )
        for windows in (2000, 5000):
            print(
                f"{threads} thread(s), one song of {windows} windows: "
                f"{median(forward_and_backward(1, windows, 2), 7):.0f} ms"
            )


if __name__ == "__main__":
    main()
