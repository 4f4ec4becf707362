"""Songbag: classify whole songs from short windows.

>>> import songbag
>>> result = songbag.train("songs.csv", "genre.songbag")      # doctest: +SKIP
>>> result.predictions                                        # doctest: +SKIP
>>> songbag.load("genre.songbag").predict("new/")             # doctest: +SKIP

Names are imported when they are first used, so ``import songbag`` stays instant.
"""

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime (1.29 and later) reports its use to its maker unless told not to before it is
# imported. Songbag sends nothing anywhere; whoever wants the reports sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from songbag.api import (
        CrossValidation,
        Model,
        Result,
        check,
        crossval,
        embed,
        load,
        tag,
        train,
    )
    from songbag.data.window_table import bags_from_arrays, bags_from_table
    from songbag.errors import SongbagError
    from songbag.estimator import SongClassifier

__version__ = "0.1.0"
__all__ = [
    "CrossValidation",
    "Model",
    "Result",
    "SongClassifier",
    "SongbagError",
    "bags_from_arrays",
    "bags_from_table",
    "check",
    "crossval",
    "embed",
    "load",
    "tag",
    "train",
]
_OTHERS = {
    "SongClassifier": "songbag.estimator",
    "SongbagError": "songbag.errors",
    "bags_from_arrays": "songbag.data.window_table",
    "bags_from_table": "songbag.data.window_table",
    "check": "songbag.api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'songbag' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_OTHERS.get(name, "songbag.api")), name)
