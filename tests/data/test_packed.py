"""Packed collections: the same songs as a table, mapped; damage is noticed; packing goes on."""

import csv
import io
import json
import shutil

import numpy as np
import pandas
import pytest
from click.testing import CliRunner

from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.console import Console
from songbag.data.packed import PackedDataset, PackedFolder
from songbag.data.packed_files import DamagedShardError, read_collection, read_shard, write_shard
from songbag.errors import SettingsError, SongTableError
from songbag.inference.model_file import PARTS, load_model
from songbag.recipes.load import load_recipe
from songbag.tasks.pack import pack_songs, verify_packed
from songbag.training.checkpoint import dataset_hash
from songbag.training.fit import fit
from songbag.training.plan import TrainingPlan
from tests.helpers import killing
from tests.helpers.songs import audio_dataset

QUIET = Console(quiet=True)


def songbag(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Nine short songs of noise, two that cannot be read, and columns called like Songbag's."""
    folder = tmp_path_factory.mktemp("short")
    rng = np.random.default_rng(0)
    rows = [("id", "path", "label", "artist", "mood", "status", "own_x")]
    for k in range(9):
        noise = (0.1 * (1 + k) / 9 * rng.standard_normal(22050 * 2 + 9000 * k)).astype(np.float32)
        write_waveform(folder / f"{k}.wav", noise, 22050)
        rows.append(
            (f"=s{k}", f"{k}.wav", ("drift", "gallop", "waltz")[k % 3], f"a{k}", "x", k, "")
        )
    (folder / "empty.wav").touch()
    (folder / "photo.wav").write_bytes(b"\xff\xd8\xff\xe0" * 500)
    rows.insert(3, ("none", "empty.wav", "drift", "a1", "", "", ""))
    rows.append(("jpeg", "photo.wav", "waltz", "", "y", "good", ""))
    with open(folder / "songs.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "songs.csv"


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("founding", {"windows.seconds": 1.0, "windows.hop_seconds": 0.5})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


def packed_into(folder, table, recipe, cache, verify=False):
    dataset = audio_dataset(table, cache)
    return pack_songs(dataset, recipe, folder, QUIET, shard_bytes=30_000, verify=verify)


def audio_loaded(table, recipe, cache):
    songs = list(audio_dataset(table, cache).songs)
    return audio_dataset(songs, cache).load(recipe)


def opened(folder, recipe):
    return PackedDataset.open(folder).load(recipe)


@pytest.fixture
def packed(table, recipe, cache, tmp_path):
    found = packed_into(tmp_path / "packed", table, recipe, cache)
    assert (found.songs, found.failed) == (9, 2)
    assert found.shards >= 3
    return found.folder


def test_a_folder_holds_what_a_table_holds(packed, table, recipe, cache):
    ours = opened(packed, recipe)
    theirs = audio_loaded(table, recipe, cache)
    assert len(ours) == len(theirs) == 9
    for mine, bag in zip(ours, theirs, strict=True):
        assert (mine.id, mine.label, mine.song.group) == (bag.id, bag.label, bag.song.group)
        assert (mine.samples, mine.level_db, mine.warnings) == (
            bag.samples,
            bag.level_db,
            bag.warnings,
        )
        np.testing.assert_array_equal(mine.features, bag.features)
        np.testing.assert_array_equal(mine.starts, bag.starts)
        assert not mine.features.flags.owndata
    assert dataset_hash(ours) == dataset_hash(theirs)
    for mine, song in zip(ours.songs, theirs.songs, strict=True):
        assert (mine.id, mine.label, mine.group, mine.extra) == (
            song.id,
            song.label,
            song.group,
            song.extra,
        )
        assert mine.path.endswith(song.path.rpartition("/")[2])
    assert [(one.song.id, one.reason) for one in ours.failures] == [
        (one.song.id, one.reason) for one in theirs.failures
    ]
    part = ours.subset([bag.label == "waltz" for bag in ours])
    assert [song.id for song in part.songs] == [bag.id for bag in part] == ["=s2", "=s5", "=s8"]
    assert [song.group for song in ours.grouped_by("mood").songs] == ["mood x"] * 9
    with pytest.raises(SongTableError, match="Did you mean 'mood'"):
        ours.grouped_by("moon")


def test_others_can_read_it(packed):
    from safetensors.numpy import load_file

    about = json.loads((packed / "collection.json").read_text())
    songs = pandas.read_parquet(packed / "songs.parquet")
    assert list(songs.id)[2] == "none"
    assert list(songs.status)[:3] == ["ok", "ok", "failed"]
    assert songs.own_status[0] == "0"
    song = songs.iloc[-2]
    frames = load_file(packed / about["shards"][int(song.shard)]["file"])["frames"]
    mine = frames[int(song["first"]) : int(song["first"] + song.frames)]
    np.testing.assert_array_equal(mine, PackedFolder(packed).frames(len(songs) - 2))


def test_training_on_it_gives_the_very_weights(trained, songs, tmp_path):
    recipe = load_recipe("founding", {"training.epochs": 8})
    pack_songs(audio_dataset(songs), recipe, tmp_path, QUIET)
    dataset = opened(tmp_path, recipe)
    sides = pandas.read_csv(trained.folder / "split.csv").set_index("id").side
    part = dataset.subset([sides[s.id] != "test" for s in dataset.songs])
    validation = np.array([sides[s.id] == "validation" for s in part.songs])
    ours = fit(part, TrainingPlan.of(dataset, recipe, QUIET), validation).model
    model = load_model(trained.model_path, PARTS)
    assert ours.card.songs == model.card.songs
    assert ours.card.heard == model.card.heard
    assert ours.parts == model.parts


def test_answers_of_it_are_those_of_its_files(model_path, table, cache, tmp_path):
    packed = packed_into(tmp_path / "packed", table, load_recipe("founding"), cache).folder
    ours = songbag("predict", model_path, packed, "-q")
    theirs = songbag("predict", model_path, table, "-q", "--workers", 1)
    assert ours.exit_code == theirs.exit_code == 1
    assert ours.stdout == theirs.stdout
    rows = list(csv.DictReader(io.StringIO(ours.stdout)))
    assert [row["status"] for row in rows] == ["ok"] * 2 + ["failed"] + ["ok"] * 7 + ["failed"]
    judged = songbag("evaluate", model_path, packed, "-o", tmp_path / "eval")
    assert judged.exit_code == 1
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["failed"] == 2


def test_packing_goes_on_and_tidies_up(packed, table, recipe, cache):
    before = killing.tree(packed)
    shards = sorted(packed.glob("*.safetensors"))
    stamps = {shard: shard.stat().st_mtime_ns for shard in shards}
    shards[1].unlink()
    (packed / "collection.json").unlink()
    (packed / "frames-00007-0123456789abcdef.safetensors").write_bytes(b"of an earlier packing")
    (packed / "notes.txt").write_text("a user's own")
    with pytest.raises(SongTableError, match="not packed to the end"):
        opened(packed, recipe)
    packed_into(packed, table, recipe, cache)
    (packed / "notes.txt").unlink()
    assert killing.tree(packed) == before
    again = {shard: shard.stat().st_mtime_ns for shard in shards}
    assert {s for s in shards if again[s] == stamps[s]} == {shards[0], *shards[2:]}


def test_a_song_that_goes_while_it_is_packed_is_a_row(table, recipe, tmp_path):
    folder = shutil.copytree(table.parent, tmp_path / "songs")
    cache = tmp_path / "cache"
    from songbag.tasks import pack

    def gone(*arguments):
        receipts = list(extract_all(*arguments))
        (cache / receipts[4].key).unlink()
        (folder / "3.wav").unlink()
        return receipts

    extract_all, pack.extract_all = pack.extract_all, gone
    try:
        found = packed_into(tmp_path / "packed", folder / "songs.csv", recipe, cache)
    finally:
        pack.extract_all = extract_all
    assert (found.songs, found.failed) == (8, 3)
    assert [one.reason for one in opened(found.folder, recipe).failures][1] == "missing"


def test_every_damage_is_noticed_and_made_good(packed, table, recipe, cache):
    before = killing.tree(packed)
    rng = np.random.default_rng(0)
    assert verify_packed(packed, QUIET) == 9
    for name in before:
        file = packed / name
        whole = file.read_bytes()
        places = [9, len(whole) // 2, len(whole) - 1, *rng.integers(0, len(whole), 3)]
        for damaged in [
            *(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places),
            whole[: len(whole) // 2],
            whole[:3],
            b"",
        ]:
            if name.endswith(".json") and json_equal(damaged, whole):
                continue  # a space became another
            file.write_bytes(damaged)
            with pytest.raises(SongTableError, match="Repeat the songbag pack"):
                verify_packed(packed, QUIET)
            with pytest.raises(SongTableError):
                list(opened(packed, recipe))
        packed_into(packed, table, recipe, cache, verify=True)
        assert killing.tree(packed) == before
    (packed / "songs.parquet").unlink()
    with pytest.raises(SongTableError, match=r"songs\.parquet"):
        read_collection(packed)


def json_equal(one, other):
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_a_damaged_song_is_named_when_it_is_first_read(packed, recipe):
    file = sorted(packed.glob("*.safetensors"))[1]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    heard = opened(packed, recipe)  # opening reads no frames
    assert len(heard[0].features)
    with pytest.raises(SongTableError, match=r"song '=s\d' are not what was packed.*--verify"):
        list(heard)
    found = songbag("pack", packed, "--verify", "-q")
    assert found.exit_code == 2
    assert "1 of 9 songs are damaged" in found.stderr


def test_another_sound_is_refused(packed, recipe):
    with pytest.raises(SettingsError, match=r"sound\.feature is mfcc there, logmel here"):
        opened(packed, load_recipe("cnn"))
    middle = load_recipe("founding", {"excerpt.seconds": 1.0})
    with pytest.raises(SettingsError, match=r"excerpt\.seconds is None there, 1\.0 here"):
        opened(packed, middle)
    found = songbag("train", packed, "-o", packed / "m.songbag")
    assert found.exit_code == 2
    assert "packed for the recipe 'founding'" in found.stderr


@pytest.mark.parametrize("content", ["windows", "frames"])
def test_others_get_parquet(packed, recipe, tmp_path, content):
    from pyarrow import parquet

    from songbag.tasks.pack import write_parquet

    out, partial = tmp_path / "out", tmp_path / "out.partial"
    partial.mkdir()
    (partial / "part-00000-of-other-songs.parquet").write_bytes(b"")
    files = write_parquet(packed, out, recipe, content, QUIET)
    assert len(list(out.iterdir())) == files >= 3
    rows = pandas.read_parquet(out)
    assert list(rows.columns) == ["id", "label", "group", "start", "feature"]
    heard = opened(packed, recipe)
    shape = parquet.read_schema(next(out.iterdir())).metadata[b"shape"].decode()
    for bag in heard:
        mine = rows[rows.id == bag.id]
        features = np.stack(mine.feature)
        assert set(mine.label) == {bag.label} and set(mine.group) == {bag.song.group}
        if content == "frames":
            assert shape == "1x13"
            np.testing.assert_array_equal(features, bag.features)
            continue
        from songbag.data.batches import cut_windows

        windows = features.reshape(-1, *map(int, shape.split("x")))
        np.testing.assert_array_equal(windows, cut_windows(bag, bag.starts, windows.shape[1]))
        np.testing.assert_allclose(mine.start, bag.starts * 512 / 22050)
    with pytest.raises(SettingsError, match="it exists"):
        write_parquet(packed, out, recipe, content, QUIET)


def test_a_shard_is_whole_or_refused(tmp_path):
    songs = [np.full((n, 3), n, np.float32) for n in (2, 1, 4)]
    shard = write_shard(tmp_path / "s.safetensors", [2, 1, 4], 3, songs)
    assert shard == read_shard(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(shard.map(), np.concatenate(songs))
    with pytest.raises(ValueError, match="planned was"):
        write_shard(tmp_path / "t.safetensors", [2], 3, songs[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]
    with pytest.raises(DamagedShardError, match="no shard"):
        read_shard(tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="read-only"):
        shard.map()[0, 0] = 1
