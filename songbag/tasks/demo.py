"""The whole job on songs made on the spot: nothing to download, figures to believe."""

from functools import partial
from pathlib import Path

import numpy as np

from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_songs
from songbag.encoders.choose import choose_recipe
from songbag.parallel.pool import in_order
from songbag.storage.files import Row, write_csv

SECONDS = 30.0
_RATE = 22050
_FORMATS = (".wav", ".flac", ".mp3", ".opus", ".m4a")
_SONGS_PER_ARTIST = 2


def write_songs(
    folder: Path, songs: int, seed: int, console: Console, seconds: float = SECONDS
) -> Path:
    """Write ``songs`` songs of every genre as audio files, and songs.csv beside them.

    Every genre has the same formats and as many artists; levels do not depend on the genre.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    todo = [(genre, number) for number in range(1, songs + 1) for genre in GENRES]
    work = partial(_write_song, folder, seed, seconds)
    made = in_order(work, todo, None, _died)
    rows = list(console.track(made, len(todo), "Generating"))
    write_csv(folder / "songs.csv", rows, ["path", "label", "artist"])
    return folder / "songs.csv"


def _write_song(folder: Path, seed: int, seconds: float, song: tuple[str, int]) -> Row:
    genre, number = song
    rng = np.random.default_rng([seed, GENRES.index(genre), number])
    suffix = _FORMATS[number % len(_FORMATS)]  # drawn at random, a few songs' would tell genres
    path = Path("audio") / f"{genre}_{number:03d}{suffix}"
    write_waveform(folder / path, synthesise(genre, rng, seconds, _RATE), _RATE)
    artist = f"{genre} band {1 + (number - 1) // _SONGS_PER_ARTIST}"
    return {"path": path.as_posix(), "label": genre, "artist": artist}


def _died(song: tuple[str, int]) -> Row:
    raise RuntimeError(f"the process that generated song {song} died")


def run_demo(folder: Path, songs: int, seed: int, console: Console) -> Path:
    """Generate songs, train the default recipe, evaluate it; return the report's path.

    Missing packages are said before any song is generated.
    """
    from songbag.tasks.train import train, write_training
    from songbag.training.plan import require_trainable

    recipe = choose_recipe("auto")
    require_trainable(recipe)
    options = AudioOptions(cache=folder / "cache")
    dataset = open_songs(write_songs(folder, songs, seed, console), options)
    path = folder / "demo.songbag"
    training = train(dataset, recipe, console, seed, model_path=path)
    return write_training(training, path, console) / "report.html"
