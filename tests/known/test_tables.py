"""Tables of known data sets, from folders laid out as theirs are; wrong folders are refused."""

import csv
from collections import Counter, defaultdict

import msgspec
import pytest

import songbag
from songbag.errors import SongTableError
from songbag.known.data_set import data_set, known
from songbag.known.tables import READERS, table_of
from tests.helpers import known_folders as make
from tests.helpers.command import songbag as command


def small(name, **counts):
    """The data set with the counts of a miniature."""
    return msgspec.structs.replace(data_set(name), counts=counts)


def sides_of(rows, column):
    groups = defaultdict(set)
    for row in rows:
        if row[column]:
            groups[row[column]].add(row.get("split") or row.get("fold"))
    return groups


def test_every_data_set_has_a_reader_and_facts_with_sources():
    assert set(READERS) == set(known())
    for data in known().values():
        assert data.wrong
        assert data.files or data.manual
        assert set(data.counts) <= {"songs", "labels", "folds", "train", "validation", "test"}
        assert all(figure.source for figure in data.figures)
        assert "TABLE" in data.train
        sides = [data.counts.get(side, 0) for side in ("train", "validation", "test")]
        assert sum(sides) in (0, data.counts["songs"])
        for archive in data.files:
            algorithm, _, digits = archive.hash.partition(":")
            assert len(digits) == {"md5": 32, "sha1": 40, "sha256": 64}[algorithm]


def test_gtzan_is_fault_filtered_and_no_artist_is_on_two_sides(tmp_path):
    """The whole data set by its names, in the folder that common copies have, by the command."""
    make.gtzan(tmp_path / "genres_original", make.touch, ".au")
    (tmp_path / "genres_original" / "jazz" / "jazz.00054.au").unlink()  # as in some copies
    done = command("data", "table", "gtzan", tmp_path, "-o", tmp_path / "gtzan.csv")
    assert done.returncode == 0, done.stderr
    assert "songs 929, labels 10, train 442, validation 197, test 290" in done.stderr
    assert "songbag train" in done.stdout
    with open(tmp_path / "gtzan.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["split"] for row in rows) == {"train": 442, "validation": 197, "test": 290}
    assert all(len(on) == 1 for on in sides_of(rows, "artist").values())
    by_id = {row["id"]: row for row in rows}
    assert by_id["blues.00012"]["artist"] == "Robert Johnson"
    assert by_id["blues.00012"]["path"] == "genres_original/blues/blues.00012.au"
    assert not {"jazz.00054", "pop.00015", "disco.00050"} & set(by_id)


def test_a_wrong_folder_is_refused_with_the_first_difference(tmp_path):
    make.gtzan(tmp_path / "genres", make.touch)
    (tmp_path / "genres" / "rock" / "rock.00007.wav").unlink()
    with pytest.raises(
        SongTableError, match=r"of 999 files 1 are missing, the first is .*rock\.00007"
    ):
        table_of(data_set("gtzan"), tmp_path)
    make.touch(tmp_path / "genres" / "rock" / "rock.00007.wav")
    make.touch(tmp_path / "genres" / "rock" / "rock.00100.wav")
    with pytest.raises(SongTableError, match=r"rock\.00100\.wav: no file of GTZAN"):
        table_of(data_set("gtzan"), tmp_path)
    done = command("data", "table", "esc50", tmp_path, "-o", tmp_path / "x.csv")
    assert done.returncode == 2
    assert "there is no meta/esc50.csv in it" in done.stderr
    assert not (tmp_path / "x.csv").exists()
    with pytest.raises(SongTableError, match="there is no such folder"):
        table_of(data_set("gtzan"), tmp_path / "nowhere")


def test_python_has_the_same_table(tmp_path):
    make.gtzan(tmp_path, make.touch)
    frame = songbag.data_table("gtzan", tmp_path, tmp_path / "gtzan.csv")
    assert list(frame.columns) == ["id", "path", "label", "artist", "split"]
    with open(tmp_path / "gtzan.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == frame["id"].tolist()
    facts = songbag.known_data()
    assert list(facts.index) == list(known())
    assert "MFCC and an SVM" in facts.loc["gtzan", "published"][0]


def test_esc_has_its_folds_and_esc10_is_its_part(tmp_path):
    make.esc(tmp_path / "ESC-50-master", write=make.touch)
    whole = table_of(small("esc50", songs=30, labels=2, folds=5), tmp_path)
    assert Counter(row["fold"] for row in whole.rows) == {str(fold): 6 for fold in range(1, 6)}
    assert all(len(on) == 1 for on in sides_of(whole.rows, "group").values())
    part = table_of(small("esc10", songs=15, labels=1, folds=5), tmp_path / "ESC-50-master")
    assert {row["label"] for row in part.rows} == {"dog"}
    with pytest.raises(SongTableError, match="30 songs, where ESC-50 has 2000"):
        table_of(data_set("esc50"), tmp_path)
    meta = tmp_path / "ESC-50-master" / "meta" / "esc50.csv"
    meta.write_text(meta.read_text().replace("src_file", "source"))
    with pytest.raises(SongTableError, match="there is no column 'src_file' in it"):
        table_of(data_set("esc50"), tmp_path)


def test_the_folds_of_urbansound8k_are_the_cross_validation(tmp_path):
    """A miniature with sound is cross-validated on its ten folds, never on others."""
    make.urbansound8k(tmp_path)
    table = table_of(small("urbansound8k", songs=20, labels=2, folds=10), tmp_path)
    table.write(tmp_path / "us8k.csv")
    crossed = songbag.crossval(
        tmp_path / "us8k.csv", recipe="fast", encoder="none", quiet=True, output=tmp_path / "cv"
    )
    assert crossed.metrics["split"]["method"].startswith(
        "10 folds given by the table, grouped by group"
    )
    assert crossed.predictions["side"].nunique() == 10


def test_fma_small_has_its_own_split_and_leaves_broken_files_out(tmp_path):
    make.fma(tmp_path, write=make.touch)
    (tmp_path / "fma_small" / "099" / "099134.mp3").unlink()
    facts = small("fma_small", songs=11, labels=2, train=5, validation=3, test=3)
    for folder in (tmp_path, tmp_path / "fma_small"):
        table = table_of(facts, folder)
        assert "99134" not in {row["id"] for row in table.rows}
        assert "left out, cannot be used: 99134" in table.said
    by_id = {row["id"]: row for row in table.rows}
    assert by_id["99131"] == {
        "id": "99131", "path": str(tmp_path / "fma_small" / "099" / "099131.mp3"), "label": "Folk",
        "split": "train", "fold": "", "artist": "51",
    }  # fmt: skip


def test_lists_that_are_damaged_are_refused(tmp_path):
    make.fma(tmp_path, write=make.touch)
    tracks = tmp_path / "fma_metadata" / "tracks.csv"
    tracks.write_text(tracks.read_text().replace("99135,", "Folk,"))
    with pytest.raises(SongTableError, match=r"its lists cannot be read .*Folk"):
        table_of(small("fma_small"), tmp_path)
    make.mtg_jamendo(tmp_path / "jamendo", make.touch)
    lists = tmp_path / "jamendo" / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv"
    lists.write_bytes(lists.read_bytes() + b"track_1\tartist\n")
    with pytest.raises(SongTableError, match=r"its lists cannot be read .*not enough values"):
        table_of(small("mtg_jamendo"), tmp_path / "jamendo")
    lists.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SongTableError, match="its lists cannot be read"):
        table_of(small("mtg_jamendo"), tmp_path / "jamendo")


def test_magnatagatune_is_split_by_folder_with_50_tags(tmp_path):
    tags = data_set("magnatagatune").tags
    assert len(set(tags)) == 50
    make.magnatagatune(tmp_path, tags, make.touch)
    facts = small("magnatagatune", songs=16, labels=50, train=12, validation=1, test=3)
    table = table_of(facts, tmp_path)
    assert table.columns == ["id", "path", "labels", "artist", "split"]
    assert [row["split"] for row in table.rows] == ["train"] * 12 + ["validation"] + ["test"] * 3
    assert "drone" not in {label for row in table.rows for label in row["labels"].split(";")}
    assert table.rows[3]["artist"] == "artist_3"
    (tmp_path / "mp3").rename(tmp_path / "clips")
    with pytest.raises(SongTableError, match=r"there is no 0 in it \(nor in mp3\)"):
        table_of(facts, tmp_path)


def test_mtg_jamendo_has_split_0_and_several_genres(tmp_path):
    """A miniature with sound trains on the split of its lists, as songs with several labels."""
    make.mtg_jamendo(tmp_path)
    facts = small("mtg_jamendo", songs=24, labels=3, train=8, validation=8, test=8)
    table_of(facts, tmp_path).write(tmp_path / "jamendo.csv")
    result = songbag.train(tmp_path / "jamendo.csv", tmp_path / "m.songbag", recipe="fast",
                           encoder="none", quiet=True)  # fmt: skip
    assert result.model.card.multilabel
    assert set(result.predictions.index) == {f"track_{k:07d}" for k in range(300, 308)}
    assert result.model.card.split.method.startswith("given by the table, grouped by artist")


def test_emotify_has_genres_by_folder(tmp_path):
    make.emotify(tmp_path / "emotifymusic", write=make.touch)
    table = table_of(small("emotify", songs=12, labels=4), tmp_path)
    assert table.columns == ["id", "path", "label"]
    assert table.rows[0]["id"] == "classical_001"
    make.touch(tmp_path / "emotifymusic" / "jazz" / "1.mp3")
    with pytest.raises(SongTableError, match=r"jazz/1\.mp3: no file of Emotify"):
        table_of(small("emotify"), tmp_path)


def test_the_list_says_what_is_known():
    text = command("data", "list").stdout
    for data in known().values():
        assert f"{data.name}  {data.title}" in text
        assert data.split in text and data.licence in text
    one = command("data", "list", "esc50").stdout
    assert "81.3 %  human listeners" in one and "GTZAN" not in one
    done = command("data", "list", "esc5")
    assert done.returncode == 2
    assert "Did you mean 'esc50'?" in done.stderr or "Did you mean" in done.stderr
