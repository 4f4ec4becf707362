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
    from songbag.api.collection import sort, undo
    from songbag.api.data import data_table, known_data
    from songbag.api.estimator import SongClassifier
    from songbag.api.model import Model, load
    from songbag.api.results import Comparison, CrossValidation, EvaluationResult, Result
    from songbag.api.songs import check, embed, pack, similar, song_map, suggest, tag
    from songbag.api.training import compare, crossval, evaluate, leakage, train
    from songbag.data.window_table import bags_from_arrays, bags_from_table
    from songbag.errors import SongbagError
    from songbag.training.callbacks import Callback

__version__ = "0.1.0"
_PLACES = {  # of what people call by name; sorted, it is what ``songbag.<TAB>`` shows
    "Callback": "training.callbacks",
    "Comparison": "api.results",
    "CrossValidation": "api.results",
    "EvaluationResult": "api.results",
    "Model": "api.model",
    "Result": "api.results",
    "SongClassifier": "api.estimator",
    "SongbagError": "errors",
    "bags_from_arrays": "data.window_table",
    "bags_from_table": "data.window_table",
    "check": "api.songs",
    "compare": "api.training",
    "crossval": "api.training",
    "data_table": "api.data",
    "embed": "api.songs",
    "evaluate": "api.training",
    "known_data": "api.data",
    "leakage": "api.training",
    "load": "api.model",
    "pack": "api.songs",
    "similar": "api.songs",
    "song_map": "api.songs",
    "sort": "api.collection",
    "suggest": "api.songs",
    "tag": "api.songs",
    "train": "api.training",
    "undo": "api.collection",
}
__all__ = [
    "Callback",
    "Comparison",
    "CrossValidation",
    "EvaluationResult",
    "Model",
    "Result",
    "SongClassifier",
    "SongbagError",
    "bags_from_arrays",
    "bags_from_table",
    "check",
    "compare",
    "crossval",
    "data_table",
    "embed",
    "evaluate",
    "known_data",
    "leakage",
    "load",
    "pack",
    "similar",
    "song_map",
    "sort",
    "suggest",
    "tag",
    "train",
    "undo",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'songbag' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"songbag.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
