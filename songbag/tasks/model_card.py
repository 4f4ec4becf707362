"""A model as a page of Markdown, with the block of data that the Hugging Face hub reads."""

import json
from collections.abc import Iterable
from typing import Any

from songbag.console import visible
from songbag.data.changed_songs import TRAINED_ON
from songbag.inference.model_file import Card
from songbag.storage.downloads import MODEL_ENDING

_FEW_SONGS = 100  # tested; with fewer an interval is wider than 20 points or so
_NAMES = {  # of figures, for people
    "accuracy": "song accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "roc_auc": "ROC AUC",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "map": "mean average precision",
    "hamming_accuracy": "decisions right",
}


def model_card(card: Card, name: str, license: str = "unknown") -> str:
    """Return the model card of a model.

    Parameters
    ----------
    card : Card
        What the model says about itself.
    name : str
        Of the model, as a file without its ending.
    license : str
        The hub's word for the licence of the model, such as ``mit`` or ``cc-by-4.0``.
    """
    kind = "any number of labels" if card.multilabel else "one label"
    inputs = "whole songs" if card.source == "audio" else "songs given as a table of windows"
    about = (
        f"A model of the Python package Songbag that gives {inputs} {kind} of {len(card.labels)}. "
        "It looks at short windows, and its loss is that of the song (multiple instance learning)."
    )
    parts = [
        "\n".join(["---", *_metadata(card, name, license), "---"]),
        f"# {name}",
        about,
        *_labels(card),
        *_figures(card),
        *_making(card),
        "## Limits",
        "\n".join(f"- {each}" for each in _limits(card)),
        *_use(card, name),
    ]
    return "\n\n".join(visible(part) for part in parts) + "\n"


def _metadata(card: Card, name: str, license: str) -> list[str]:
    """Return the lines of YAML; texts are written as JSON, which is YAML."""
    tags = ["songbag", "music", "audio-classification", "multiple-instance-learning"]
    lines = [
        f"license: {json.dumps(license)}",
        "library_name: songbag",
        "pipeline_tag: audio-classification",
        "tags:",
        *(f"- {tag}" for tag in tags),
    ]
    measured = [(key, figure) for key, figure in _measured(card) if figure["value"] is not None]
    if not measured:
        return lines
    songs = f"{card.figures['songs']} songs that were not trained on"
    lines += [
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task:",
        "      type: audio-classification",
        "    dataset:",
        f"      name: {json.dumps(songs)}",
        "      type: custom",
        "    metrics:",
    ]
    for key, figure in measured:
        title = _NAMES.get(key, key)
        if figure["low"] is not None:
            title += f", 95 % interval {figure['low']:.3f} to {figure['high']:.3f}"
        lines += [
            f"    - type: {key}",
            f"      value: {figure['value']:.6f}",
            f"      name: {json.dumps(title)}",
        ]
    return lines


def _measured(card: Card) -> Iterable[tuple[str, dict[str, Any]]]:
    metrics: dict[str, dict[str, Any]] = card.figures.get("metrics", {})
    return metrics.items()


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(heads), *map(list, rows)]
    escaped = [[" ".join(each.split()).replace("|", "\\|") for each in row] for row in cells]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]])


def _labels(card: Card) -> list[str]:
    sides = card.split.counts if card.split else {}
    rows = [
        [label, *(str(counts.get(label, 0)) for counts in sides.values())] for label in card.labels
    ]
    return ["## Labels", _table(["label", *(f"songs, {side}" for side in sides)], rows)]


def _figures(card: Card) -> list[str]:
    if not card.figures:
        return ["## Figures", "None: it was not evaluated on songs that were not trained on."]
    figures, rows = card.figures, []
    for key, figure in _measured(card):
        low, high = figure["low"], figure["high"]
        value = "unknown" if figure["value"] is None else f"{figure['value']:.3f}"
        rows.append(
            [_NAMES.get(key, key), value, "" if low is None else f"{low:.3f} to {high:.3f}"]
        )
    if figures["window_accuracy"] is not None:
        rows.append(["window accuracy", f"{figures['window_accuracy']:.3f}", ""])
    for key, value in figures["baselines"].items():
        if value is not None:
            meaning = {"majority": "the most frequent answer", "level": "loudness alone"}
            said = meaning.get(key, "saying nothing")
            rows.append([f"to be beaten: {said}", f"{value:.3f}", ""])
    of = f"Of {figures['songs']} songs that were not trained on"
    if figures["groups"]:
        of += f", of {figures['groups']} groups (artists), over which the intervals are"
    parts = ["## Figures", f"{of}.", _table(["figure", "value", "95 % interval"], rows)]
    if card.split:
        parts.append(
            f"Split: {card.split.method}, {card.split.groups} groups, seed {card.split.seed}; "
            f"certificate `{card.split.hash}`."
        )
    return parts


def _making(card: Card) -> list[str]:
    recipe, facts = card.recipe, card.encoder
    networks = " and ".join(training.network for training in recipe.trainings)
    pooled = f"pooling `{recipe.training.pooling}`"
    lines = [f"- recipe `{recipe.name}`: {networks}, {pooled}, seed {card.seed}"]
    if card.source == "audio":
        lines.append(
            f"- windows of {recipe.windows.seconds:g} s every {recipe.windows.hop_seconds:g} s, "
            f"{recipe.sound.feature} at {recipe.sound.sample_rate} Hz"
        )
    if facts is not None:
        trained_on = f", trained on {facts.trained_on}" if facts.trained_on else ""
        lines.append(f"- encoder {facts.name}{trained_on}")
        lines.append(f"- licence of the encoder: {facts.license or 'not stated'}")
    if recipe.augment:
        changes = "; ".join(TRAINED_ON)
        lines.append(f"- trained on changed copies, too, {recipe.augment} a song: {changes}")
    lines.append("- made with " + ", ".join(f"{k} {v}" for k, v in card.versions.items()))
    return ["## How it was made", "\n".join(lines)]


def _limits(card: Card) -> list[str]:
    limits = []
    if card.figures:
        limits.append(
            "It was tested on songs of the collection that it was trained on. On others it may be "
            "worse."
        )
        if card.figures["songs"] < _FEW_SONGS:
            limits.append(f"{card.figures['songs']} tested songs are few: look at the intervals.")
    if card.unknown:
        limits.append(
            f"Songs unlike all those of training are set aside as unknown, and with them about "
            f"{card.unknown:.0%} of the songs that are like them."
        )
    elif not card.multilabel:
        limits.append("Every song gets one of the labels, also a song that none of them fits.")
    if card.split is not None and not card.figures.get("groups", 1):
        limits.append(
            "Artists were unknown: songs of one may stand on both sides of the split, which makes "
            "the figures too high."
        )
    if card.narrow:
        limits.append("Most of its training songs have no high frequencies, as old recordings.")
    return limits + list(card.encoder.remarks if card.encoder else ())


def _use(card: Card, name: str) -> list[str]:
    file = f"{name}{MODEL_ENDING}"
    songs = "new/" if card.source == "audio" else "windows.csv --song COLUMN"
    shell = f"```sh\npip install songbag\nsongbag predict '{file}' {songs}\n```"
    if card.source == "table":
        return ["## How to use it", shell]
    python = f'```python\nimport songbag\n\nprint(songbag.load("{file}").predict("new/"))\n```'
    return ["## How to use it", shell, python]
