"""`SongClassifier`: Songbag as an estimator of scikit-learn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from songbag.api.training import recipe_and_own
from songbag.console import Console
from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset, SongDataset
from songbag.data.open_songs import AudioOptions, open_audio, open_songs
from songbag.data.song import Song
from songbag.data.song_table import user_fields
from songbag.data.waveform_dataset import waveforms_of
from songbag.data.window_table import bags_from_arrays
from songbag.errors import SongTableError
from songbag.inference.model_file import Model, load_model, save_model
from songbag.inference.predict import predict
from songbag.inference.predictions import SongPrediction, window_frame, window_rows
from songbag.tasks import train as training_task

if TYPE_CHECKING:
    import pandas

_SHOWN = 5  # songs that could not be read, named in an error


class SongClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify whole songs from short windows, as an estimator of scikit-learn.

    Parameters
    ----------
    recipe : str, path or Recipe, optional
        By default "auto" for audio ("ears" if a pooling or loss is named, "cnn" if a network
        is), "windows" for windows.
    encoder : str, optional
        What listens: a name of ``songbag encoders``, "none", or an ONNX file.
    network, pooling, loss : optional
        A name, or your own (see `songbag.train`).
    seed : int
        Of the training.
    settings : dict, optional
        Other settings of the training, such as ``{"epochs": 10}``.
    cache : path, optional
        Folder of what was computed of audio: refitting in folds computes nothing twice.
    workers : int, optional
        Processes that decode audio; one a core by default.
    max_hours : float
        Longest recording that is decoded.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        The labels as they were given, sorted: the order of the columns of `predict_proba`.
    model_ : songbag.inference.model_file.Model
        The trained model: what `save` writes, and what a pickle holds.

    Notes
    -----
    ``X`` is one of these; a row is a song, except in the last:

    - paths of audio files, or a DataFrame with a column ``path`` (and, if known, ``artist``,
      ``start``, ``end``);
    - pairs (samples, rate), or arrays of samples with ``sample_rate``;
    - bags: a `MemoryDataset` of `songbag.bags_from_table`, or a list of its bags, which
      scikit-learn's splitters take apart as any list;
    - windows (windows, ...) with ``songs``, the id of the song of each window. Labels are then
      one a window, and answers one a song, in the order in which songs first appear.

    All songs are trained on: hold songs out with scikit-learn's splitters, and give the artists
    as ``groups`` to ``cross_val_score``. A training that holds out a fifth by itself and reports
    on it is `songbag.train`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> songs = np.repeat(np.arange(12), 4)  # 12 songs of 4 windows
    >>> y = np.where(songs % 2, "metal", "classical")
    >>> X = rng.normal((y == "metal")[:, None] * 3.0, size=(48, 5))
    >>> classifier = SongClassifier().fit(X, y, songs=songs)
    >>> classifier.predict(X, songs=songs).tolist()[:3]
    ['classical', 'metal', 'classical']
    >>> classifier.predict_proba(X, songs=songs).shape
    (12, 2)
    """

    def __init__(
        self,
        recipe: Any = None,
        encoder: str | None = None,
        network: Any = None,
        pooling: Any = None,
        loss: Any = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
        cache: str | Path | None = None,
        workers: int | None = None,
        max_hours: float = 1.0,
    ) -> None:
        self.recipe = recipe
        self.encoder = encoder
        self.network = network
        self.pooling = pooling
        self.loss = loss
        self.seed = seed
        self.settings = settings
        self.cache = cache
        self.workers = workers
        self.max_hours = max_hours

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        groups: Sequence[Any] | None = None,
        songs: Sequence[Any] | None = None,
        sample_rate: int | None = None,
    ) -> Self:
        """Train on all songs.

        Parameters
        ----------
        X
            Songs, or windows with ``songs`` (see the class).
        y : sequence
            A label a song; a label a window with ``songs``.
        groups : sequence, optional
            Of each song (of each window with ``songs``): songs of one group, such as an artist,
            are held out together when the networks are weighed and calibrated.

        Raises
        ------
        SongTableError
            ``X`` is not one of the forms, lengths differ, a value is not finite, a song has two
            labels, or a label has a single song.
        TrainingError
            The recipe cannot be trained on these songs.
        """
        if np.ndim(y) != 1:
            raise SongTableError(f"y has the shape {np.shape(y)}: a song has one label.")
        given = np.asarray(y)
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise SongTableError("y holds labels that are missing or not finite.")
        dataset = self._dataset(X, songs, sample_rate, given, groups)
        parts = (self.network, self.pooling, self.loss)
        changes = dict(self.settings or {})
        recipe, own = recipe_and_own(dataset, self.recipe, self.encoder, changes, *parts)
        quiet = Console(quiet=True)
        training = training_task.train(dataset, recipe, quiet, self.seed, own=own, test_share=0.0)
        self.model_: Model = training.model
        self.classes_: NDArray[Any] = np.unique(given)
        return self

    def predict(
        self,
        X: Any,
        *,
        songs: Sequence[Any] | None = None,
        sample_rate: int | None = None,
    ) -> NDArray[Any]:
        """Return the label of each song, of the type of ``classes_``."""
        shares = self.predict_proba(X, songs=songs, sample_rate=sample_rate)
        labels: NDArray[Any] = self.classes_[shares.argmax(axis=1)]
        return labels

    def predict_proba(
        self,
        X: Any,
        *,
        songs: Sequence[Any] | None = None,
        sample_rate: int | None = None,
    ) -> NDArray[np.float64]:
        """Return calibrated probabilities (songs, classes), columns as in ``classes_``."""
        items = self._predictions(X, songs, sample_rate)
        shares = np.stack([item.prediction.probabilities for item in items if item.prediction])
        places = [self.model_.card.labels.index(str(label)) for label in self.classes_]
        return shares[:, places].astype(np.float64)

    def predict_windows(
        self,
        X: Any,
        *,
        songs: Sequence[Any] | None = None,
        sample_rate: int | None = None,
    ) -> "pandas.DataFrame":
        """Return the windows' probabilities and contributions (see `songbag.Model.predict`)."""
        items, labels = self._predictions(X, songs, sample_rate), self.model_.card.labels
        return window_frame([row for item in items for row in window_rows(item, labels)], labels)

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        songs: Sequence[Any] | None = None,
        sample_rate: int | None = None,
    ) -> float:
        """Return the share of songs whose label is right."""
        truth = np.asarray(y)
        if songs is not None:  # a label a window
            _, first = np.unique(np.asarray(songs), return_index=True)
            truth = truth[np.sort(first)]
        right = self.predict(X, songs=songs, sample_rate=sample_rate) == truth
        return float(np.average(right, weights=sample_weight))

    def save(self, path: str | Path) -> Path:
        """Write the model file, which ``songbag predict`` and `songbag.load` read."""
        self._require_fitted()
        save_model(path, self.model_)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return a classifier that answers with a model file; its classes are texts."""
        classifier = cls()
        classifier.model_ = load_model(path)
        classifier.classes_ = np.array(classifier.model_.card.labels)
        return classifier

    # --- inner workings ---

    def _require_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise NotFittedError("this SongClassifier is not fitted yet: call fit, or load a model")

    def _predictions(
        self, x: Any, songs: Sequence[Any] | None, sample_rate: int | None
    ) -> list[SongPrediction]:
        self._require_fitted()
        items = list(predict(self.model_, self._dataset(x, songs, sample_rate)))
        failed = [f"{item.id}: {item.message}" for item in items if item.prediction is None]
        if failed:
            more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
            raise SongTableError(
                f"{len(failed)} of {len(items)} songs could not be read: "
                f"{'; '.join(failed[:_SHOWN])}{more}. songbag.Model.predict answers for the others."
            )
        return items

    def _dataset(
        self,
        x: Any,
        songs: Sequence[Any] | None,
        sample_rate: int | None,
        y: NDArray[Any] | None = None,
        groups: Sequence[Any] | None = None,
    ) -> SongDataset:
        """Return the songs of X, with their labels and groups where they are given."""
        if songs is not None:
            about: dict[str, Any] = {} if groups is None else {"group": groups}
            names = tuple(map(str, x.columns)) if hasattr(x, "columns") else ()
            labels = None if y is None else y.tolist()
            bags = bags_from_arrays(np.asarray(x), labels, songs, origin="X", **about)
            return replace(bags, columns=names).with_songs(
                _stated(bags.songs, None, None, bool(about))
            )
        dataset = self._songs(x, sample_rate)
        count = len(dataset.everyone())
        for name, values in {"y": y, "groups": groups}.items():
            if values is not None and len(values) != count:
                raise SongTableError(f"X holds {count} songs, and {name} {len(values)} values.")
        groups = None if groups is None else np.asarray(groups, dtype=object).tolist()
        return dataset.with_songs(_stated(dataset.songs, y, groups, groups is not None))

    def _songs(self, x: Any, sample_rate: int | None) -> SongDataset:
        """Return the songs of X without statements about them."""
        if isinstance(x, SongDataset):
            return x
        objects = isinstance(x, np.ndarray) and x.dtype.kind in "OU"
        rows = list(x) if objects or isinstance(x, list | tuple) else []
        if rows and all(isinstance(row, Bag) for row in rows):
            return MemoryDataset(rows, "X")
        options = AudioOptions(
            Path(self.cache) if self.cache else None, self.max_hours, self.workers, True
        )
        if rows and all(isinstance(row, str | Path) for row in rows):
            import pandas

            return open_audio(pandas.DataFrame({"path": list(map(str, rows))}), options)
        if hasattr(x, "columns") and "path" in x.columns:
            return open_audio(x, options)
        if getattr(x, "ndim", 0) == 2 and sample_rate is None:
            raise SongTableError(
                f"X of shape {np.shape(x)} may be windows of songs or songs' samples. Give songs=, "
                "the song of each window, or sample_rate=."
            )
        if waveforms_of(x, sample_rate) is None:
            raise SongTableError(
                "X is none of what SongClassifier takes: paths, a DataFrame with a column path, "
                "samples with their rate, bags, or windows with songs=."
            )
        return open_songs(x, options, sample_rate=sample_rate)


def _stated(
    songs: Sequence[Song], y: NDArray[Any] | None, groups: Sequence[Any] | None, grouped: bool
) -> list[Song]:
    """Return songs with labels and groups, their ids unique, without the sides of a split."""
    stated, seen = list[Song](), Counter[str]()
    for place, song in enumerate(songs):
        seen[song.id] += 1
        changes: dict[str, Any] = {"split": None}
        if seen[song.id] > 1:  # a song that was drawn twice
            changes["id"] = f"{song.id} ({seen[song.id]})"
        if y is not None:
            changes |= user_fields({}, str(y[place]), False) | {"multilabel": False}
            changes |= {"split": None, "artist": song.artist}
        if grouped:
            changes["group_by"] = "group"
            if groups is not None:
                changes["extra"] = song.extra | {"group": str(groups[place])}
        stated.append(replace(song, **changes))
    return stated
