"""Vectors and tags of songs by an encoder alone."""

import numpy as np
import pandas
import pytest
from click.testing import CliRunner

import songbag
from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.encoders.encoder import pooled
from songbag.encoders.musicnn import load
from songbag.errors import SettingsError
from tests.helpers.encoders import write_encoder


def invoke(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "--quiet"])


def test_tags_of_good_and_bad_files_are_the_same_in_one_process_and_in_two(nine, tmp_path):
    texts = []
    for workers in (1, 2):
        csv = tmp_path / f"tags{workers}.csv"
        run = invoke("tag", nine, "--csv", csv, "--workers", workers, "--cache", tmp_path / "no")
        assert run.exit_code == 1, run.output
        texts.append(csv.read_text())
    assert texts[0] == texts[1]
    table = pandas.read_csv(tmp_path / "tags1.csv", index_col="id")
    assert len(table) == 9
    assert list(table.columns[:4]) == ["status", "reason", "rock", "pop"]
    failed = table[table.status == "failed"]
    assert sorted(path.rpartition("/")[2] for path in failed.index) == ["empty.mp3", "photo.mp3"]
    assert failed.warnings.str.len().min() > 10
    assert failed.rock.isna().all()
    good = table[table.status == "ok"][list(load().tags)]
    assert good.to_numpy().min() > 0
    assert good.to_numpy().max() < 1


def test_a_song_of_pieces_is_their_mean(songs, tmp_path):
    song = sorted((songs.parent / "audio").iterdir())[0]
    for function in (songbag.tag, songbag.embed):
        whole = function(str(song), cache=tmp_path)
        pieces = function(str(song), windows=True, cache=tmp_path)
        values = [name for name in whole if name not in ("status", "reason", "warnings")]
        means = pieces[values].to_numpy().mean(axis=0)
        np.testing.assert_allclose(whole[values].to_numpy()[0], means, atol=1e-5)
        starts = pieces.index.get_level_values("start")
        np.testing.assert_allclose(np.diff(starts), 6 * 0.512)
    assert len(values) == load().encoding.values


def test_vectors_are_those_of_the_rows(songs, tmp_path):
    from songbag.data.open_songs import AudioOptions, open_songs
    from songbag.settings import Recipe

    song, encoder = sorted((songs.parent / "audio").iterdir())[1], load()
    dataset = open_songs(str(song), AudioOptions(tmp_path, workers=1))
    bag = dataset.load(Recipe(name="encoder", sound=encoder.sound))[0]
    vector = songbag.embed(str(song), windows=True).filter(regex=r"^v\d+$").to_numpy()[2]
    np.testing.assert_allclose(vector, pooled(bag.features[12:18], encoder.encoding), rtol=1e-6)


def test_a_song_shorter_than_a_piece_has_one_vector(tmp_path):
    write_waveform(tmp_path / "short.wav", np.full(4000, 0.1, np.float32), 16000)
    table = songbag.embed(str(tmp_path / "short.wav"), windows=True)
    assert len(table) == 1
    assert "short: 0.2 s, and the encoder was trained on pieces of 3.1 s" in table.warnings.iloc[0]


@pytest.mark.parametrize(
    ("seconds", "starts", "end"),
    [(3.1, [0], 3.072), (4.0, [0], 3.072), (5.0, [0, 3.072], 5.0), (6.5, [0, 3.072], 6.144)],
)
def test_the_end_of_a_song_is_a_piece_from_half_of_one_on(seconds, starts, end, tmp_path):
    noise = np.random.default_rng(0).standard_normal(round(16000 * seconds))
    write_waveform(tmp_path / "a.wav", (0.1 * noise).astype(np.float32), 16000)
    table = songbag.tag(str(tmp_path / "a.wav"), windows=True)
    np.testing.assert_allclose(table.index.get_level_values("start"), starts)
    assert table.index.get_level_values("end")[-1] == pytest.approx(end)


@pytest.mark.parametrize(
    "name", [pytest.param("vectors.csv", marks=pytest.mark.full), "vectors.parquet"]
)
def test_vectors_are_written_for_other_tools(name, nine, tmp_path):
    run = invoke("embed", nine, "-o", tmp_path / name, "--windows", "--workers", 1)
    assert run.exit_code == 1, run.output
    read = pandas.read_csv if name.endswith("csv") else pandas.read_parquet
    table = read(tmp_path / name)
    assert table.id.nunique() == 9
    assert table.v1505.notna().sum() == (table.status == "ok").sum() > 20


def test_what_cannot_be_written_or_tagged_is_refused(nine, tmp_path):
    run = CliRunner().invoke(main, ["embed", str(nine), "-o", str(tmp_path / "vectors.npy")])
    assert (run.exit_code, "write a .csv or .parquet file" in run.output) == (2, True)
    encoder = write_encoder(tmp_path / "mine.onnx")
    with pytest.raises(SettingsError, match="has no tags"):
        songbag.tag(str(nine), encoder=str(encoder))
    assert len(songbag.embed(str(nine), encoder=str(encoder)).filter(regex=r"^v\d")) == 9


def test_encoders_says_what_they_were_trained_on():
    text = CliRunner().invoke(main, ["encoders"]).output
    assert "Million Song Dataset" in text
    assert "GTZAN" in text
    assert "8000 Hz" in text
