"""A `datasets.Dataset` (Hugging Face) with a column of audio, as a table of songs.

Its audio is not decoded by it: encoded bytes are written into the cache under the hash of their
content and read as any other file.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songbag.errors import SongTableError
from songbag.storage.files import write_bytes

if TYPE_CHECKING:
    import pandas


def is_hub_dataset(songs: Any) -> bool:
    """Return whether ``songs`` is a `datasets.Dataset`."""
    return type(songs).__module__.partition(".")[0] == "datasets" and hasattr(songs, "features")


def hub_table(songs: Any, folder: Path) -> "pandas.DataFrame":
    """Return a table of the songs, with their files written below ``folder``.

    Class labels become their names; all columns stay, that of the audio as ``path``.

    Raises
    ------
    SongTableError
        There is no column of audio, or more than one.
    """
    import pandas
    from datasets import Audio, ClassLabel

    kinds = songs.features
    audio = [name for name, kind in kinds.items() if isinstance(kind, Audio)]
    if len(audio) != 1:
        raise SongTableError(
            f"a dataset needs one column of audio, and this one has {len(audio)}; columns are "
            f"{', '.join(kinds)}. Cast it: dataset.cast_column('audio', datasets.Audio())."
        )
    encoded = songs.cast_column(audio[0], Audio(decode=False))
    others = [name for name in kinds if name != audio[0]]
    table = pandas.DataFrame({name: list(encoded[name]) for name in others})
    for name in others:
        if isinstance(kinds[name], ClassLabel):
            table[name] = [
                None if code is None or code < 0 else kinds[name].int2str(code)
                for code in table[name]
            ]
    table.insert(0, "path", [_file(row, folder) for row in encoded[audio[0]]])
    if "id" not in table:
        table["id"] = [str(number) for number in range(len(table))]
    return table


def _file(row: dict[str, Any], folder: Path) -> str:
    data, path = row.get("bytes"), row.get("path") or ""
    if data is None:
        return str(path)
    name = hashlib.blake2b(data, digest_size=16).hexdigest() + Path(path).suffix
    file = folder / name[:2] / name
    if not file.exists():
        write_bytes(file, data)
    return str(file)
