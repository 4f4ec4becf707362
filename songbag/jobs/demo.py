"""The whole job on songs made on the spot: nothing to download, figures to believe."""

from pathlib import Path

import numpy as np

from songbag.answers.tables import write_csv
from songbag.jobs.console import Console
from songbag.settings import load_recipe
from songbag.songs.table import read_songs
from songbag.sound.audio import write_waveform
from songbag.sound.synthesis import GENRES, synthesise

SECONDS = 30.0
_RATE = 22050
_FORMATS = (".wav", ".flac", ".mp3", ".opus", ".m4a")
_SONGS_PER_ARTIST = 2


def write_songs(folder: Path, songs: int, seed: int, console: Console) -> Path:
    """Write ``songs`` songs of every genre as audio files, and songs.csv beside them.

    Formats, artists and levels are dealt out independently of the genre. The same seed
    gives the same songs.
    """
    rows = []
    jobs = [(genre, number) for number in range(songs) for genre in GENRES]
    for index, (genre, number) in enumerate(console.track(jobs, len(jobs), "Generating")):
        rng = np.random.default_rng([seed, index])
        ending = _FORMATS[int(rng.integers(len(_FORMATS)))]
        path = Path("audio") / f"{genre}_{number + 1:03d}{ending}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_waveform(folder / path, synthesise(genre, rng, SECONDS, _RATE), _RATE)
        artist = f"{genre} band {number // _SONGS_PER_ARTIST + 1}"
        rows.append({"path": path.as_posix(), "label": genre, "artist": artist})
    write_csv(folder / "songs.csv", rows, ["path", "label", "artist"])
    return folder / "songs.csv"


def run_demo(folder: Path, songs: int, seed: int, console: Console) -> Path:
    """Generate, train with the founding recipe, evaluate; return the report's path."""
    from songbag.jobs.training import train_songs

    table = read_songs(write_songs(folder, songs, seed, console))
    recipe = load_recipe("founding")
    trained = train_songs(table, folder / "demo.songbag", recipe, folder / "cache", console, seed)
    return trained.folder / "report.html"
