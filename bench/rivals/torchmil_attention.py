"""torchmil's attention MIL (ABMIL) on the encoder's vectors of windows, one label against all.

Its classifier has one logit, so each label has a network of its own.
"""

import numpy as np
import torch
from torchmil.models import ABMIL


def describe(path, windows):
    return windows


def train(songs, labels):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small are its networks
    everything = np.concatenate(songs)
    mean, deviation = everything.mean(axis=0), everything.std(axis=0) + 1e-6
    names, models = sorted(set(labels)), []
    for name in names:
        model = ABMIL((everything.shape[1],))
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-3)
        for _ in range(20):
            for place in torch.randperm(len(songs)).tolist():
                x = torch.tensor((songs[place] - mean) / deviation, dtype=torch.float32)[None]
                y = torch.tensor([float(labels[place] == name)])
                optimiser.zero_grad()
                torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
                optimiser.step()
        models.append(model.eval())
    return names, models, mean, deviation


def predict(trained, songs):
    names, models, mean, deviation = trained
    answers = []
    with torch.no_grad():
        for song in songs:
            x = torch.tensor((song - mean) / deviation, dtype=torch.float32)[None]
            answers.append(names[int(np.argmax([float(model(x)) for model in models]))])
    return answers
