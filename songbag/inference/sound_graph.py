"""ONNX graphs that are made without torch: from samples to a song's answer, and encoders.

The sums from samples to windows are those of `songbag.audio.features` and
`songbag.audio.windows`, over the whole song at once; their definitions and constants hold here.
"""

from importlib.metadata import version

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from songbag import parts
from songbag.audio import features, windows
from songbag.errors import ExportError
from songbag.inference.model_file import TYPICALITY, Card, Model
from songbag.metrics.typicality import Typicality
from songbag.onnx_runtime.graph_builder import Axes, GraphBuilder, float32, int64
from songbag.settings import Encoding, Sound, Windows

FORMAT = 1  # of the inputs, outputs and metadata of the exported graph
_DESCRIPTION = (
    "waveform: mono float32 samples at {rate} Hz, any number from one. "
    "probabilities: of the song, in the order of the labels in the metadata."
)


def song_graph(model: Model) -> onnx.ModelProto:
    """Return one graph from a waveform (samples,) to the song's answer.

    The model's own graphs are joined by the names of their inputs and outputs. The graph's
    outputs are ``probabilities`` (classes,), ``window_probabilities`` (windows, classes),
    ``starts_seconds`` (windows,) and, where the pooling has a space, ``score`` (classes,) and
    ``contributions`` (windows, classes); of a model that sets unknown songs aside also
    ``typicality`` () and ``window_typicality`` (windows,).
    """
    card = model.card
    sound, cut = card.recipe.sound, card.recipe.windows
    network, pooling = (
        onnx.load_model_from_string(model.parts[name]) for name in ("network.onnx", "pooling.onnx")
    )
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
    starts = add_starts(nodes, "waveform", sound, cut)
    frames = add_frames(nodes, "waveform", sound)
    if sound.encoding:
        frames = add_rows(nodes, frames, sound, model.parts["encoder.onnx"])
    frames = add_filled(nodes, frames, starts, card.window_shape[0])
    seen = nodes.include(network, "network", {"frames": frames, "starts": starts})["outputs"]
    if card.unknown:
        typicality = Typicality.from_part(model.parts[TYPICALITY])
        vectors = nodes.add("Slice", seen, int64(-typicality.values), int64(1 << 31), int64(1))
        seen = nodes.add("Slice", seen, int64(0), int64(-typicality.values), int64(1))
    pooled = nodes.include(pooling, "pooling", {"outputs": seen})
    classes = len(card.labels)
    # The network may give the pooling scores too: logits come first.
    logits = nodes.add("Slice", seen, int64(0), int64(classes), int64(1))
    song_shares = _probabilities(nodes, pooled["song"], card, song=True)
    window_shares = _probabilities(nodes, logits, card, song=False)
    places = nodes.add("Cast", starts, to=TensorProto.FLOAT)
    seconds = nodes.add("Mul", places, float32(sound.step / sound.sample_rate))
    outputs: dict[str, tuple[str, Axes]] = {
        "probabilities": (song_shares, (classes,)),
        "window_probabilities": (window_shares, ("windows", classes)),
        "starts_seconds": (seconds, ("windows",)),
    }
    if "contributions" in pooled:
        outputs["score"] = (pooled["score"], (classes,))
        outputs["contributions"] = (pooled["contributions"], ("windows", classes))
    if card.unknown:
        song = add_typicality(nodes, vectors, typicality, song=True)
        outputs["typicality"] = (nodes.add("Squeeze", song), ())
        of_windows = add_typicality(nodes, vectors, typicality, song=False)
        outputs["window_typicality"] = (of_windows, ("windows",))
    graph = nodes.model({"waveform": ("samples",)}, outputs)
    graph.producer_name, graph.producer_version = "songbag", version("songbag")
    graph.doc_string = _DESCRIPTION.format(rate=sound.sample_rate)
    onnx.helper.set_model_props(graph, _metadata(card, model.hash))
    return graph


def _probabilities(nodes: GraphBuilder, logits: str, card: Card, song: bool) -> str:
    """Add `LabelKind.probabilities` of logits; windows are not calibrated."""
    scaled = nodes.add("Div", logits, float32(card.temperature)) if song else logits
    return (
        nodes.add("Sigmoid", scaled) if card.multilabel else nodes.add("Softmax", scaled, axis=-1)
    )


def add_typicality(nodes: GraphBuilder, vectors: str, typicality: Typicality, song: bool) -> str:
    """Add p-values of white vectors (windows, values): (1,) of the song, or (windows,)."""
    if song:
        vectors = nodes.add("ReduceMean", vectors, int64(0), keepdims=1)
    away = nodes.add("Sub", nodes.add("Unsqueeze", vectors, int64(1)), typicality.centres)
    squares = nodes.add("ReduceSumSquare", away, int64(2), keepdims=0)
    distances = nodes.add("ReduceMin", squares, int64(1), keepdims=0)
    curve = typicality.songs if song else typicality.windows
    # The knots on both sides: as many are smaller or equal as come before the right one.
    column = nodes.add("Unsqueeze", distances, int64(1))
    below = nodes.add(
        "Cast", nodes.add("GreaterOrEqual", column, curve.knots), to=TensorProto.INT64
    )
    right = nodes.add("ReduceSum", below, int64(1), keepdims=0)
    right = nodes.add("Min", nodes.add("Max", right, int64(1)), int64(len(curve.knots) - 1))
    left = nodes.add("Sub", right, int64(1))
    x0, x1 = (nodes.add("Gather", curve.knots, side, axis=0) for side in (left, right))
    y0, y1 = (nodes.add("Gather", curve.levels, side, axis=0) for side in (left, right))
    share = nodes.add("Div", nodes.add("Sub", distances, x0), nodes.add("Sub", x1, x0))
    share = nodes.add("Min", nodes.add("Max", share, float32(0)), float32(1))
    return nodes.add("Add", y0, nodes.add("Mul", share, nodes.add("Sub", y1, y0)))


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
        "unknown": card.unknown,
        "settings": recipe,
    }
    texts = {name: msgspec.json.encode(value).decode() for name, value in values.items()}
    return {f"songbag.{name}": text for name, text in texts.items()} | {
        "songbag.recipe": recipe.name,
        "songbag.model": model_hash,
    }


# --- from samples to frames ---------------------------------------------------------------


def add_frames(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add frames (frames, sound.bands) of a waveform (samples,)."""
    part = parts.features()[sound.feature]
    add_feature = part.load("onnx")
    if add_feature is None:
        raise ExportError(
            f"the feature '{sound.feature}' of the package {part.package} does not say how it is "
            "computed in ONNX, so there is no graph from samples to answer. Nothing was written. "
            "Predict with the library instead."
        )
    frames: str = add_feature(nodes, waveform, sound)
    return frames


def add_logmel(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.logmel`."""
    frames = _loudness(nodes, waveform, sound)
    return _with_deltas(nodes, frames) if sound.deltas else frames


def add_mfcc(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.mfcc`."""
    matrix = features.cepstrum_matrix(sound.mel_bands, sound.coefficients)
    frames = nodes.add("MatMul", _loudness(nodes, waveform, sound), matrix)
    return _with_deltas(nodes, frames) if sound.deltas else frames


def add_waveform(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add `songbag.audio.features.waveform`."""
    width = sound.hop_length
    samples = nodes.add("Shape", waveform)
    beyond = nodes.add("Sub", int64(width), nodes.add("Mod", samples, int64(width)))
    padded = nodes.add("Pad", waveform, nodes.add("Concat", int64(0), beyond, axis=0))
    return nodes.add("Reshape", padded, int64(-1, width))


def _loudness(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add log-mel frames (frames, mel_bands), dB, none further below the loudest than top_db."""
    power = _power(nodes, waveform, sound)
    mel = nodes.add("MatMul", power, features.mel_matrix(sound))
    floored = nodes.add("Max", mel, float32(features.FLOOR))
    frames = nodes.add("Mul", nodes.add("Log", floored), float32(10 / np.log(10)))
    if sound.top_db is None:
        return frames
    loudest = nodes.add("ReduceMax", frames, keepdims=0)
    return nodes.add("Max", frames, nodes.add("Sub", loudest, float32(sound.top_db)))


def _power(nodes: GraphBuilder, waveform: str, sound: Sound) -> str:
    """Add the power spectrum, (frames, frame_length // 2 + 1).

    onnxruntime counts an STFT's frames in float32. Zeros for half a hop more than the last
    frame needs keep the count right up to millions of frames; without them the rounding may
    read beyond the end.
    """
    hop, length = sound.hop_length, sound.frame_length
    edge, samples = length // 2, nodes.add("Shape", waveform)
    last = nodes.add("Div", nodes.add("Sub", samples, int64(length - 2 * edge)), int64(hop))
    wanted = nodes.add("Add", nodes.add("Mul", last, int64(hop)), int64(length + hop // 2 - edge))
    pads = nodes.add("Concat", int64(edge), nodes.add("Sub", wanted, samples), axis=0)
    signal = nodes.add("Pad", waveform, pads)
    hann = features.hann(length)
    # The FFT of lengths that are no power of two loses four digits in float32.
    exact = length & (length - 1) != 0
    if exact:
        signal, hann = nodes.add("Cast", signal, to=TensorProto.DOUBLE), hann.astype(np.float64)
    signal = nodes.add("Unsqueeze", signal, int64(0, 2))
    spectrum = nodes.add("STFT", signal, np.array(hop), hann, onesided=1)
    power = nodes.add("ReduceSumSquare", spectrum, int64(-1), keepdims=0)
    power = nodes.add("Squeeze", power, int64(0))
    return nodes.add("Cast", power, to=TensorProto.FLOAT) if exact else power


def _with_deltas(nodes: GraphBuilder, frames: str) -> str:
    """Append regression slopes over neighbouring frames, the ends repeated."""
    reach = features.DELTA
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    slope = (steps / np.float32(np.sum(steps**2))).reshape(1, 1, -1, 1)
    near = nodes.add("Pad", frames, int64(reach, 0, reach, 0), mode="edge")
    slopes = nodes.add("Conv", nodes.add("Unsqueeze", near, int64(0, 1)), slope)
    return nodes.add("Concat", frames, nodes.add("Squeeze", slopes, int64(0, 1)), axis=1)


# --- from frames to windows ---------------------------------------------------------------


def add_starts(nodes: GraphBuilder, waveform: str, sound: Sound, cut: Windows) -> str:
    """Add the first frame of every window, (windows,): the window law."""
    window, hop = windows.window_and_hop(sound, cut)
    beyond = nodes.add("Sub", nodes.add("Shape", waveform), int64(window))
    hops = nodes.add("Div", nodes.add("Max", beyond, int64(0)), int64(hop))
    count = nodes.add("Squeeze", nodes.add("Add", hops, int64(1)))
    k = nodes.add("Range", np.array(0), count, np.array(1))
    grid = int64(sound.step * cut.stride)
    return nodes.add(
        "Mul", nodes.add("Div", nodes.add("Mul", k, int64(hop)), grid), int64(cut.stride)
    )


def add_filled(nodes: GraphBuilder, frames: str, starts: str, length: int) -> str:
    """Add the frames up to the last window's end, taken modulo their number.

    A song of at least one window has them all; a shorter one is repeated.
    """
    end = nodes.add("Add", nodes.add("ReduceMax", starts, keepdims=0), np.array(length))
    places = nodes.add("Range", np.array(0), end, np.array(1))
    count = nodes.add("Shape", frames, start=0, end=1)
    return nodes.add("Gather", frames, nodes.add("Mod", places, count), axis=0)


# --- an encoder ---------------------------------------------------------------------------


def add_rows(nodes: GraphBuilder, frames: str, sound: Sound, encoder: bytes) -> str:
    """Add the rows (rows, sound.bands) of an encoder, as `Encoder.rows`, from frames."""
    encoding = sound.encoding
    assert encoding is not None
    body = _with_opset(onnx.load_model_from_string(encoder), nodes.opset)
    (body_input,), (body_output,) = body.graph.input, body.graph.output
    taken = _pieces(nodes, frames, sound) if encoding.window else frames
    if encoding.scale != 1:
        taken = nodes.add("Mul", taken, float32(encoding.scale))
    rows = nodes.include(body, "encoder", {body_input.name: taken})[body_output.name]
    if encoding.levels:
        spectra = _mean_levels(nodes, frames, encoding)
        rows = nodes.add("Concat", rows, spectra, axis=1)
    coarse = nodes.add("Cast", rows, to=TensorProto.FLOAT16)  # as the library stores them
    return nodes.add("Cast", coarse, to=TensorProto.FLOAT)


def _mean_levels(nodes: GraphBuilder, frames: str, encoding: Encoding) -> str:
    """Add `songbag.encoders.encoder.mean_levels`, (cells, levels * bands)."""
    count = nodes.add("Shape", frames, start=0, end=1)
    each = encoding.cell // encoding.levels
    power = nodes.add("Exp", nodes.add("Mul", frames, float32(np.log(10) / 10)))
    sums = _summed(nodes, power, count, each)
    ones = nodes.add("Unsqueeze", nodes.add("Expand", np.ones(1, np.float32), count), int64(1))
    means = nodes.add("Div", sums, _summed(nodes, ones, count, each))
    spectra = nodes.add("Mul", nodes.add("Log", means), float32(10 / np.log(10)))
    # Of a last cell with fewer frames the last spectrum is repeated.
    last = nodes.add("Sub", nodes.add("Shape", spectra, start=0, end=1), int64(1))
    filled = nodes.add("Add", count, int64(encoding.cell - 1))
    cells = nodes.add("Div", filled, int64(encoding.cell))
    wanted = nodes.add("Squeeze", nodes.add("Mul", cells, int64(encoding.levels)))
    places = nodes.add("Min", nodes.add("Range", np.array(0), wanted, np.array(1)), last)
    chosen = nodes.add("Gather", spectra, places, axis=0)
    flat = nodes.add("Concat", cells, int64(-1), axis=0)
    return nodes.add("Reshape", chosen, flat)


def _summed(nodes: GraphBuilder, values: str, count: str, each: int) -> str:
    """Add sums over ``each`` rows of values (count, columns); the last of fewer."""
    groups = nodes.add("Div", nodes.add("Add", count, int64(each - 1)), int64(each))
    missing = nodes.add("Sub", nodes.add("Mul", groups, int64(each)), count)
    padded = nodes.add("Pad", values, nodes.add("Concat", int64(0, 0), missing, int64(0), axis=0))
    columns = nodes.add("Shape", values, start=1, end=2)
    shape = nodes.add("Concat", groups, int64(each), columns, axis=0)
    return nodes.add("ReduceSum", nodes.add("Reshape", padded, shape), int64(1), keepdims=0)


def _pieces(nodes: GraphBuilder, frames: str, sound: Sound) -> str:
    """Add the pieces of samples (rows, samples) that an encoder takes."""
    encoding = sound.encoding
    assert encoding is not None
    whole = nodes.add("Sub", nodes.add("Shape", frames, start=0, end=1), int64(1))
    count = nodes.add("Add", nodes.add("Div", whole, int64(encoding.cell)), int64(1))
    k = nodes.add("Range", np.array(0), nodes.add("Squeeze", count), np.array(1))
    latest = nodes.add("Max", nodes.add("Sub", whole, int64(encoding.window)), int64(0))
    begins = nodes.add("Min", nodes.add("Mul", k, int64(encoding.cell)), latest)
    places = nodes.add("Add", nodes.add("Unsqueeze", begins, int64(1)), np.arange(encoding.window))
    places = nodes.add("Mod", places, nodes.add("Max", whole, int64(1)))  # short ones repeat
    cut = nodes.add("Gather", frames, places, axis=0)
    return nodes.add("Reshape", cut, int64(0, encoding.window * sound.hop_length))


def _with_opset(encoder: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the encoder in a version of the operations."""
    from onnx import version_converter

    domains = {one.domain for one in encoder.opset_import} - {"", "ai.onnx"}
    if domains or encoder.functions:
        raise ExportError(
            f"the encoder uses operations of {sorted(domains) or 'its own'}, not ONNX's. Export "
            "it with plain ONNX operations."
        )
    written = next(one.version for one in encoder.opset_import)
    if written == opset:
        return encoder
    try:
        return version_converter.convert_version(encoder, opset)
    except Exception as error:  # onnx raises a family of its own
        raise ExportError(
            f"the encoder is written in version {written} of ONNX's operations and cannot be "
            f"brought to {opset}: {str(error).strip().splitlines()[0]}. Export it with that one."
        ) from None
