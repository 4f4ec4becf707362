"""An encoder that somebody else trained, from the command line to one model file."""

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from songbag.audio.audio_file import AudioReport
from songbag.audio.features import frame_blocks
from songbag.audio.waveform import read_blocks
from songbag.audio.windows import window_and_hop
from songbag.cli import main
from songbag.console import Console
from songbag.inference.model_file import PARTS, load_model
from songbag.recipes import load_recipe
from songbag.tasks.export import export_model

RATE, SECONDS = 8000, 2.0
CHANGES = [f"sound.sample_rate={RATE}", "sound.hop_length=80", f"windows.seconds={SECONDS}",
           "windows.hop_seconds=1.0"]  # fmt: skip


class Encode(nn.Module):
    """A bank of random filters, their energies in dB: (windows, samples) to (windows, 24)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.filters = nn.Conv1d(1, 24, 64, stride=8)

    def forward(self, samples):
        return (self.filters(samples.unsqueeze(1)).square().mean(dim=2) + 1e-6).log()


def written(path, module, example, dynamic=True, **more):
    shapes = ({0: torch.export.Dim("windows", min=1)},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **more
        )
    onnx.save(program.model_proto, path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    return written(path, Encode(), torch.zeros(3, int(RATE * SECONDS)), opset_version=18)


def invoked(*arguments):
    settings = [part for change in CHANGES for part in ("--set", change)]
    return CliRunner().invoke(main, [*map(str, arguments), *settings, "--workers", "1", "-q"])


@pytest.fixture(scope="module")
def model(songs, encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("embedding") / "genre.songbag"
    found = invoked("train", songs, "-o", path, "--embedding", encoder)
    assert found.exit_code == 0, found.output
    return path


def test_one_file_holds_the_encoder_and_says_what_both_say(model, songs, encoder):
    kept = load_model(model, PARTS)
    assert kept.card.source == "audio"
    assert kept.card.figures["metrics"]["accuracy"]["value"] > 0.5
    song = sorted((songs.parent / "audio").glob("*.wav"))[0]
    found = CliRunner().invoke(main, ["predict", str(model), str(song), "--windows"])
    assert found.exit_code == 0, found.output
    rows = found.stdout.splitlines()
    sound, cut = kept.card.recipe.sound, kept.card.recipe.windows
    samples = np.concatenate(list(read_blocks(song, RATE, AudioReport())))
    window, hop = window_and_hop(sound, cut)
    assert len(rows) == 1 + 1 + (len(samples) - window) // hop
    vectors = onnxruntime.InferenceSession(encoder).run(
        None,
        {"samples": np.stack([samples[k * hop : k * hop + window] for k in range(len(rows) - 1)])},
    )[0]
    weights = safetensors_of(kept)
    name = next(
        key.removesuffix("linear.weight") for key in weights if key.endswith("linear.weight")
    )
    scaled = (vectors - weights[f"{name}mean"]) / weights[f"{name}deviation"]
    logits = scaled @ weights[f"{name}linear.weight"].T + weights[f"{name}linear.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    said = [row.split(",") for row in rows[1:]]
    first = rows[0].split(",").index(f"p_{kept.card.labels[0]}")
    np.testing.assert_allclose(
        np.array([row[first : first + 3] for row in said], dtype=float), shares, atol=2e-3
    )


def safetensors_of(kept):
    from safetensors.numpy import load

    return load(kept.parts["weights.safetensors"])


def test_it_is_exported_from_waveform_to_answer(model, tmp_path):
    exported = export_model(load_model(model), tmp_path / "genre.onnx", Console(quiet=True))
    assert exported.difference < 1e-4
    meta = onnx.load(exported.path).metadata_props
    settings = json.loads(next(one.value for one in meta if one.key == "songbag.settings"))
    assert settings["sound"]["feature"] == "waveform"


def test_frames_of_a_waveform_are_its_samples():
    sound = load_recipe("embeddings", {"sound.hop_length": 160}).sound
    samples = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    blocks = list(frame_blocks(np.split(samples, [7, 500, 501]), sound))
    frames = np.concatenate(blocks)
    assert frames.shape == (1 + 1000 // 160, sound.bands)
    np.testing.assert_array_equal(frames.ravel()[:1000], samples)
    assert (frames.ravel()[1000:] == 0).all()
    exact = np.concatenate(list(frame_blocks([samples[:320]], sound)))
    assert exact.shape == (3, 160)


def test_encoders_that_cannot_be_used_are_refused_before_any_song_is_read(songs, encoder, tmp_path):
    def said(path, *more):
        found = invoked("train", songs, "-o", tmp_path / "x.songbag", "--embedding", path, *more)
        assert found.exit_code == 2, found.output
        return " ".join(found.output.split())

    assert "cannot be read: No such file" in said(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    assert "not an ONNX graph" in said(tmp_path / "text.onnx")
    one = written(
        tmp_path / "one.onnx", Encode(), torch.zeros(1, int(RATE * SECONDS)), dynamic=False
    )
    assert "any number of windows" in said(one)
    assert "is logmel. Use it with --recipe embeddings" in said(encoder, "--recipe", "fast")

    class Two(nn.Module):
        def forward(self, samples):
            return samples * 2, samples + 1

    two = written(tmp_path / "two.onnx", Two(), torch.zeros(2, int(RATE * SECONDS)))
    assert "one input and one output" in said(two)
    assert not (tmp_path / "x.songbag").exists()
