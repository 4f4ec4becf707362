"""Tables of window features: in by every door, refused with the row named."""

import csv
import io

import numpy as np
import pandas
import pytest
import torch

import songbag
from songbag.data.window_table import preview
from songbag.errors import ExportError, SongTableError, TrainingError
from tests.helpers.command import songbag as command


def founding_table(songs=24, windows=6, seed=0, shape=(5,)):
    """name, label, feature, as in the founding question; evidence in half of the windows."""
    rng = np.random.default_rng(seed)
    rows = []
    for song in range(songs):
        label = ("metal", "classical")[song % 2]
        for window in range(1, 1 + windows - song % 3):
            feature = rng.standard_normal(shape).astype(np.float32)
            if window % 2:
                feature[0] += 2.5 * (1 if label == "metal" else -1)
            rows.append((f"song_{song}_frame{window}", label, feature, f"band {song // 2}"))
    return pandas.DataFrame(rows, columns=["name", "label", "feature", "artist"])


PATTERN = r"(.+)_frame(\d+)"


def bags_of(table, **options):
    wanted = {"song": "name", "label": "label", "song_pattern": PATTERN, **options}
    return songbag.bags_from_table(table, **wanted)


def same(one, two):
    assert [b.id for b in one] == [b.id for b in two]
    for a, b in zip(one, two, strict=True):
        assert (a.features == b.features).all()
        assert a.label == b.label


def test_the_founding_table_becomes_bags():
    table = founding_table()
    bags = bags_of(table)
    assert len(bags) == 24
    assert bags[0].id == "song_0"
    assert bags[0].features.shape == (6, 5)
    assert bags[0].label == "metal"
    assert bags[0].windows[0] == "song_0_frame1"
    assert bags.songs[3].artist == "band 1"
    assert (bags[1].features[2] == table.feature[8]).all()


def test_windows_are_ordered_by_the_captured_number_or_a_column():
    table = founding_table().sample(frac=1, random_state=0)
    table["second"] = [int(name.rpartition("frame")[2]) for name in table["name"]]
    by_number = {bag.id: bag for bag in bags_of(table)}
    by_column = {
        bag.id: bag for bag in bags_of(table, song_pattern=r"(.+)_frame\d+", order="second")
    }
    for bag in bags_of(founding_table()):
        assert (by_number[bag.id].features == bag.features).all()
        assert (by_column[bag.id].features == bag.features).all()
        assert by_number[bag.id].windows == bag.windows


def test_every_file_format_gives_the_same_bags(tmp_path):
    table = founding_table()
    wide = table.drop(columns="feature")
    for index in range(5):
        wide[f"mfcc_{index}"] = [feature[index] for feature in table.feature]
    wide.to_csv(tmp_path / "t.csv", index=False)
    wide.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    wide.to_parquet(tmp_path / "wide.parquet")
    table.assign(feature=table.feature.map(list)).to_parquet(tmp_path / "lists.parquet")
    np.savez(
        tmp_path / "t.npz",
        name=table["name"].to_numpy(dtype=str),
        label=table["label"].to_numpy(dtype=str),
        feature=np.stack(table.feature),
    )
    truth = bags_of(table)
    same(truth, bags_of(wide, feature="mfcc_*"))
    same(truth, bags_of(wide, feature=[f"mfcc_{i}" for i in range(5)]))
    same(truth, bags_of(tmp_path / "wide.parquet", feature="mfcc_*"))
    same(truth, bags_of(tmp_path / "lists.parquet"))
    same(truth, bags_of(tmp_path / "t.npz"))
    for name in ("t.csv", "t.tsv"):
        for a, b in zip(truth, bags_of(tmp_path / name, feature="mfcc_*"), strict=True):
            np.testing.assert_allclose(a.features, b.features, rtol=1e-6)
    ids = [name.partition("_frame")[0] for name in table["name"]]
    same(truth, songbag.bags_from_arrays(np.stack(table.feature), table["label"], ids))


def gtzan_like(songs=8, windows=4):
    """A table as people have it: file names, 57 columns and more, labels as text and number."""
    rng = np.random.default_rng(0)
    rows = []
    for song in range(songs):
        label = song % 2
        for window in range(windows):
            rows.append(
                {"Unnamed: 0": len(rows), "filename": f"{song:03}.wav", "start": 3.0 * window,
                 "length": 66149, "chroma": rng.normal(), "rms_var": label + rng.normal(),
                 "year": 1990 + song % 3, "code": f"0{song}", "label_id": label,
                 "artist": str(song // 2), "label": ["NA", "rock"][label]}
            )  # fmt: skip
    return pandas.DataFrame(rows)


@pytest.mark.parametrize("name", [None, "a.csv", "a.parquet", "a.xlsx"])
def test_without_features_named_all_that_change_within_a_song_are_taken(tmp_path, name):
    table = gtzan_like()
    if name == "a.csv":  # with decimal commas, and the index as a column without a name
        table.drop(columns="Unnamed: 0").to_csv(tmp_path / name, sep=";", decimal=",")
    elif name == "a.parquet":
        table.to_parquet(tmp_path / name)
    elif name:
        table.to_excel(tmp_path / name, index=False)
    dataset = songbag.bags_from_table(tmp_path / name if name else table, "filename", "label")
    assert dataset.columns == ("chroma", "rms_var")
    assert dataset.labels == ("NA", "rock")
    assert [bag.id for bag in dataset] == [f"{song:03}.wav" for song in range(8)]
    np.testing.assert_allclose(
        np.concatenate([bag.features for bag in dataset]), table[["chroma", "rms_var"]], rtol=1e-6
    )
    (remark,) = dataset.remarks
    assert "2 columns of numbers are the features: chroma, rms_var" in remark
    assert "left out, being no property of a window: Unnamed: 0, start, length, year" in remark
    assert "label_id" in remark
    song = dataset.songs[3]
    assert (song.artist, song.extra["year"], song.extra["code"]) == ("1", "1990", "03")


def test_the_label_once_more_as_a_number_is_no_feature():
    """Also where a song is one row, so that everything is the same in all of its windows."""
    table = gtzan_like(windows=1)
    taken = songbag.bags_from_table(table.rename(columns={"label_id": "y"}), "filename", "label")
    assert taken.columns == ("length", "chroma", "rms_var")
    with pytest.raises(SongTableError, match="no column holds numbers that change within a song"):
        songbag.bags_from_table(table[["filename", "label", "label_id"]], "filename", "label")


def test_a_model_knows_the_columns_it_was_trained_on(tmp_path):
    table = gtzan_like(12)
    bags = songbag.bags_from_table(table, "filename", "label")
    model = songbag.train(bags, epochs=2, quiet=True).save(tmp_path / "m.songbag")
    assert model.columns == ("chroma", "rms_var")
    other = songbag.bags_from_table(table, "filename", feature=["rms_var", "chroma"])
    with pytest.raises(SongTableError, match="'rms_var' where it expects 'chroma'"):
        model.predict(other)
    right = songbag.bags_from_table(table, "filename", feature=model.columns)
    wide = table.assign(another=np.random.default_rng(1).normal(size=len(table)))
    wide.to_csv(tmp_path / "wide.csv", index=False)
    answers = command("predict", model.path, tmp_path / "wide.csv", "--song", "filename")
    assert answers.returncode == 0, answers.stderr
    rows = list(csv.DictReader(io.StringIO(answers.stdout)))
    assert [row["predicted"] for row in rows] == model.predict(right)["predicted"].tolist()


def test_ids_and_labels_of_files_are_text(tmp_path):
    lines = ["song,label,order,feature", *(f"{s},{s},{o},{o}" for s in ("001", "1", "NA") for o in (10, 9))]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(lines))
    bags = songbag.bags_from_table(tmp_path / "t.csv", "song", "label", order="order")
    assert [(bag.id, bag.label) for bag in bags] == [("001", "001"), ("1", "1"), ("NA", "NA")]
    assert bags[0].features.tolist() == [[9], [10]]  # by number, not by text
    (tmp_path / "t.csv").write_text("song,label,feature\na,x,1\n,x,2\n")
    with pytest.raises(SongTableError, match="row 2: the song's name is empty"):
        songbag.bags_from_table(tmp_path / "t.csv", "song", "label")


def test_one_missing_label_leaves_the_others_as_they_are():
    table = pandas.DataFrame({"song": [7, 8, 9], "label": [3, 4, None], "feature": [0.0, 1, 2]})
    bags = songbag.bags_from_table(table, "song", "label")
    assert [(bag.id, bag.label) for bag in bags] == [("7", "3"), ("8", "4"), ("9", None)]
    mixed = pandas.DataFrame({"song": [1, "1", "b"], "feature": [0.0, 1, 2]})
    assert [bag.window_count for bag in songbag.bags_from_table(mixed, "song")] == [2, 1]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_nested_lists_of_parquet_are_arrays(tmp_path, depth):
    shape = (2, 3, 4)[:depth]
    windows = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    pandas.DataFrame({"song": ["a", "b"], "feature": [w.tolist() for w in windows]}).to_parquet(
        tmp_path / "t.parquet"
    )
    bags = songbag.bags_from_table(tmp_path / "t.parquet", "song")
    assert np.array_equal(np.concatenate([bag.features for bag in bags]), windows)
    ragged = pandas.DataFrame({"song": ["a"], "feature": [[[1.0], [1.0, 2.0]]]})
    with pytest.raises(SongTableError, match="row 1: 'feature' is no array of numbers"):
        songbag.bags_from_table(ragged, "song")


def test_an_npz_with_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", name=np.array(["a", {"b": 1}], dtype=object), label=np.ones(2))
    with pytest.raises(SongTableError, match=r"not an \.npz file of plain arrays"):
        bags_of(tmp_path / "t.npz")


def changed(row, column, value):
    table = founding_table()
    table.at[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(3, "label", "jazz"), "row 4: song 'song_0' is labelled 'jazz' here and 'metal' in row 1"),
        (changed(2, "feature", np.array([0, 0, np.nan, 0, 0], np.float32)), "row 3: value 2 of the window is nan"),
        (changed(2, "feature", np.array([np.inf, 0, 0, 0, 0], np.float32)), "row 3: value 0 of the window is inf"),
        (changed(5, "feature", np.zeros(4, np.float32)), r"row 6: 'feature' has the shape \(4,\), row 1 has \(5,\)"),
        (changed(7, "name", "odd"), r"row 8: the name 'odd' does not match"),
        (founding_table().rename(columns={"feature": "features"}), "no column holds numbers"),
        (founding_table().rename(columns={"label": "genre"}), "no column 'label'"),
        (founding_table().rename(columns={"name": "names"}), "no column 'name'. Did you mean 'names'"),
        (founding_table().iloc[:0], "the table holds no windows"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_row(table, message):
    with pytest.raises((SongTableError), match=message):
        bags_of(table)


def test_patterns_are_checked_and_previewed():
    with pytest.raises(SongTableError, match="has no group"):
        bags_of(founding_table(), song_pattern=r".+_frame\d+")
    text = preview(founding_table()["name"], PATTERN)
    assert text.splitlines()[0] == "song_0_frame1  ->  song song_0  window 1"
    assert "does not match" in preview(["x"], PATTERN)


def test_text_in_a_feature_column_and_wrong_shapes_are_refused():
    table = founding_table()
    with pytest.raises(SongTableError, match="'artist' does not hold numbers"):
        bags_of(table, feature=["artist", "name"])
    with pytest.raises(SongTableError, match="windows of 5 values cannot be shaped"):
        bags_of(table, shape=(2, 3))
    with pytest.raises(SongTableError, match="3 windows but 2 songs"):
        songbag.bags_from_arrays(np.zeros((3, 2)), ["a"] * 3, ["x"] * 2)


@pytest.fixture(scope="module")
def result():
    return songbag.train(bags_of(founding_table(60)), group="artist", quiet=True)


def test_training_on_a_table_answers_by_song_and_window(result):
    assert result.predictions.index.name == "id"
    assert result.window_predictions.index.names == ["id", "window"]
    assert result.metrics["metrics"]["accuracy"]["value"] >= 0.75
    assert result.metrics["baselines"]["level"] is None
    assert set(result.predictions.group.str.split().str[0]) == {"band"}
    first = result.predictions.index[0]
    row, windows = result.predictions.loc[first], result.window_predictions.loc[first]
    assert windows.index[0].startswith(f"{first}_frame")
    assert len(windows) == row.windows


def test_a_loaded_model_answers_the_same(result, tmp_path):
    model = result.save(tmp_path / "m.songbag")
    again = model.predict(bags_of(founding_table(60)))
    assert len(again) == 60
    for song, row in result.predictions.iterrows():
        assert again.loc[song].confidence == pytest.approx(row.confidence, abs=1e-6)
    unlabelled = model.predict(bags_of(founding_table(60), label=None))
    assert (unlabelled.confidence == again.confidence).all()


def test_other_features_than_the_models_are_refused(result):
    with pytest.raises(
        SongTableError, match=r"windows of shape \(4,\); the model was trained on \(5,\)"
    ):
        result.model.predict(bags_of(founding_table(shape=(4,))))


def test_an_unknown_group_is_refused():
    with pytest.raises(SongTableError, match="no column 'album' to group by"):
        songbag.train(bags_of(founding_table()), group="album", quiet=True)


def test_matrices_go_through_the_founding_network():
    bags = bags_of(founding_table(24, shape=(13, 60)))
    found = songbag.train(bags, recipe="founding", epochs=2, quiet=True)
    assert found.model.card.window_shape == (13, 60)
    with pytest.raises(TrainingError, match="takes windows that are matrices"):
        songbag.train(bags_of(founding_table()), network="founding", quiet=True)


def test_the_table_route_equals_the_audio_route(songs):
    """The same frames, cut into a table, give the same answers (founding recipe, 3 epochs)."""
    same_by_both_routes(songs, epochs=3)


@pytest.mark.full
def test_the_routes_are_equal_on_emotify(emotify, tmp_path):
    lines = emotify.read_text().splitlines()
    few = [lines[0], *lines[1::6]]  # every sixth song: all genres, many artists
    few = [line.replace(",audio/", f",{emotify.parent}/audio/") for line in few]
    (tmp_path / "few.csv").write_text("\n".join(few) + "\n")
    same_by_both_routes(tmp_path / "few.csv", epochs=2)


def same_by_both_routes(songs, epochs):
    from songbag.recipes.load import load_recipe
    from tests.helpers.songs import audio_dataset

    recipe = load_recipe("founding", {"windows.stride": 6})
    rows = []
    for bag in audio_dataset(songs).load(recipe).cut(recipe.sound, recipe.windows):
        for start in bag.starts:
            window = bag.features[start : start + 216].T  # (bands, frames), as librosa gives
            rows.append((bag.id, bag.label, bag.song.artist, window))
    table = pandas.DataFrame(rows, columns=["name", "label", "artist", "feature"])
    bags = songbag.bags_from_table(table, song="name", label="label")
    # A table holds windows, so it cannot share a trunk: neither does the audio here.
    options = {"recipe": "founding", "epochs": epochs, "share": False, "quiet": True}
    by_table, by_audio = songbag.train(bags, **options), songbag.train(songs, **options)
    assert set(by_table.predictions.index) == set(by_audio.predictions.index)
    for label in by_audio.model.labels:
        difference = by_table.predictions[f"p_{label}"] - by_audio.predictions[f"p_{label}"]
        assert difference.abs().max() < 1e-4


# --- own parts --------------------------------------------------------------------------


class OwnNetwork(torch.nn.Module):
    def __init__(self, values=5, outputs=1):
        super().__init__()
        self.layer = torch.nn.Linear(values, outputs)

    def forward(self, windows):
        return self.layer(windows.flatten(1))


def log_mean_exp(logits):
    return torch.logsumexp(logits, dim=1) - torch.logsumexp(torch.zeros_like(logits), dim=1)


def margin(song_logits, y):
    right = song_logits.gather(1, y[:, None])[:, 0]
    wrong = song_logits.sum(dim=1) - right
    return torch.relu(1 - right + wrong)


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({"network": OwnNetwork()}, marks=pytest.mark.full),
        pytest.param({"network": OwnNetwork(outputs=2)}, marks=pytest.mark.full),
        pytest.param(
            {"network": lambda shape, outputs: OwnNetwork(shape[0], outputs)},
            marks=pytest.mark.full,
        ),
        pytest.param({"pooling": log_mean_exp}, marks=pytest.mark.full),
        pytest.param({"loss": margin}, marks=pytest.mark.full),
        {"network": OwnNetwork(), "pooling": log_mean_exp, "loss": margin},
    ],
    ids=["module", "two outputs", "factory", "pooling", "loss", "all three"],
)
def test_own_parts_train_save_load_and_predict(own, tmp_path):
    bags = bags_of(founding_table(60))
    found = songbag.train(bags, epochs=60, learning_rate=1e-2, quiet=True, **own)
    assert found.metrics["metrics"]["accuracy"]["value"] >= 0.7
    model = songbag.load(found.save(tmp_path / "m.songbag").path)
    again = model.predict(bags)
    for song, row in found.predictions.iterrows():
        assert again.loc[song].confidence == pytest.approx(row.confidence, abs=1e-6)
    assert {model.card.recipe.training.network, "own"} >= ({"own"} if "network" in own else set())


def test_a_network_of_the_wrong_shape_is_refused():
    with pytest.raises(TrainingError, match=r"into \(2, 7\); needed is \(2, 1\)"):
        songbag.train(bags_of(founding_table()), network=OwnNetwork(outputs=7), quiet=True)


def test_parts_that_cannot_be_exported_are_refused_before_training(monkeypatch):
    trainer = "songbag.training.trainer.Trainer.train"
    monkeypatch.setattr(trainer, lambda self: pytest.fail("trained"))

    def median(logits):
        return logits.median(dim=1).values

    with pytest.raises(ExportError, match=r"ONNX has no operation for torch\.median"):
        songbag.train(bags_of(founding_table()), pooling=median, quiet=True)


def test_the_users_network_is_left_as_it_was():
    network = OwnNetwork()
    before = network.layer.weight.clone()
    songbag.train(bags_of(founding_table()), network=network, epochs=2, quiet=True)
    assert torch.equal(network.layer.weight, before)


@pytest.mark.full
def test_crossval_of_bags_with_own_network():
    torch.manual_seed(0)  # its weights are its maker's, and some starts need more epochs
    found = songbag.crossval(
        bags_of(founding_table(40)),
        folds=2,
        network=OwnNetwork(),
        epochs=40,
        learning_rate=1e-2,
        quiet=True,
    )
    assert len(found.predictions) == 40
    assert found.metrics["metrics"]["accuracy"]["value"] >= 0.7


# --- command line -----------------------------------------------------------------------


def test_the_command_line_takes_tables(tmp_path):
    table = founding_table(40)
    wide = table.drop(columns="feature")
    for index in range(5):
        wide[f"mfcc_{index}"] = [feature[index] for feature in table.feature]
    wide.to_parquet(tmp_path / "windows.parquet")
    how = ["--song", "name", "--song-pattern", r"(.+)_frame\d+", "--feature", "mfcc_*"]
    told = [*how, "--label", "label"]
    path, model = tmp_path / "windows.parquet", tmp_path / "genre.songbag"
    shown = command("train", path, "-o", model, *told, "--preview")
    assert shown.returncode == 0
    assert "song_0_frame1  ->  song song_0" in shown.stdout
    assert not model.exists()
    done = command("train", path, "-o", model, *told)
    assert done.returncode == 0, done.stderr
    answers = command("predict", model, path, *how)
    rows = list(csv.DictReader(io.StringIO(answers.stdout)))
    assert len({row["id"] for row in rows}) == len(rows) == 40
    assert rows[0]["artist" if "artist" in rows[0] else "id"]
    judged = command("evaluate", model, path, *told, "-o", tmp_path / "eval")
    assert judged.returncode == 0, judged.stderr
    crossed = command("crossval", path, *told, "-o", tmp_path / "cv", "--folds", 2, "--epochs", 5)
    assert crossed.returncode == 0, crossed.stderr
    refused = command("train", path, "-o", model, "--label", "label")
    assert refused.returncode == 2
    assert "If a row is a window, give --song COLUMN" in refused.stderr
