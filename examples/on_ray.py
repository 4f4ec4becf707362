"""Extraction on Ray Data: the same unit of work, `extract(source, sound, cache, limits)`.

    pip install songbag 'ray[data]'
    python on_ray.py songs.csv /shared/cache receipts/

Every receipt is a row of Parquet with its song's id. Run it again after a fault: songs
whose frames are in the cache cost only reading them.
"""

import sys
from pathlib import Path

import msgspec
import ray

from songbag.audio.audio_file import Source
from songbag.audio.extract import extract
from songbag.data.song_table import read_songs
from songbag.recipes.load import load_recipe
from songbag.settings import Limits

RECIPE = load_recipe("cnn")


def heard(batch: dict, cache: str) -> dict:
    """Extract a portion of songs; a column of receipts comes back, as JSON."""
    receipts = []
    for source in batch["source"]:
        song = msgspec.json.decode(source, type=Source)
        receipts.append(extract(song, RECIPE.sound, Path(cache), Limits()))
    return {
        "id": batch["id"],
        "status": [one.status for one in receipts],
        "reason": [one.reason for one in receipts],
        "receipt": [msgspec.json.encode(one).decode() for one in receipts],
    }


def main(table: str, cache: str, output: str) -> None:
    """Spread the songs of a table and write their receipts."""
    songs = read_songs(table).songs
    rows = [
        {"id": song.id, "source": msgspec.json.encode(song.source(RECIPE.excerpt)).decode()}
        for song in songs
    ]
    ray.init(runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}, include_dashboard=False)
    made = ray.data.from_items(rows).map_batches(
        heard, fn_kwargs={"cache": str(Path(cache).resolve())}, batch_size=16, num_cpus=1
    )
    made.write_parquet(output, mode="overwrite")
    found = ray.data.read_parquet(output).take_all()
    failed = [row for row in found if row["status"] == "failed"]
    once = sorted(row["id"] for row in found) == sorted(song.id for song in songs)
    print(f"{len(found)} receipts for {len(songs)} songs, every id once: {once}")
    print(f"{len(failed)} failed", *(f"{row['id']}: {row['reason']}" for row in failed), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
