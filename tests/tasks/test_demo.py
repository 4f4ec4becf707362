"""The generated songs: what they promise about themselves, and the job on them."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from songbag.audio import features
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.song import Song
from songbag.models.song_network import SongPooling, song_logits
from songbag.parts import poolings
from songbag.recipes.load import load_recipe
from songbag.settings import Sound, Windows
from songbag.tasks.demo import SECONDS
from songbag.training.trainer import train_network

SONGS = 40  # a genre
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def made():
    """120 songs: waveforms' level and mean spectrum, bags of founding MFCC, labels."""
    recipe = load_recipe("founding")
    cut = Windows(stride=6)
    levels, spectra, bags = [], [], []
    y = np.repeat(np.arange(3), SONGS)
    for number, genre in enumerate(y):
        song = synthesise(GENRES[genre], np.random.default_rng([5, number]), SECONDS)
        levels.append(10 * np.log10(np.mean(song**2) + 1e-10))
        spectra.append(features.frames(song, Sound(mel_bands=128)).mean(axis=0))
        frames = features.frames(song, recipe.sound)
        starts = window_starts(len(song), recipe.sound, cut)
        bags.append(Bag(Song(str(number), "", GENRES[genre]), frames, starts))
    return np.array(levels), np.array(spectra), bags, y


def test_the_same_seed_gives_the_same_song():
    one, two, other = (synthesise("waltz", np.random.default_rng(seed), 3.0) for seed in (1, 1, 2))
    assert (one == two).all()
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1


def test_an_unknown_genre_is_refused():
    with pytest.raises(ValueError, match="gallop"):
        synthesise("polka", np.random.default_rng(0))


@pytest.mark.full
def test_loudness_gives_little_away(made):
    levels, _, _, y = made
    values = np.stack([levels, levels**2], axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    assert cross_val_score(model, values, y, cv=FOLDS).mean() <= 1 / 3 + 0.10


@pytest.mark.full
def test_the_mean_spectrum_is_not_enough(made):
    _, spectra, _, y = made
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    assert cross_val_score(model, spectra, y, cv=FOLDS).mean() <= 0.75


def judged(bags, labels, truth, epochs):
    """Song and window accuracy of the founding recipe, out of fold."""
    song_right, window_right = [], []
    recipe = load_recipe("founding", {"training.epochs": epochs, "training.keep": "last"})
    pooling = SongPooling(poolings()[recipe.training.pooling], 3)
    for number, (train, test) in enumerate(FOLDS.split(truth, truth)):
        part = [bags[i] for i in train]
        songs = (part, labels[train])
        found = train_network(songs, 3, recipe.training, (216, 13), number)
        held = [bags[i] for i in test]
        song_right += (
            song_logits(found.network, pooling, held).argmax(1).numpy() == truth[test]
        ).tolist()
        for bag, label in zip(held, truth[test], strict=True):
            alone = [Bag(bag.song, bag.features[s : s + 216], np.array([0])) for s in bag.starts]
            said = song_logits(found.network, pooling, alone).argmax(1).numpy()
            window_right += (said == label).tolist()
    return np.mean(song_right), np.mean(window_right)


@pytest.mark.full
def test_the_founding_recipe_hears_songs_better_than_windows(made):
    _, _, bags, y = made
    song, window = judged(bags, y, y, epochs=40)
    assert song >= 0.85
    assert song - window >= 0.08


@pytest.mark.full
def test_permuted_labels_are_at_chance(made):
    _, _, bags, y = made
    permuted = np.random.default_rng(0).permutation(y)
    song, _ = judged(bags, permuted, permuted, epochs=10)
    assert abs(song - 1 / 3) <= 0.13


def test_songs_are_written_in_several_formats_with_the_seed(songs, tmp_path):
    from songbag.console import Console
    from songbag.tasks.demo import write_songs

    files = sorted((songs.parent / "audio").iterdir())
    assert len(files) == 24
    assert len({file.suffix for file in files}) >= 3
    again = write_songs(tmp_path, 2, 1, Console(quiet=True), 18.0)
    for file in sorted((again.parent / "audio").iterdir()):
        if file.suffix in (".wav", ".flac"):
            assert file.read_bytes() == (songs.parent / "audio" / file.name).read_bytes()


def test_missing_packages_are_said_before_songs_are_generated(tmp_path):
    code = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        f"from songbag.cli import main; main(['demo', '-o', {str(tmp_path / 'demo')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "(torch)" in done.stderr and "pip install 'songbag[train]'" in done.stderr
    assert not (tmp_path / "demo").exists()
