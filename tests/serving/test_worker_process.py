"""A song's answer without some of its windows."""

import base64

import numpy as np
import pytest
import requests

from songbag.inference.model_file import Model, load_model
from songbag.inference.predictor import Predictor


def without(server, body, removed):
    return requests.post(
        f"{server.url}/without", json={"kept": body["kept"], "removed": removed}, timeout=30
    )


def test_without_windows_the_rest_is_pooled_again(server, audio, labels):
    body = server.predict(audio[0], kept=True).json()
    same = without(server, body, []).json()
    assert same["song"] == body["song"]
    assert same["windows"] == body["windows"]
    removed = [0, 3, 4]
    answer = without(server, body, removed).json()
    left = [row for row in body["windows"] if row["window"] not in removed]
    # The founding recipe pools by the mean of probabilities, so the truth is easy to say.
    for label in labels:
        expected = np.mean([row[f"p_{label}"] for row in left])
        assert answer["song"][f"p_{label}"] == pytest.approx(expected, abs=1e-5)
        total = sum(row[f"contribution_{label}"] for row in answer["windows"])
        assert total == pytest.approx(expected, abs=1e-5)
    assert [row["window"] for row in answer["windows"]] == [row["window"] for row in left]
    assert [row["start"] for row in answer["windows"]] == [row["start"] for row in left]
    assert answer["song"]["windows"] == len(left)


@pytest.mark.parametrize("pooling", ["hard_vote", "mean_logit", "mean_probability"])
def test_without_is_right_for_every_pooling(model_path, pooling):
    from songbag.data.song import Song
    from songbag.inference.predictions import SongPrediction
    from songbag.inference.predictor import WindowOutputs
    from songbag.models.song_network import SongPooling
    from songbag.parts import poolings
    from songbag.serving.worker_process import answer_without, encode_answer
    from songbag.training.to_onnx import export_pooling

    model = load_model(model_path)
    parts = model.parts | {"pooling.onnx": export_pooling(SongPooling(poolings()[pooling], 3))}
    predictor = Predictor(Model(model.card, parts))
    said = 3 * np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    found = predictor.predict_outputs(WindowOutputs(said, np.arange(11.0), np.arange(11.0) + 5))
    text = encode_answer(SongPrediction(Song("a", ""), found), found, model.hash)
    got, left = answer_without(predictor, model.hash, text, (1, 5))
    assert left == [0, 2, 3, 4, 6, 7, 8, 9, 10]
    assert got.prediction.start_seconds.tolist() == left
    outputs = np.delete(said.astype(np.float64), [1, 5], axis=0)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    if pooling == "mean_logit":
        expected = np.exp(outputs.mean(axis=0))
    elif pooling == "mean_probability":
        expected = shares.mean(axis=0)
    else:  # the mean probability is one more vote
        expected = np.bincount(outputs.argmax(axis=1), minlength=3) + shares.mean(axis=0)
    expected = expected / expected.sum()
    assert got.prediction.probabilities == pytest.approx(expected, abs=1e-5)


def test_what_was_kept_is_checked(server, audio):
    body = server.predict(audio[0], kept=True).json()
    count = len(body["windows"])
    for removed, said in ((list(range(count)), "at least one"), ([count], f"0 to {count - 1}")):
        answer = without(server, body, removed)
        assert (answer.status_code, answer.json()["reason"]) == (422, "bad_request")
        assert said in answer.json()["message"]
    kept = bytearray(base64.b64decode(body["kept"]))
    rng = np.random.default_rng(0)
    texts = ["", "?", base64.b64encode(b"\x93" * 50).decode(), body["kept"][:200]]
    import msgspec.msgpack

    narrow = msgspec.msgpack.decode(bytes(kept)) | {"columns": 1}
    texts.append(base64.b64encode(msgspec.msgpack.encode(narrow)).decode())
    for place in rng.integers(len(kept), size=20):
        changed = bytearray(kept)
        changed[place] ^= 0xFF
        texts.append(base64.b64encode(changed).decode())
    for text in texts:
        answer = without(server, {"kept": text}, [0])
        assert answer.status_code in (200, 422), answer.text
        assert answer.status_code == 200 or answer.json()["reason"] == "bad_request"
    assert server.predict(audio[0]).status_code == 200
