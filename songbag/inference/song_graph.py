"""Build the exported graph: samples to frames, the model's own graphs, calibration.

The model's graphs are joined by the names of their inputs and outputs, as
`songbag.inference.predictor` runs them; nothing here knows what is inside.
"""

from importlib.metadata import version

import msgspec
import onnx

from songbag.errors import ExportError
from songbag.inference import sound_graph
from songbag.inference.model_file import Card, Model
from songbag.onnx_runtime.graph_builder import Axes, GraphBuilder, float32, int64

FORMAT = 1  # of the inputs, outputs and metadata of the graph


def song_graph(model: Model) -> onnx.ModelProto:
    """Return one graph from a waveform (samples,) to the song's answer.

    Its outputs are ``probabilities`` (classes,), ``window_probabilities`` (windows,
    classes), ``starts_seconds`` (windows,) and, where the pooling has a space, ``score``
    (classes,) and ``contributions`` (windows, classes).
    """
    card = model.card
    sound, cut = card.recipe.sound, card.recipe.windows
    network, pooling = _part(model, "network"), _part(model, "pooling")
    versions = {
        (one.domain, one.version) for part in (network, pooling) for one in part.opset_import
    }
    (domain, opset), *others = sorted(versions)
    if domain or others or network.functions or pooling.functions:
        raise ExportError(
            f"the model's graphs use the operations {sorted(versions)}; only one version of ONNX's "
            "own can be joined. Nothing was written. Save the model again with this Songbag."
        )
    nodes = GraphBuilder(int(opset))
    starts = sound_graph.add_starts(nodes, "waveform", sound, cut)
    frames = sound_graph.add_frames(nodes, "waveform", sound)
    frames = sound_graph.add_filled(nodes, frames, starts, card.window_shape[0])
    seen = nodes.include(network, "network", {"frames": frames, "starts": starts})["outputs"]
    pooled = nodes.include(pooling, "pooling", {"outputs": seen})
    classes = len(card.labels)
    # The network may give the pooling scores too: logits come first.
    logits = nodes.add("Slice", seen, int64(0), int64(classes), int64(1))
    outputs: dict[str, tuple[str, Axes]] = {
        "probabilities": (_probabilities(nodes, pooled["song"], card, song=True), (classes,)),
        "window_probabilities": (
            _probabilities(nodes, logits, card, song=False),
            ("windows", classes),
        ),
        "starts_seconds": (sound_graph.add_start_seconds(nodes, starts, sound), ("windows",)),
    }
    if "contributions" in pooled:
        outputs["score"] = (pooled["score"], (classes,))
        outputs["contributions"] = (pooled["contributions"], ("windows", classes))
    graph = nodes.model({"waveform": ("samples",)}, outputs)
    graph.producer_name, graph.producer_version = "songbag", version("songbag")
    graph.doc_string = _DESCRIPTION.format(rate=sound.sample_rate)
    onnx.helper.set_model_props(graph, _metadata(card, model.hash))
    return graph


def _part(model: Model, name: str) -> onnx.ModelProto:
    return onnx.load_model_from_string(model.parts[f"{name}.onnx"])


def _probabilities(nodes: GraphBuilder, logits: str, card: Card, song: bool) -> str:
    """Add `LabelKind.probabilities` of logits; windows are not calibrated."""
    scaled = nodes.add("Div", logits, float32(card.temperature)) if song else logits
    return (
        nodes.add("Sigmoid", scaled) if card.multilabel else nodes.add("Softmax", scaled, axis=-1)
    )


_DESCRIPTION = (
    "waveform: mono float32 samples at {rate} Hz, any number from one. "
    "probabilities: of the song, in the order of the labels in the metadata."
)


def _metadata(card: Card, model_hash: str) -> dict[str, str]:
    """Return what the graph says about itself; values that are no plain text are JSON."""
    recipe = card.recipe
    values = {
        "format": FORMAT,
        "labels": card.labels,
        "sample_rate": recipe.sound.sample_rate,
        "window_seconds": recipe.windows.seconds,
        "hop_seconds": recipe.windows.hop_seconds,
        "space": card.space,
        "temperature": card.temperature,
        "multilabel": card.multilabel,
        "thresholds": card.thresholds,
        "settings": recipe,
    }
    texts = {name: msgspec.json.encode(value).decode() for name, value in values.items()}
    return {f"songbag.{name}": text for name, text in texts.items()} | {
        "songbag.recipe": recipe.name,
        "songbag.api": model_hash,
    }
