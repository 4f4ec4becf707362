"""Encoders of others: read with what they state, or refused with a reason."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from songbag.encoders.choose import choose_recipe
from songbag.encoders.manifest import METADATA, load_encoder
from songbag.errors import AudioError, SettingsError
from songbag.onnx_runtime.graph_builder import GraphBuilder, float32, int64
from tests.helpers.encoders import STATED, write_encoder


def refused(path):
    with pytest.raises(SettingsError) as error:
        load_encoder(str(path))
    text = str(error.value)
    assert str(path) in text
    return text


def test_a_json_file_beside_the_graph_says_what_it_takes(tmp_path):
    encoder = load_encoder(str(write_encoder(tmp_path / "mine.onnx")))
    assert encoder.sound.sample_rate == STATED["sample_rate"]
    assert (encoder.sound.step, encoder.encoding.values) == (STATED["hop"], 4)
    assert encoder.encoding.name == "mine"


def test_so_does_metadata_inside(tmp_path):
    path = write_encoder(tmp_path / "mine.onnx", beside=False)
    assert "nothing says what this encoder takes" in refused(path)
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA: json.dumps(STATED)})
    onnx.save(model, path)
    assert load_encoder(str(path)).encoding.window == 2


def test_pieces_are_those_of_the_samples(tmp_path):
    encoder = load_encoder(str(write_encoder(tmp_path / "mine.onnx")))
    hop, window = STATED["hop"], STATED["window"]
    for count in (1, hop - 1, hop, window, window + 1, 40 * hop + 3):
        samples = np.random.default_rng(count).standard_normal(count).astype(np.float32)
        frames = np.zeros((1 + count // hop, hop), np.float32)
        frames.ravel()[:count] = samples
        blocks = np.array_split(frames, 5) if len(frames) > 5 else [frames]
        rows = np.concatenate(list(encoder.rows(blocks)))
        assert len(rows) == 1 + count // hop
        whole = frames[: max(1, count // hop)].ravel()
        for place, row in enumerate(rows):
            first = min(place * hop, max(0, len(whole) - window))
            piece = np.resize(whole, max(window, len(whole)))[first : first + window]
            wanted = [piece.mean(), np.abs(piece).max(), piece.min(), piece.max()]
            np.testing.assert_allclose(row, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"sample_rate": 0}, ">= 1000"),
        ({"window": 0}, "states its sample_rate"),
        ({"window": 100, "hop": 50}, "cannot be run"),
        ({"hop": 4001}, "a hop that is not longer"),
        ({"hop": 1999}, "no common divisor"),
        ({"channels": 2}, "channels"),
        ({"dtype": "int16"}, "dtype"),
        ({"rate": 16000}, "rate"),
        ({"values": 7}, "gives vectors of the shape"),
        ({"window": 10**12}, "<= 16777216"),
        ({"tags": ["a", "b"]}, "with a head"),
        ({"levels": 1}, "of an encoder with a sound"),
        ({"context": 10}, "of an encoder with a sound"),
    ],
)
def test_what_an_encoder_states_must_hold(stated, reason, tmp_path):
    path = write_encoder(tmp_path / "mine.onnx", stated=STATED | stated)
    text = refused(path)
    assert reason in text


def test_poisoned_encoders_are_refused(tmp_path):
    path = tmp_path / "mine.onnx"
    write_encoder(path)
    path.write_bytes(b"not a graph")
    assert "not an ONNX graph" in refused(path)
    with path.open("wb") as file:
        file.truncate(2 << 30)
    assert "2048 MiB" in refused(path)
    path.unlink()
    assert "No such file" in refused(path)


def test_vectors_that_are_not_finite_are_refused(tmp_path):
    graph = GraphBuilder(20)
    mean = graph.add("ReduceMean", "samples", int64(1), keepdims=1)
    output = graph.add("Div", mean, graph.add("Sub", mean, mean))
    model = graph.model(
        {"samples": ("pieces", STATED["window"])}, {"vectors": (output, ("pieces", 1))}
    )
    path = write_encoder(tmp_path / "mine.onnx", model)
    assert "not finite" in refused(path)


def of_samples(graph, output, values=1):
    """The model of a graph from pieces of samples to vectors."""
    outputs = {"vectors": (output, ("pieces", values))}
    return graph.model({"samples": ("pieces", STATED["window"])}, outputs)


def test_vectors_that_float16_does_not_hold_are_refused(tmp_path):
    graph = GraphBuilder(20)
    mean = graph.add("ReduceMean", graph.add("Abs", "samples"), int64(1), keepdims=1)
    output = graph.add("Mul", mean, float32(1e6))
    text = refused(write_encoder(tmp_path / "mine.onnx", of_samples(graph, output)))
    assert "65,504" in text


def test_vectors_that_depend_on_their_company_or_on_chance_are_refused(tmp_path):
    graph = GraphBuilder(20)
    loudest = graph.add("ReduceMax", graph.add("Abs", "samples"), int64(1), keepdims=1)
    others = graph.add("ReduceMean", loudest, int64(0), keepdims=1)
    output = graph.add("Mul", graph.add("Sub", loudest, others), float32(100))
    path = write_encoder(tmp_path / "mine.onnx", of_samples(graph, output))
    assert "another vector for the same piece" in refused(path)
    graph = GraphBuilder(20)
    loudest = graph.add("ReduceMax", "samples", int64(1), keepdims=1)
    output = graph.add("Add", loudest, graph.add("RandomNormalLike", loudest))
    path = write_encoder(tmp_path / "mine.onnx", of_samples(graph, output))
    assert "another vector for the same piece" in refused(path)


def test_a_second_output_is_refused_where_values_are_stated(tmp_path):
    graph = GraphBuilder(20)
    most, least = (graph.add(f"Reduce{which}", "samples", int64(1)) for which in ("Max", "Min"))
    outputs = {"vectors": (most, ("pieces", 1)), "more": (least, ("pieces", 1))}
    model = graph.model({"samples": ("pieces", STATED["window"])}, outputs)
    path = write_encoder(tmp_path / "mine.onnx", model, stated=STATED | {"values": 1})
    assert "one input and one output, this one 1 and 2" in refused(path)


def test_a_hidden_layer_that_an_encoder_does_not_have_is_replaced_by_its_vectors(tmp_path):
    path = write_encoder(tmp_path / "mine.onnx")
    recipe = choose_recipe("ears", encoder=str(path))
    assert recipe.training.network == "linear"
    assert recipe.training.optimizer == "adamw" and not recipe.branches


def test_a_graph_with_weights_in_other_files_is_refused(tmp_path):
    graph = GraphBuilder(20)
    output = graph.add("MatMul", "samples", np.ones((STATED["window"], 3), np.float32))
    model = graph.model(
        {"samples": ("pieces", STATED["window"])}, {"vectors": (output, ("pieces", 3))}
    )
    path = write_encoder(tmp_path / "mine.onnx")
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert "other files" in refused(path)


def test_a_song_on_which_the_encoder_fails_is_a_failed_song(tmp_path):
    graph = GraphBuilder(20)
    loud = graph.add("ReduceMax", "samples", int64(1), keepdims=1)
    over = graph.add("Max", graph.add("Sub", loud, float32(5)), float32(0))
    output = graph.add("Add", graph.add("Exp", graph.add("Mul", over, float32(1e6))), loud)
    model = graph.model(
        {"samples": ("pieces", STATED["window"])}, {"vectors": (output, ("pieces", 1))}
    )
    encoder = load_encoder(str(write_encoder(tmp_path / "mine.onnx", model)))
    with pytest.raises(AudioError, match="not finite"):
        list(encoder.rows([np.full((9, STATED["hop"]), 9, np.float32)]))
