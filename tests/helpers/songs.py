"""Songs, trainings and predictions as tests want them: in one call."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.data.song import Song, split_labels
from songbag.inference.model_file import load_model
from songbag.inference.predict import predict
from songbag.metrics.label_kinds import kind_of
from songbag.settings import Limits
from songbag.storage.files import default_folder
from songbag.tasks.train import train, write_training

QUIET = Console(quiet=True)


def audio_dataset(songs, cache=None, workers=1, limits=None):
    """A dataset of a songs.csv or folder, or of a list of `Song`."""
    cache = cache or default_folder()
    if isinstance(songs, list):
        return AudioDataset(songs, "the songs", cache, limits or Limits(), workers)
    return open_audio(songs, AudioOptions(cache, workers=workers, allow_outside=True))


def predict_files(songs, model_path, cache=None, workers=1):
    """Predictions of songs or paths by a model file."""
    songs = [song if isinstance(song, Song) else Song(str(song), str(song)) for song in songs]
    return list(predict(load_model(model_path), audio_dataset(songs, cache, workers)))


@dataclass
class Trained:
    """A training's result and where it was written."""

    training: object
    model_path: Path
    folder: Path

    @property
    def evaluation(self):
        return self.training.evaluation

    @property
    def certificate(self):
        return self.training.split.certificate

    @property
    def history(self):
        return self.training.history


def train_file(songs, path, recipe, console=QUIET, **options):
    """Train on songs and write the model file and its folder."""
    training = train(songs, recipe, console, model_path=path, **options)
    return Trained(training, path, write_training(training, path, console))


def figures_of(rows, labels, multilabel=False):
    """The metrics again, from rows of predictions.csv alone."""
    kind = kind_of(multilabel)
    rows = [row for row in rows if row["status"] == "ok"]
    sets = {
        name: [split_labels(row[name]) if multilabel else (row[name],) for row in rows]
        for name in ("label", "predicted")
    }
    p = np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows])
    groups = np.unique([row["group"] or row["id"] for row in rows], return_inverse=True)[1]
    decisions = kind.targets(kind.truths(sets["predicted"], labels), len(labels)) > 0
    y = kind.truths(sets["label"], labels)
    found = kind.evaluate(y, kind.normalized(p), labels, decisions, groups)
    windows = sum(int(row["windows"]) for row in rows)
    right = sum(float(row["windows_right"]) for row in rows)
    baselines = {
        name: np.mean([row[f"baseline_{name}"] == row["label"] for row in rows])
        for name in ("majority", "level")
        if all(row[f"baseline_{name}"] for row in rows)
    }
    return found | {"window_accuracy": right / windows, "baselines": baselines}
