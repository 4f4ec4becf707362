"""What training and judging return in Python: tables, figures, and how a notebook shows them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songbag.api.model import Model, Shown, figure_lines, load, short_list
from songbag.api.plots import draw_calibration, draw_comparison, draw_confusion
from songbag.inference.predictions import song_frame, window_frame
from songbag.tasks.conclusions import Conclusion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from songbag.tasks.evaluate import Evaluation


@dataclass(frozen=True, repr=False)
class Judged(Shown):
    """Predictions of songs that their model was not trained on, and figures made from them.

    Attributes
    ----------
    metrics : dict
        As ``metrics.json`` holds them; empty where no song was judged.
    predictions : DataFrame
        Indexed by song id: label, predicted, confidence, p_<label>, ...
    window_predictions : DataFrame
        One row a window: p_<label>, contribution_<label>.
    folder : Path
        Of the files, ``report.html`` among them.
    labels : tuple of str
        In the order of every probability column.
    """

    metrics: dict[str, Any]
    predictions: "pandas.DataFrame"
    window_predictions: "pandas.DataFrame"
    folder: Path
    labels: tuple[str, ...]

    def plot_confusion(self, axes: "Axes | None" = None) -> "Axes":
        """Draw which labels songs got instead of theirs; return matplotlib axes."""
        return draw_confusion(self.predictions, self.labels, axes)

    def plot_calibration(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the share of right answers against confidence; return matplotlib axes."""
        return draw_calibration(self.predictions, axes)

    def _lines(self) -> list[tuple[str, str]]:
        name = type(self).__name__
        return [(name, f"of {len(self.predictions)} songs"), *self._figures()]

    def _figures(self) -> list[tuple[str, str]]:
        return [*figure_lines(self.metrics), ("report", str(self.folder / "report.html"))]


@dataclass(frozen=True, repr=False)
class CrossValidation(Judged):
    """Out-of-fold predictions: every song by a model that was not trained on its artist."""


@dataclass(frozen=True, repr=False)
class EvaluationResult(Judged):
    """Predictions of a model for labelled songs."""


@dataclass(frozen=True, repr=False)
class Result(Judged):
    """A training's model, and its predictions for the test songs."""

    model: Model
    history: "pandas.DataFrame"

    def save(self, path: str | Path) -> Model:
        """Copy the model file to ``path`` and return the model there."""
        shutil.copyfile(self.model.path, path)
        return load(path)

    def _lines(self) -> list[tuple[str, str]]:
        about = f"of recipe {self.model.card.recipe.name}, {short_list(self.labels)}"
        return [("Result", about), *self._figures()]


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What a comparison of systems tells.

    Attributes
    ----------
    systems, differences : DataFrame
        A row a system, the best first; a row a pair of systems with its paired interval.
    said : list of str
        The conclusions in words.
    folder : Path
        Of the files, ``report.html`` among them.
    metric : str
        What systems are compared by.
    """

    systems: "pandas.DataFrame"
    differences: "pandas.DataFrame"
    said: list[str]
    folder: Path
    metric: str

    @classmethod
    def of(cls, conclusion: Conclusion) -> "Comparison":
        """Return the tables of a conclusion."""
        import pandas

        systems = pandas.DataFrame(conclusion.systems).set_index("system")
        pairs = pandas.DataFrame(conclusion.differences)
        return cls(systems, pairs, conclusion.said, conclusion.folder, conclusion.metric)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the metric of each system with its interval; return matplotlib axes."""
        return draw_comparison(self.systems, self.metric, axes)

    def _lines(self) -> list[tuple[str, str]]:
        best = self.systems.iloc[0]
        text = f"{self.systems.index[0]}, {self.metric} {best[self.metric]:.3f}"
        said = ("told", " ".join(self.said))
        return [("Comparison", f"of {len(self.systems)} systems"), ("best", text), said]


def frames_of(
    evaluation: "Evaluation | None", labels: Sequence[str]
) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Return the judged songs and their windows as DataFrames."""
    if evaluation is None:
        return song_frame([], ["id", "label", "predicted", "confidence"]), window_frame([], labels)
    songs = song_frame(evaluation.rows, evaluation.columns)
    return songs, window_frame(evaluation.window_rows, labels)
