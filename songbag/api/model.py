"""A trained model in Python, and how results show themselves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from songbag.api.plots import draw_timeline
from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_songs
from songbag.data.waveform_dataset import is_one_waveform
from songbag.errors import SongTableError
from songbag.inference import model_file
from songbag.inference.model_file import Card
from songbag.inference.predict import predict
from songbag.inference.predictions import (
    probability_columns,
    song_columns,
    song_frame,
    song_row,
    window_frame,
    window_rows,
    withhold,
)
from songbag.inference.segments import COLUMNS, SegmentRules, segments
from songbag.metrics.label_kinds import kind_of
from songbag.recipes.load import read
from songbag.storage.downloads import local_model
from songbag.tasks.predict import unknown_level

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from songbag.data.open_songs import SongsLike

_NAMED = 6  # labels that are shown by name


class Shown(ABC):
    """Shows itself in three lines, and in a notebook as a small table of the same."""

    @abstractmethod
    def _lines(self) -> list[tuple[str, str]]:
        """Return what is said: pairs of a word and a text, the title first."""

    def __repr__(self) -> str:
        (title, about), *rest = self._lines()
        return "\n".join([f"{title} {about}", *(f"  {name:<10} {text}" for name, text in rest)])

    def _repr_html_(self) -> str:
        (title, about), *rest = self._lines()
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in rest
        )
        return f"<p><b>{escape(title)}</b> {escape(about)}</p><table>{rows}</table>"


@dataclass(frozen=True, repr=False)
class Model(Shown):
    """A trained model: a file, and its card with labels, settings, split and figures."""

    path: Path
    card: Card

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the probability columns."""
        return self.card.labels

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the feature columns that a model of window tables was trained on."""
        return self.card.features

    def predict(
        self,
        songs: "SongsLike",
        windows: bool = False,
        cache: str | Path | None = None,
        workers: int | None = None,
        max_hours: float = 1.0,
        allow_outside: bool = True,
        sample_rate: int | None = None,
        unknown: float | None = None,
    ) -> "pandas.DataFrame | pandas.Series[Any]":
        """Predict songs.

        Parameters
        ----------
        songs
            A file, a folder, a table or a DataFrame with a ``path`` column, a list of
            these, a packed folder, or a dataset of `bags_from_table`; or samples: a pair
            (samples, rate), a list of pairs, or arrays with ``sample_rate`` (see
            `songbag.data.waveform_dataset.waveforms_of`).
        windows
            Return the windows' predictions instead of the songs'.
        cache, workers, max_hours
            Folder of extracted frames; processes, one a core by default and none for a few
            songs; longest recording that is decoded.
        allow_outside
            Let a table name files outside its folder; False for tables of strangers.
        sample_rate
            Of samples that come without one, Hz.
        unknown : float, optional
            Songs whose typicality is at most this, 0 to 1, get the status "unknown" and no label;
            by default what the model was trained with (``train(..., unknown=0.05)``).

        Returns
        -------
        DataFrame
            Indexed by ``id``, one row a song: status, reason, label, predicted, confidence,
            margin, p_<label>, ...; for the samples of one song that row. With ``windows``:
            indexed by ``id``, ``start``, ``end`` (seconds), one row a window: p_<label>,
            contribution_<label>.

        Raises
        ------
        SongTableError
            The songs cannot be listed. A song that cannot be read is a row with status
            "failed" instead.
        """
        options = AudioOptions(Path(cache) if cache else None, max_hours, workers, allow_outside)
        dataset = open_songs(songs, options, sample_rate=sample_rate)
        model = model_file.load_model(self.path)
        level = unknown_level(model, unknown)
        items = list(predict(model, dataset))
        if windows:
            for item in items:  # they have no rows
                if item.prediction is None:
                    Console().say(f"failed: {item.id}: {item.message}")
            rows = [row for item in items for row in window_rows(item, self.labels)]
            return window_frame(rows, self.labels)
        rows = [withhold(song_row(item, self.labels), unknown=level) for item in items]
        frame = song_frame(rows, song_columns(self.labels, dataset.everyone()))
        return frame.iloc[0] if is_one_waveform(songs) else frame

    def segments(
        self,
        songs: "SongsLike",
        threshold: float | None = None,
        gap_seconds: float = 0.5,
        least_seconds: float = 0.3,
        **options: Any,
    ) -> "pandas.DataFrame":
        """Return which label holds when: windows merged into spans.

        Parameters
        ----------
        songs, **options
            As `predict` takes them.
        threshold, gap_seconds, least_seconds
            See `songbag.inference.segments.SegmentRules`.

        Returns
        -------
        DataFrame
            A row a span: id, start, end (seconds), label, probability. A song that could not be
            read has none; `predict` says why.
        """
        import pandas

        values = {"threshold": threshold, "gap_seconds": gap_seconds}
        rules = read(SegmentRules, values | {"least_seconds": least_seconds}, "segments")
        frame = cast("pandas.DataFrame", self.predict(songs, windows=True, **options))
        rows = []
        for name, windows in frame.groupby(level=0, sort=False):
            times = windows.index.to_frame()
            shares = windows[probability_columns(self.labels)].to_numpy()
            starts, ends = times["start"].to_numpy(), times["end"].to_numpy()
            spans = segments(self.card, starts, ends, shares, rules)
            rows += [{"id": name, **asdict(span)} for span in spans]
        return pandas.DataFrame(rows, columns=list(COLUMNS))

    def export(self, path: str | Path) -> Path:
        """Write the model as one ONNX graph, from samples to prediction, for everywhere.

        Its input ``waveform`` is mono float32 at ``card.recipe.sound.sample_rate`` Hz,
        shape (samples,); its outputs are described in ``docs/howto/export.md``.

        Raises
        ------
        ExportError
            The model predicts windows of a table, the package ``onnx`` is missing, or the
            graph does not agree with the library to 1e-4. Nothing is written then.
        """
        from songbag.tasks.export import export_model

        return export_model(model_file.load_model(self.path), path, Console(quiet=True)).path

    def plot_timeline(self, song: Any, axes: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the probability of each label along a song; return matplotlib axes.

        ``song`` is one song as `predict` takes it, or of several the first; ``options`` are
        those of `predict`.
        """
        table = cast("pandas.DataFrame", self.predict(song, windows=True, **options))
        if not len(table):
            raise SongTableError("the song could not be read; predict says why")
        name = table.index[0][0]
        return draw_timeline(table.loc[[name]], self.labels, str(name), axes)

    def _lines(self) -> list[tuple[str, str]]:
        card = self.card
        encoder = f", encoder {card.encoder.name}" if card.encoder else ""
        recipe = ("recipe", f"{card.recipe.name}{encoder}")
        figures = figure_lines(card.figures)
        return [("Model", f"{self.path.name}, {short_list(self.labels)}"), recipe, *figures]


def load(path: str | Path) -> Model:
    """Open a model file.

    Parameters
    ----------
    path
        A file, or the address of one: ``hf://user/model`` on the Hugging Face hub, or
        ``https://host/genre.songbag#sha256=...``. It is downloaded once and kept.

    Raises
    ------
    ModelFileError
        It is missing, damaged, foreign or too new, or cannot be downloaded.
    SettingsError
        An address without a hash, or of another kind.
    """
    file = local_model(path)
    return Model(file, model_file.load_model(file).card)


def short_list(labels: Sequence[str]) -> str:
    """Return how many labels there are, and the first ones."""
    more = ", ..." if len(labels) > _NAMED else ""
    return f"{len(labels)} labels: {', '.join(labels[:_NAMED])}{more}"


def figure_lines(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a metrics.json in one line: the headline with its interval, and windows."""
    if not figures:
        return [("songs", "none was judged")]
    kind = kind_of(bool(figures.get("multilabel")))
    value = figures["metrics"][kind.headline]
    text = f"{value['value']:.3f}"
    if value["low"] is not None:
        text += f" (95 % interval {value['low']:.3f} to {value['high']:.3f})"
    text += f" on {figures['songs']} songs"
    if figures["window_accuracy"] is not None:
        text += f"; windows {figures['window_accuracy']:.3f}"
    return [(kind.headline, text)]
