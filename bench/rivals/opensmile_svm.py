"""openSMILE's ComParE 2016 functionals of a song, and scikit-learn's linear SVM, C searched."""

import opensmile
import soundfile
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

smile = opensmile.Smile(feature_set=opensmile.FeatureSet.ComParE_2016)


def describe(path, windows):
    samples, rate = soundfile.read(path)
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return smile.process_signal(mono, rate).to_numpy()[0]


def train(songs, labels):
    grid = {"linearsvc__C": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]}
    return GridSearchCV(make_pipeline(StandardScaler(), LinearSVC()), grid).fit(songs, labels)


def predict(model, songs):
    return model.predict(songs)
