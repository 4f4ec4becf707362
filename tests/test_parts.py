"""The registry of parts, and parts that other packages add."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pandas
import pytest
import torch
from msgspec import structs

from songbag import parts, settings
from songbag.audio import features
from songbag.errors import ExportError, SettingsError
from songbag.inference import sound_graph
from songbag.inference.model_file import PARTS, load_model, save_model
from songbag.inference.predictor import Predictor
from songbag.models import build
from songbag.models.song_network import SongPooling
from songbag.onnx_runtime.graph_builder import GraphBuilder
from songbag.parts import FeaturePart, NetworkPart, PoolingPart, networks, poolings
from songbag.registry import Registry
from songbag.settings import Sound, Training

ROOMS = {"target": ("models", "audio", "encoders"), "weights": ("models",), "left_out": ("models",)}
ROOMS["onnx"] = ("inference",)


@pytest.mark.parametrize(
    "registry", [poolings(), networks(), parts.features(), parts.encoders()], ids=lambda r: r.what
)
def test_what_is_named_can_be_loaded_from_the_room_that_owns_it(registry):
    assert list(registry) == sorted(registry)
    for name in registry:
        part = registry[name]
        assert part.summary and part.summary[-1] != "." and not part.package
        for attribute, rooms in ROOMS.items():
            if target := getattr(part, attribute, ""):
                assert target.split(".")[1] in rooms
                assert callable(part.load(attribute))


def test_a_network_takes_what_it_says():
    pooling = SongPooling(poolings()["mean_logit"], 3)
    for name in networks():
        part = networks()[name]
        if part.takes == "hidden":
            continue  # tests/tasks/test_encoded.py
        for shape in [(108, 64)] if part.takes == "matrix" else [(40, 13), (7,)]:
            network = build.build(name, shape, pooling, 0.1, None)
            assert network(torch.zeros(2, *shape)).shape == (2, 3)
            head = any(type(layer).__name__ == "LinearHead" for layer in network.modules())
            assert head == part.linear


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(SettingsError, match=r"no pooling 'mean_logits'. Did you mean 'mean_logit'"):
        poolings()["mean_logits"]
    with pytest.raises(SettingsError, match="Known: cnn, cnn1d, founding"):
        Training(network="xyz").require_known_parts()
    assert "xyz" not in networks() and "cnn" in networks()


# --- parts of other packages ---


def installed(folder, package, files, entry_points):
    """Put a package where Python finds it, as an installer would."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    return folder


def registry(kind, what, folder, monkeypatch):
    """A registry that reads the entry points of a folder too."""
    monkeypatch.syspath_prepend(folder)
    return Registry(kind, what, [PoolingPart(name="max")] if kind is PoolingPart else [])


def test_a_function_is_described_by_its_docstring_and_attributes(tmp_path, monkeypatch):
    text = '''
        def rough(logits):
            """The sign of the mean.

            And more.
            """
            return logits.mean(dim=1).sign()

        rough.differentiable = False
        plain = lambda logits: logits.mean(dim=1)
    '''
    entries = "[songbag.poolings]\nrough = rough_code:rough\nplain = rough_code:plain\n"
    installed(tmp_path, "rough", {"rough_code.py": text}, entries)
    known = registry(PoolingPart, "pooling", tmp_path, monkeypatch)
    assert {"max", "plain", "rough"} <= set(known)
    assert "rough_code" not in sys.modules  # names are known without importing what they name
    part = known["rough"]
    assert (part.name, part.summary, part.package) == ("rough", "The sign of the mean.", "rough")
    assert (part.space, part.differentiable, known["plain"].differentiable) == (None, False, True)
    outputs = torch.tensor([[[3.0, -1.0], [-1.0, 0.0]]])
    pooling = SongPooling(part, 2)
    assert pooling.song(outputs).tolist() == [[1.0, -1.0]]
    assert pooling.contributions(outputs, pooling.score(pooling.song(outputs))) is None


def test_a_description_may_name_its_code_and_ask_for_scores_and_dropout(tmp_path, monkeypatch):
    text = """
        from songbag.parts import NetworkPart, PoolingPart
        SHARP = PoolingPart(target="sharp_code:sharp", space="logit", weights="sharp_code:soft",
                            scorer=1.0)
        NET = NetworkPart(target="sharp_code:net", scaled=False)

        def soft(logits, scores, multilabel):
            return (scores * logits).softmax(dim=1)

        def sharp(logits, scores, multilabel):
            assert not multilabel
            return (soft(logits, scores, multilabel) * logits).sum(dim=1)

        def net(window_shape, outputs, dropout):
            from torch import nn
            return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(12, outputs))
    """
    entries = "[songbag.poolings]\nsharp = sharp_code:SHARP\n[songbag.networks]\nnet=sharp_code:NET"
    installed(tmp_path, "sharp", {"sharp_code.py": text}, entries)
    part = registry(PoolingPart, "pooling", tmp_path, monkeypatch)["sharp"]
    assert (part.name, part.package, part.space) == ("sharp", "sharp", "logit")
    pooling = SongPooling(part, 3)
    assert pooling.heads == 1
    assert pooling.song(torch.randn(2, 5, 4)).shape == (2, 3)
    network = registry(NetworkPart, "network", tmp_path, monkeypatch)["net"]
    monkeypatch.setattr(build, "networks", lambda: {"net": network})
    made = build.build("net", (3, 4), SongPooling(poolings()["mean_logit"], 3), 0.25, None)
    assert [layer.p for layer in made.modules() if isinstance(layer, torch.nn.Dropout)] == [0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name", "package broken adds the pooling 'odd'.*nothing_of_this"),
        ("raise RuntimeError('no licence')", "package broken .*RuntimeError: no licence"),
        ("other = 1", "package broken adds the pooling 'odd'.*odd"),
        ("odd = 3", "which is a int. It must be a PoolingPart, a function or a class"),
    ],
)
def test_a_broken_package_is_named(tmp_path, monkeypatch, text, message):
    module = f"broken_{abs(hash(text))}"
    entries = f"[songbag.poolings]\nodd = {module}:odd\n"
    installed(tmp_path, "broken", {f"{module}.py": text}, entries)
    known = registry(PoolingPart, "pooling", tmp_path, monkeypatch)
    assert known["max"].name == "max"  # what is not broken is not disturbed
    assert "odd" in known
    with pytest.raises(SettingsError, match=message):
        known["odd"]


def test_a_target_that_is_missing_is_said_when_it_is_used(tmp_path, monkeypatch):
    text = "from songbag.parts import PoolingPart\nlate = PoolingPart(target='late_code:gone')"
    installed(
        tmp_path, "late", {"late_code.py": text}, "[songbag.poolings]\nlate = late_code:late\n"
    )
    part = registry(PoolingPart, "pooling", tmp_path, monkeypatch)["late"]
    with pytest.raises(
        SettingsError, match="'late' of the package late cannot be used: its target"
    ):
        SongPooling(part, 2)


def test_a_name_of_two_packages_is_refused_and_songbags_own_names_stay(tmp_path, monkeypatch):
    for package in ("first", "second"):
        entries = f"[songbag.poolings]\nodd = {package}:odd\nmax = {package}:odd\n"
        installed(tmp_path, package, {f"{package}.py": "odd = print"}, entries)
    known = registry(PoolingPart, "pooling", tmp_path, monkeypatch)
    assert known["max"].package == ""
    with pytest.raises(SettingsError, match="by several packages: first, second"):
        known["odd"]


TOY = {
    "toy/pooling.py": '''
        def midrange(logits):
            """The middle between the largest and the smallest logit."""
            return (logits.amax(dim=1) + logits.amin(dim=1)) / 2
    ''',
    "toy/network.py": '''
        from torch import nn

        class Tiny(nn.Module):
            """A hidden layer on the mean spectrum of a window."""

            def __init__(self, window_shape, outputs, dropout=0.0):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.Linear(window_shape[1], 8), nn.Tanh(), nn.Dropout(dropout),
                    nn.Linear(8, outputs),
                )

            def forward(self, windows):
                return self.layers(windows.mean(dim=1))
    ''',
    "toy/feature.py": """
        import numpy as np
        from songbag.audio.features import logmel, waveform
        from songbag.parts import FeaturePart

        def envelope(blocks, sound):
            for block in waveform(blocks, sound):
                yield np.abs(block).reshape(len(block), 4, -1).mean(axis=2)

        def add_envelope(nodes, samples, sound):
            from songbag.inference.sound_graph import add_waveform
            from songbag.onnx_runtime.graph_builder import int64

            quarters = int64(-1, 4, sound.hop_length // 4)
            frames = nodes.add("Reshape", add_waveform(nodes, samples, sound), quarters)
            return nodes.add("ReduceMean", nodes.add("Abs", frames), int64(2), keepdims=0)

        ENVELOPE = FeaturePart(
            target="toy.feature:envelope", bands=lambda sound: 4, onnx="toy.feature:add_envelope"
        )

        def bels(blocks, sound):
            yield from (block / 10 for block in logmel(blocks, sound))
    """,
    "toy/encoder.py": """
        from songbag.encoders.manifest import encoder_of
        from songbag.onnx_runtime.graph_builder import GraphBuilder, int64
        from songbag.parts import EncoderPart

        STATED = b'{"name": "tinny", "sample_rate": 8000, "window": 4000, "trained_on": "nothing"}'

        def load():
            graph = GraphBuilder(20)
            reduced = [
                graph.add(kind, "samples", int64(1), keepdims=1)
                for kind in ("ReduceMean", "ReduceMin", "ReduceMax", "ReduceL2")
            ]
            vectors = graph.add("Concat", *reduced, axis=1), ("pieces", 4)
            model = graph.model({"samples": ("pieces", 4000)}, {"vectors": vectors})
            return encoder_of(STATED, model.SerializeToString())

        TINNY = EncoderPart(target="toy.encoder:load")
    """,
}
ENTRIES = """
    [songbag.poolings]
    midrange = toy.pooling:midrange
    [songbag.networks]
    tiny = toy.network:Tiny
    [songbag.features]
    envelope = toy.feature:ENVELOPE
    bels = toy.feature:bels
    [songbag.encoders]
    tinny = toy.encoder:TINNY
"""
CHOICES = ["--network", "tiny", "--pooling", "midrange", "--set", "sound.feature=envelope"]


def songbag(*arguments, packages="", code=0):
    """Run a command as a user would, with packages installed in a folder."""
    paths = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "songbag", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("toy"), "toy-parts", TOY, ENTRIES)


@pytest.fixture(scope="module")
def toy_model(toy, songs, tmp_path_factory):
    """A model of parts that the toy package adds."""
    path = tmp_path_factory.mktemp("toys") / "toy.songbag"
    songbag("train", songs, "-o", path, *CHOICES, "--epochs", 2, "--quiet", packages=toy)
    return path


def test_help_lists_the_parts_of_other_packages(toy):
    text = " ".join(songbag("train", "--help", packages=toy).stdout.split())
    assert "mean_probability, midrange, noisy_or" in text
    assert "statistics, tiny." in text
    assert "midrange" not in songbag("train", "--help").stdout


def test_a_model_of_added_parts_predicts_and_exports(toy, toy_model, songs, tmp_path):
    arguments = [toy_model, songs, "--csv", tmp_path / "p.csv", "--quiet"]
    songbag("predict", *arguments, packages=toy)
    assert (pandas.read_csv(tmp_path / "p.csv")["status"] == "ok").all()
    songbag("export", toy_model, tmp_path / "toy.onnx", packages=toy)  # compared with the library
    assert (tmp_path / "toy.onnx").stat().st_size > 1000
    info = songbag("info", toy_model, packages=toy).stdout
    assert "midrange" in info and "envelope" in info


@pytest.mark.full
def test_an_encoder_of_another_package_is_listed_embeds_and_trains(toy, songs, tmp_path):
    said = songbag("encoders", packages=toy).stdout
    assert "tinny  " in said
    assert "trained on   nothing" in said
    vectors, model = tmp_path / "vectors.csv", tmp_path / "m.songbag"
    songbag("embed", songs, "-o", vectors, "--encoder", "tinny", "--quiet", packages=toy)
    assert list(pandas.read_csv(vectors).columns[3:7]) == ["v0", "v1", "v2", "v3"]
    songbag(
        "train", songs, "-o", model, "--recipe", "fast", "--encoder", "tinny", "--quiet",
        packages=toy,
    )  # fmt: skip
    assert load_model(model).card.encoder.name == "tinny"
    # The model carries its encoder: it needs no package.
    songbag("predict", model, songs, "--csv", tmp_path / "p.csv", "--quiet")
    assert (pandas.read_csv(tmp_path / "p.csv")["status"] == "ok").all()


def test_a_model_is_refused_where_its_feature_is_not_installed(toy_model, songs):
    done = songbag("predict", toy_model, songs, code=2)
    assert "its settings cannot be used: there is no feature 'envelope'" in done.stderr


def test_a_model_predicts_where_its_network_and_pooling_are_not_installed(model_path, tmp_path):
    model = load_model(model_path, PARTS)
    training = structs.replace(model.card.recipe.training, network="gone", pooling="gone")
    recipe = structs.replace(model.card.recipe, training=training)
    save_model(tmp_path / "m", model.with_card(recipe=recipe))
    again = load_model(tmp_path / "m")
    assert again.card.recipe.training.network == "gone"
    frames, samples = np.zeros((500, again.card.window_shape[1]), np.float32), 500 * 512
    found = [Predictor(one).predict([frames], lambda: samples) for one in (model, again)]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)


def test_a_feature_without_onnx_is_not_exported(toy, monkeypatch):
    monkeypatch.syspath_prepend(toy)
    known = Registry(FeaturePart, "feature", [])
    monkeypatch.setattr(settings, "features", lambda: known)
    monkeypatch.setattr(sound_graph.parts, "features", lambda: known)
    sound = Sound(feature="bels", mel_bands=20)
    assert sound.bands == 20
    with pytest.raises(ExportError, match="feature 'bels' of the package toy-parts does not say"):
        sound_graph.add_frames(GraphBuilder(20), "waveform", sound)


def test_frames_of_another_width_than_stated_are_refused(monkeypatch):
    def narrow(blocks, sound):
        yield np.zeros((3, 2), np.float32)

    known = {"narrow": FeaturePart(name="narrow", target=narrow, package="toy")}
    for module in (settings, features):
        monkeypatch.setattr(module, "features", lambda: known)
    with pytest.raises(SettingsError, match=r"'narrow' of the package toy .* \(2,\), .* 64 bands"):
        features.frames(np.zeros(99, np.float32), Sound(feature="narrow"))


def test_another_version_of_a_feature_has_frames_of_its_own(monkeypatch):
    keys = set()
    for version in (0, 1, 2):
        known = {"odd": FeaturePart(name="odd", version=version)}
        monkeypatch.setattr(settings, "features", lambda known=known: known)
        keys.add(Sound(feature="odd").fingerprint())
    assert len(keys) == 3


@pytest.mark.full
def test_added_parts_are_compared(toy, songs, tmp_path):
    out = tmp_path / "comparison"
    options = [*CHOICES, "--poolings", "midrange,mean", "--epochs", 1, "--quiet"]
    options += ["--folds", 2, "--seeds", 1]
    songbag("compare", songs, "-o", out, *options, packages=toy)
    systems = set(pandas.read_csv(out / "systems.csv")["system"])
    assert systems == {"cnn-midrange-song", "cnn-mean_probability-song"}


def test_parts_that_are_not_installed_cannot_be_trained(songs, tmp_path):
    done = songbag("train", songs, "-o", tmp_path / "m", "--pooling", "midrange", code=2)
    assert "there is no pooling 'midrange'" in done.stderr
