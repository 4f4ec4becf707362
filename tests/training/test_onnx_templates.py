"""Graphs that are filled with the weights of another network."""

import pytest
import torch

from songbag.models import build
from songbag.models.song_network import Ensemble, SongNetwork, SongPooling
from songbag.parts import poolings
from songbag.training import onnx_templates, to_onnx
from tests.helpers.networks import SHAPES, mean_logit


def exported_twice(network, monkeypatch, whole_songs=True):
    """The graphs of a network and of one like it, and how often torch was asked for them."""
    translate, asked = to_onnx.translate, []
    monkeypatch.setattr(
        to_onnx, "translate", lambda *arguments: asked.append(1) or translate(*arguments)
    )
    onnx_templates._templates.clear()
    other = onnx_templates.blank(network)
    hop = 4 * (network.time_stride or 1)
    return [to_onnx.export_network(one, whole_songs, hop) for one in (network, other)], len(asked)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SONGBAG_CACHE", str(tmp_path))
    return tmp_path / "graphs"


# Each graph takes torch seconds; those of all networks are made in the full run.
@pytest.mark.parametrize(
    "name",
    [
        *("linear", "attention"),
        *(
            pytest.param(n, marks=pytest.mark.full)
            for n in sorted({*SHAPES, "scaled", "ensemble"} - {"linear"})
        ),
    ],
)
def test_a_graph_is_made_once_for_networks_of_one_plan(name, monkeypatch, own_cache):
    torch.manual_seed(0)
    bands = SHAPES["cnn"][1]
    scale = (torch.zeros(bands), torch.ones(bands)) if name == "scaled" else None
    pooling = SongPooling(poolings()["attention"], 3) if name == "attention" else mean_logit(3)

    def made(kind):
        return build.build(kind, SHAPES[kind], pooling, 0.3, scale).eval()

    network = made(name if name in SHAPES else "cnn")
    if name == "ensemble":
        network = Ensemble([[network, made("cnn")], [made("statistics")]], [0.7, 0.4], pooling)
    graphs, asked = exported_twice(network, monkeypatch)
    assert asked == 1 and graphs[0] != graphs[1]
    assert len(list(own_cache.iterdir())) == 1
    assert to_onnx.export_network(network, True, 4 * (network.time_stride or 1)) == graphs[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        pytest.param(lambda data: data[:-900] + bytes(900), marks=pytest.mark.full),
    ],
)
def test_a_damaged_template_is_made_again(damage, monkeypatch, own_cache):
    network = build.build("mlp", SHAPES["mlp"], mean_logit(3), 0.3, None).eval()
    onnx_templates._templates.clear()  # one in memory would not be written
    whole = to_onnx.export_network(network, False, 1)
    onnx_templates._templates.clear()
    (file,) = own_cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert len(to_onnx.export_network(network, False, 1)) > 0.9 * len(whole)
    onnx_templates._templates.clear()
    assert to_onnx.export_network(network, False, 1) == whole


def test_a_network_of_ones_own_has_no_template(monkeypatch, own_cache):
    class Mine(torch.nn.Module):
        def forward(self, windows):
            return windows.mean(dim=1)[:, :3]

    network = SongNetwork(Mine(), (8, 4)).eval()
    assert exported_twice(network, monkeypatch, whole_songs=False)[1] == 2
    assert not own_cache.exists()
