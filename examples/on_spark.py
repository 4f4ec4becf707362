"""Extraction on Spark: the same unit of work, `extract(source, sound, cache, limits)`.

    pip install songbag pyspark pyarrow 'pandas<3'      # and Java 17 or newer
    python on_spark.py songs.csv /shared/cache receipts/

Every receipt is a row of Parquet with its song's id. Run it again after a fault: songs
whose frames are in the cache cost only reading them.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pandas
from pyspark.sql import SparkSession

from songbag.audio.audio_file import Source
from songbag.audio.extract import extract
from songbag.data.song_table import read_songs
from songbag.recipes.load import load_recipe
from songbag.settings import Limits

RECIPE = load_recipe("cnn")


def main(table: str, cache: str, output: str) -> None:
    """Spread the songs of a table and write their receipts."""
    songs = read_songs(table).songs
    folder = str(Path(cache).resolve())

    def heard(portions: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        for portion in portions:
            sources = [msgspec.json.decode(text, type=Source) for text in portion["source"]]
            found = [extract(one, RECIPE.sound, Path(folder), Limits()) for one in sources]
            yield pandas.DataFrame(
                {
                    "id": list(portion["id"]),
                    "status": [one.status for one in found],
                    "reason": [one.reason for one in found],
                    "receipt": [msgspec.json.encode(one).decode() for one in found],
                }
            )

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = (
        SparkSession.builder.appName("songbag")
        .config("spark.ui.enabled", "false")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .getOrCreate()
    )
    rows = [(s.id, msgspec.json.encode(s.source(RECIPE.excerpt)).decode()) for s in songs]
    made = (
        spark.createDataFrame(rows, "id string, source string")
        .repartition(max(1, len(rows) // 16))
        .mapInPandas(heard, "id string, status string, reason string, receipt string")
    )
    made.write.mode("overwrite").parquet(output)
    found = spark.read.parquet(output).collect()
    failed = [row for row in found if row["status"] == "failed"]
    once = sorted(row["id"] for row in found) == sorted(song.id for song in songs)
    print(f"{len(found)} receipts for {len(songs)} songs, every id once: {once}")
    print(f"{len(failed)} failed", *(f"{row['id']}: {row['reason']}" for row in failed), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
