"""Whether the default recipe keeps its encoder: songs held out say so."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.inference.model_file import load_model

RATE = 44100


def songbag(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert not isinstance(result.exception, Exception), result.output
    return result.output


@pytest.fixture(scope="module")
def insects(tmp_path_factory):
    """24 recordings of two kinds of chirps above 8 kHz, before the same noise."""
    folder, rows = tmp_path_factory.mktemp("insects"), []
    rng, time = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    for number in range(24):
        label = ("cricket", "katydid")[number % 2]
        pitch = {"cricket": 8600, "katydid": 10000}[label] + rng.normal(0, 40)
        chirps = np.sin(2 * np.pi * pitch * time) * (np.sin(2 * np.pi * 5 * time) > 0)
        sound = 0.3 * chirps + 0.03 * rng.standard_normal(len(time))
        write_waveform(folder / f"{number}.flac", sound.astype(np.float32), RATE)
        rows.append({"path": f"{number}.flac", "label": label})
    with open(folder / "songs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.full
def test_an_encoder_that_is_deaf_to_the_songs_is_left_out(insects):
    table, model = insects / "songs.csv", insects / "m.songbag"
    said = songbag("train", table, "-o", model, "--cache", insects / "cache")
    assert "encoder musicnn does not help with these songs" in said
    assert "unheard: " in said
    assert "nothing above 8000 Hz is listened to" in said
    card = load_model(model, parts=()).card
    assert card.recipe.sound.encoding is None
    assert card.recipe.without is None
    assert card.encoder is None
    assert card.figures["metrics"]["accuracy"]["value"] == 1.0
    insisted = insects / "insisted.songbag"
    said = songbag(
        "train", table, "-o", insisted, "--cache", insects / "cache", "--encoder", "musicnn"
    )
    assert "does not help" not in said
    assert load_model(insisted, parts=()).card.encoder.name == "musicnn"


@pytest.mark.full
def test_a_cross_validation_asks_all_songs(insects):
    folder = insects / "folds"
    said = songbag(
        "crossval", insects / "songs.csv", "-o", folder, "--folds", 2, "--cache", insects / "cache"
    )
    assert "does not help" in said
    assert "encoder" not in (folder / "metrics.json").read_text()


def test_a_check_says_what_the_encoder_does_not_hear(insects):
    said = songbag("check", insects / "songs.csv", "--cache", insects / "cache")
    assert said.count("warning: unheard: ") == 24
    assert "nothing above 8000 Hz is listened to" in said
    said = songbag("check", insects / "songs.csv", "--recipe", "cnn", "--cache", insects / "cache")
    assert "unheard" not in said
