"""Miniature folders, laid out exactly as the known data sets are; every file holds real audio."""

import csv

import numpy as np

from songbag.audio.waveform import write_waveform


def sound(path, seed=0, seconds=2.0):
    """Write a short file of noise, coloured by its seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).standard_normal(int(22050 * seconds))
    if seed % 2:
        wave = np.cumsum(wave) / 50
    write_waveform(path, (0.1 * wave / np.abs(wave).max()).astype(np.float32), 22050)
    return path


def write_rows(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def esc(folder, songs=30, write=sound):
    """Recordings of two classes in five folds; the first class is of ESC-10."""
    rows = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
    for k in range(songs):
        fold, target = 1 + k % 5, k // 5 % 2
        name = f"{fold}-{1000 + k // 2 * 10 + fold}-A-{target}.wav"
        rows.append([name, fold, target, ("dog", "rain")[target], str(target == 0), name.split("-")[1], "A"])  # fmt: skip
        write(folder / "audio" / name, 2 * k + target)
    write_rows(folder / "meta" / "esc50.csv", rows)
    return folder


def urbansound8k(folder, songs=20, write=sound):
    rows = [["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]]
    for k in range(songs):
        name, fold = f"{100 + k}-{k % 2}-0-0.wav", 1 + k % 10
        rows.append([name, 100 + k, 0.0, 2.0, 1, fold, k % 2, ("air_conditioner", "siren")[k // 10]])  # fmt: skip
        write(folder / "audio" / f"fold{fold}" / name, 2 * k + k // 10)
    write_rows(folder / "metadata" / "UrbanSound8K.csv", rows)
    return folder


def fma(folder, songs=12, write=sound):
    """Songs of the subset small and one of the subset medium, whose file is not there."""
    rows = [
        ["", "artist", "artist", "set", "set", "track"],
        ["", "id", "name", "split", "subset", "genre_top"],
        ["track_id", "", "", "", "", ""],
    ]
    for k in range(songs):
        side = ("training", "training", "validation", "test")[k % 4]
        number = 99130 + k  # 99134 is one of the broken ones
        rows.append([number, 50 + k, f"artist {k}", side, "small", ("Folk", "Rock")[k // 4 % 2]])
        write(folder / "fma_small" / f"{number // 1000:03d}" / f"{number:06d}.mp3", k // 4)
    rows.append([200, 7, "another", "training", "medium", "Pop"])
    write_rows(folder / "fma_metadata" / "tracks.csv", rows)
    return folder


def magnatagatune(folder, tags, write=sound, audio="mp3"):
    """A clip in each of the 16 folders, and one that is known to be missing."""
    rows = [["clip_id", *tags, "drone", "mp3_path"]]
    for k, place in enumerate("0123456789abcdef"):
        path = f"{place}/artist_{k}-an_album-01-a_song-0-29.mp3"
        rows.append([k + 1, *(int(number % 8 == k % 8) for number in range(len(tags))), 1, path])
        write(folder / audio / path, k)
    rows.append([35644, *(0 for _ in tags), 0, "6/norine_braun-now_and_zen-08-gently-117-146.mp3"])
    write_rows(folder / "annotations_final.csv", rows, "\t")
    return folder


def mtg_jamendo(folder, write=sound, ending=".low.mp3"):
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    for first, side in ((100, "train"), (200, "validation"), (300, "test")):
        lines = [head]
        for k in range(first, first + 8):
            tags = "genre---rock\tgenre---hardrock" if k % 2 else "genre---jazz"
            path = f"{k % 100:02d}/{k}.mp3"
            lines.append(f"track_{k:07d}\tartist_{k:06d}\talbum_{k:06d}\t{path}\t2.0\t{tags}\n")
            write(folder / "audio-low" / path.replace(".mp3", ending), k)
        place = folder / "data" / "splits" / "split-0"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"autotagging_genre-{side}.tsv").write_text("".join(lines))
    return folder


def gtzan(folder, write=sound, ending=".wav"):
    """All 1000 names, as the table is that of whole GTZAN."""
    for genre in ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"):  # fmt: skip
        for k in range(100):
            write(folder / genre / f"{genre}.{k:05d}{ending}", k)
    return folder


def emotify(folder, songs=3, write=sound):
    for genre in ("classical", "electronic", "pop", "rock"):
        for k in range(1, songs + 1):
            write(folder / genre / f"{k}.mp3", k)
    return folder


def touch(path, seed=0):
    """Write an empty file: tables are made without listening."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
