"""Songbag: classify whole songs from short windows.

>>> import songbag
>>> result = songbag.train("songs.csv", "genre.songbag")      # doctest: +SKIP
>>> result.predictions                                        # doctest: +SKIP
>>> songbag.load("genre.songbag").predict("new/")             # doctest: +SKIP

Names are imported when they are first used, so ``import songbag`` stays instant.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from songbag.errors import SongbagError
    from songbag.model import CrossValidation, Model, Result, crossval, load, train

__version__ = "0.1.0"
__all__ = ["CrossValidation", "Model", "Result", "SongbagError", "crossval", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'songbag' has no attribute '{name}'")
    from importlib import import_module

    module = "songbag.errors" if name == "SongbagError" else "songbag.model"
    return getattr(import_module(module), name)
