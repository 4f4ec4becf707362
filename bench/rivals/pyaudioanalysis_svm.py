"""pyAudioAnalysis: its mid-term features, mean over a song, and its linear SVM."""

import numpy as np
import soundfile
from pyAudioAnalysis import MidTermFeatures, audioTrainTest


def describe(path, windows):
    samples, rate = soundfile.read(path)
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    mid, _, _ = MidTermFeatures.mid_feature_extraction(
        mono, rate, rate, rate, round(0.05 * rate), round(0.05 * rate)
    )
    return np.nan_to_num(mid.mean(axis=1))


def train(songs, labels):
    names = sorted(set(labels))
    x, y = np.array(songs), np.array([names.index(label) for label in labels])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    return names, audioTrainTest.train_svm((x - mean) / deviation, y, 1.0), mean, deviation


def predict(trained, songs):
    names, svm, mean, deviation = trained
    return [names[place] for place in svm.predict((np.array(songs) - mean) / deviation)]
