"""The check on real songs: nothing false among 290, and planted faults found."""

import csv
from pathlib import Path

import numpy as np
import pandas
import pytest
import soxr

import songbag
from songbag.audio.waveform import write_waveform
from tests.helpers.audio import read_waveform

pytestmark = [pytest.mark.full, pytest.mark.torture]

RATE = 22050
# Found by the check, and confirmed sample by sample: after alignment the waveforms of these
# correlate .97 to .99 and .95 to .96 in every 5 s, those of `PART` 1.0 in the first 15 s and
# .0 after.
COPIES = {frozenset({"pop_059", "pop_066"}), frozenset({"rock_072", "rock_075"})}
PART = frozenset({"pop_028", "rock_044"})
KINDS = ("duplicate", "copy", "label_conflict")
WAYS = [
    *[(".mp3", 22050, 32_000), (".mp3", 44100, 64_000), (".mp3", 44100, 128_000)],
    *[(".m4a", 44100, 64_000), (".opus", 48000, 32_000), (".wav", 11025, 0)],
]


def read_table(emotify):
    table = pandas.read_csv(emotify)
    table["path"] = f"{emotify.parent}/" + table["path"]
    return table


def pairs_of(found, *kinds):
    found = found[found.kind.isin(kinds)]
    return {frozenset(pair) for pair in zip(found.id, found.other_id, strict=True)}


def shifted_copies(table, folder, rng, count):
    """Write copies at other bit rates, trimmed by 0.3 to 5 s, louder or softer."""
    rows = []
    for number, place in enumerate(rng.choice(len(table), count, replace=False)):
        row = table.iloc[place].to_dict()
        wave = read_waveform(row["path"], RATE)[0][int(RATE * rng.uniform(0.3, 5)) :]
        wave = wave * 10 ** (rng.uniform(-12, 3) / 20)
        ending, rate, bit_rate = WAYS[number % len(WAYS)]
        wave = wave if rate == RATE else soxr.resample(wave, RATE, rate)
        path = folder / f"copy{number}{ending}"
        write_waveform(path, np.clip(wave, -1, 1).astype(np.float32), rate, bit_rate or 128_000)
        rows.append(row | {"id": f"copy of {row['id']}", "path": str(path)})
    return rows


def test_nothing_false_is_found_among_real_songs(emotify):
    found = songbag.check(read_table(emotify), quiet=True)
    assert pairs_of(found, *KINDS) == COPIES
    assert pairs_of(found, "shared_part") == {PART}
    told = found[found.kind == "giveaway"]
    assert len(told) == 1
    assert "loudness alone tells the label of 4" in told.found.iloc[0]
    rest = found[~found.kind.isin([*KINDS, "shared_part", "giveaway"])]
    assert set(rest.kind) == {"clipped"}
    assert len(rest) == 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_copies_and_truncated_files_are_found(emotify, tmp_path, seed):
    table, rng = read_table(emotify), np.random.default_rng(seed)
    rows = table.to_dict("records")
    cut = rng.choice(len(rows), 10, replace=False)
    for place in cut:
        data = Path(rows[place]["path"]).read_bytes()
        path = tmp_path / Path(rows[place]["path"]).name
        path.write_bytes(data[: int(len(data) * rng.uniform(0.3, 0.95))])
        rows[place]["path"] = str(path)
    copies = shifted_copies(table, tmp_path, rng, 30)
    with open(tmp_path / "songs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(table.columns))
        writer.writeheader()
        writer.writerows([*rows, *copies])
    found = songbag.check(tmp_path / "songs.csv", quiet=True)
    truncated = set(found[found.kind == "truncated"].id)
    assert truncated == {rows[place]["id"] for place in cut}
    wanted = {frozenset({row["id"], row["id"].removeprefix("copy of ")}) for row in copies}
    pairs = pairs_of(found, *KINDS)
    assert len(wanted & pairs) >= 28
    # copies of the songs that were twice there already pair with both
    own = {frozenset(name.removeprefix("copy of ") for name in pair) for pair in pairs - wanted}
    assert own <= COPIES


def test_planted_mislabels_are_at_the_top_after_a_cross_validation(emotify, tmp_path):
    table, rng = read_table(emotify), np.random.default_rng(1)
    truth = table["label"].copy()
    for old, new, count in (
        ("classical", "electronic", 2),
        ("classical", "pop", 2),
        ("electronic", "classical", 3),
        ("pop", "classical", 3),
    ):
        pool = table.index[(truth == old) & (table["label"] == truth)]
        table.loc[rng.choice(pool, count, replace=False), "label"] = new
    songbag.crossval(table, tmp_path / "cv", recipe="cnn", quiet=True)
    found = songbag.check(table, crossval=tmp_path / "cv", quiet=True)
    listed = found[found.kind == "suspicious_label"]
    assert len(listed) == 20
    wrong = set(table["id"][table["label"] != truth])
    assert len(wrong & set(listed.id)) >= 7
