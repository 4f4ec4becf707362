"""Fill the cache with the frames of many songs, and report on each."""

from collections.abc import Iterator

from songbag.audio.extract import extract_all
from songbag.data.audio_dataset import AudioDataset
from songbag.settings import Recipe
from songbag.storage.files import Row

COLUMNS = ("id", "status", "reason", "seconds", "level_db", "frames", "warnings")


def extract_dataset(dataset: AudioDataset, recipe: Recipe) -> Iterator[Row]:
    """Yield a row of `COLUMNS` for every song, in order; ``frames`` is a file in the cache."""
    sources = [song.source(recipe.excerpt) for song in dataset.songs]
    receipts = extract_all(sources, recipe.sound, dataset.cache, dataset.limits, dataset.workers)
    for song, receipt in zip(dataset.songs, receipts, strict=True):
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
