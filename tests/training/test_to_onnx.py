"""Exported graphs agree with their modules, or are refused."""

import pytest
import torch

from songbag.encoders.musicnn import load
from songbag.errors import ExportError
from songbag.models import build
from songbag.models.song_network import SongNetwork
from songbag.training import to_onnx
from tests.helpers.networks import SHAPES, mean_logit


@pytest.mark.parametrize(
    "name",
    # Of the others the full run exports all; trainings that other tests make use most of them.
    [
        pytest.param(name, marks=[] if name in ("founding", "mlp") else pytest.mark.full)
        for name in sorted(SHAPES)
    ],
)
def test_networks_export_for_songs_and_for_windows(name):
    torch.manual_seed(0)
    network = build.build(name, SHAPES[name], mean_logit(3), 0.3, None).eval()
    graph = to_onnx.export_network(network, True, 4 * (network.time_stride or 1))
    assert b"site-packages" not in graph  # torch writes where each operation was called
    assert b".py" not in graph
    to_onnx.export_network(network, False, 1)


@pytest.mark.full
@pytest.mark.parametrize("name", ["probe", "linear", "statistics"])
def test_a_network_on_an_encoders_cells_exports_alone(name):
    sound = load().sound
    network = build.build(name, (4, sound.bands), mean_logit(3), sound=sound).eval()
    to_onnx.export_network(network, True, 2)


def test_a_graph_with_a_fixed_number_of_windows_is_refused():
    class Fixed(torch.nn.Module):
        def forward(self, windows):
            return windows.reshape(len(windows), -1, 4).mean(dim=1)[:, :3]  # len() is a number

    with pytest.raises(ExportError, match=r"x.shape\[0\], not len\(x\)"):
        to_onnx.export_network(SongNetwork(Fixed(), (8, 4)).eval(), False, 1)


def test_a_network_that_cannot_be_exported_truly_is_refused():
    class CountsWindows(torch.nn.Module):
        def forward(self, windows):
            # A Python number is frozen into the graph: right for 3 windows only.
            return windows.mean(dim=(1, 2))[:, None] * len(windows.tolist()) * torch.ones(1, 3)

    network = SongNetwork(CountsWindows(), (8, 4)).eval()
    with pytest.raises((ExportError, Exception)) as caught:
        to_onnx.export_network(network, False, 1)
    assert caught.value is not None


def test_a_graph_that_disagrees_is_refused():
    network = build.build("mlp", (8, 4), mean_logit(3), 0.0, None).eval()
    graph = to_onnx.export_network(network, False, 1)
    other = build.build("mlp", (8, 4), mean_logit(3), 0.0, None).eval()
    signature = to_onnx.Signature(["windows"], ["outputs"], ({0: ("windows", 1)},))
    with pytest.raises(ExportError, match="disagrees with the trained network at 2 windows"):
        to_onnx.check(graph, other, signature, {2: (to_onnx._noise(2, 8, 4),)})
