"""`SongClassifier`: Songbag as an estimator of scikit-learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from songbag.api import open_dataset, recipe_and_own, songs_frame, windows_frame
from songbag.console import Console
from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset, SongDataset
from songbag.data.song import Song
from songbag.data.window_table import bags_from_arrays
from songbag.errors import SongTableError
from songbag.inference.model_file import Model, load_model, save_model
from songbag.inference.predict import predict
from songbag.inference.predictions import SongPrediction
from songbag.recipes import read_settings

if TYPE_CHECKING:
    import pandas

_SHOWN = 5  # songs that could not be read, named in an error
