"""Fill the cache with the frames of many songs, and say of each what became of it."""

from collections.abc import Iterator
from pathlib import Path

from songbag.audio.extract import extract_all
from songbag.data.song_table import SongTable
from songbag.parallel.pool import Workers
from songbag.settings import Limits, Recipe
from songbag.storage.csv_files import Row

COLUMNS = ("id", "status", "reason", "seconds", "level_db", "frames", "warnings")


def extract_collection(
    table: SongTable, recipe: Recipe, cache: Path, limits: Limits, workers: Workers
) -> Iterator[Row]:
    """Yield a row of `COLUMNS` for every song, in order; ``frames`` is a file in the cache."""
    sources = [song.source(recipe.excerpt) for song in table.songs]
    receipts = extract_all(sources, recipe.sound, cache, limits, workers)
    for song, receipt in zip(table.songs, receipts, strict=True):
        ok = receipt.status == "ok"
        yield {
            "id": song.id,
            "status": receipt.status,
            "reason": receipt.reason,
            "seconds": receipt.samples / recipe.sound.sample_rate if ok else None,
            "level_db": receipt.level_db if ok else None,
            "frames": receipt.key,
            "warnings": "; ".join(receipt.warnings) if ok else receipt.message,
        }
