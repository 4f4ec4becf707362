"""Model files from strangers: refused with the reason, in little memory, or harmless."""

import os
import struct
import subprocess
import sys
import zipfile

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load, save

from songbag.audio import features
from songbag.audio.waveform import write_waveform
from songbag.data.song import Song
from songbag.errors import ModelFileError
from songbag.inference.model_file import Model, load_model, save_model
from songbag.inference.predictions import song_row
from songbag.inference.predictor import Predictor
from tests.helpers.songs import predict_files

ALL = ("weights.safetensors", "network.onnx", "pooling.onnx")
MEBIBYTES = 200  # the most that a refusal may cost


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, ALL)


def with_graph(model, change, name="network.onnx"):
    """The model with one graph changed, its hashes right again."""
    graph = onnx.load_from_string(model.parts[name])
    change(graph)
    return Model.of_parts(model.card, {**model.parts, name: graph.SerializeToString()})


def external(graph):
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_constant(graph):
    """Hidden in an attribute of a node inside the branch of another node."""
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "c")
    tensor.external_data.add(key="location", value="../secret")
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("c", 1, [2])])
    graph.graph.node.append(helper.make_node("If", ["q"], ["r"], then_branch=branch))


def external_in_function(graph):
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "c")
    tensor.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    opset = [helper.make_opsetid("", 20)]
    graph.functions.append(helper.make_function("f", "F", [], ["c"], [node], opset))


def sparse_external(graph):
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    values.data_location = TensorProto.EXTERNAL
    graph.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64)), [3])
    )


def custom(graph):
    graph.graph.node[0].domain = "com.evil"


def contrib(graph):
    graph.graph.node[0].domain = "com.microsoft"


def not_numbers(graph):
    tensor = graph.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def not_numbers_listed(graph):
    """As a list of numbers instead of bytes."""
    tensor = graph.graph.initializer[0]
    values = numpy_helper.to_array(tensor).flatten()
    values[-1] = np.nan
    del tensor.dims[:]
    tensor.ClearField("raw_data")
    tensor.dims.append(len(values))
    tensor.float_data.extend(values.tolist())


def deep(graph):
    inner = helper.make_graph([], "g", [], [])
    for _ in range(15):
        inner = helper.make_graph([helper.make_node("If", ["q"], [], then_branch=inner)], "g", [], [])  # fmt: skip
    graph.graph.node.append(inner.node[0])


def unknown_operation(graph):
    graph.graph.node[0].op_type = "ReadFile"


def memory_bomb(graph):
    """11 bytes that ask for 400 GB."""
    graph.graph.initializer.append(numpy_helper.from_array(np.array([10**11]), "bomb.shape"))
    graph.graph.node.insert(0, helper.make_node("ConstantOfShape", ["bomb.shape"], ["bomb"]))
    graph.graph.node.insert(1, helper.make_node("ReduceSum", ["bomb"], ["boom"], keepdims=0))
    add = helper.make_node("Add", [graph.graph.output[0].name, "boom"], ["out"])
    graph.graph.node.append(add)
    graph.graph.output[0].name = "out"


GRAPHS = {
    external: "weights in other files",
    external_constant: "weights in other files",
    external_in_function: "weights in other files",
    sparse_external: "weights in other files",
    custom: "'com.evil'",
    contrib: "'com.microsoft'",
    not_numbers: "not numbers",
    not_numbers_listed: "not numbers",
    deep: "graphs in graphs",
    unknown_operation: "cannot be run",
    memory_bomb: "cannot be run",
}


def refused(paths):
    """The reason for every file, and the most memory used, in a process of its own."""
    code = (
        "import sys; from songbag.inference.model_file import load_model\n"
        "from songbag.inference.predictor import Predictor; from songbag.errors import ModelFileError\n"
        "import numpy as np\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        model = load_model(path, ('weights.safetensors', 'network.onnx', 'pooling.onnx'))\n"
        "        frames = np.zeros((500, model.card.window_shape[-1]), np.float32)\n"
        "        Predictor(model).predict([frames], lambda: 500 * 512)\n"
        "        print('not refused')\n"
        "    except ModelFileError as error: print(' '.join(str(error).splitlines()))\n"
        # not getrusage, which begins with the memory of whoever started this process
        "print(next(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, memory = done.stdout.splitlines()
    return said, int(memory) // 1024


@pytest.mark.torture
def test_evil_graphs_are_refused_with_the_reason(model, tmp_path, figure):
    for change in GRAPHS:
        save_model(tmp_path / change.__name__, with_graph(model, change))
    said, memory = refused(tmp_path / change.__name__ for change in GRAPHS)
    for change, one in zip(GRAPHS, said, strict=True):
        assert GRAPHS[change] in one, (change.__name__, one)
    figure("evil graphs", f"{len(said)}, at most {memory} MiB")
    assert memory < MEBIBYTES


def test_a_graph_in_another_format_is_refused(model, tmp_path):
    for data in (b"\x20\0\0\0ORTM" + bytes(50), b"\x0b\x0c", b"\x3a\xff\xff\xff\x7f", b"\xff" * 40):
        save_model(tmp_path / "x.songbag", Model.of_parts(model.card, {**model.parts, "network.onnx": data}))  # fmt: skip
        with pytest.raises(ModelFileError, match=r"x\.songbag: network\.onnx is "):
            load_model(tmp_path / "x.songbag")


def test_weights_that_are_not_numbers_are_refused(model, tmp_path):
    weights = load(model.parts["weights.safetensors"])
    name = sorted(weights)[0]
    weights[name] = np.full_like(weights[name], np.inf)
    for data in (save(weights), b"\xff" * 8 + b"{}", b""):
        changed = Model.of_parts(model.card, {**model.parts, "weights.safetensors": data})
        save_model(tmp_path / "x.songbag", changed)
        with pytest.raises(ModelFileError, match=r"weights\.safetensors"):
            load_model(tmp_path / "x.songbag", ALL)


def test_an_answer_that_is_no_number_is_a_failed_row(model, tmp_path):
    """Weights are finite, the sum of their products is not."""

    def huge(graph):
        for tensor in graph.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                values = np.full_like(numpy_helper.to_array(tensor), 3e38)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    save_model(tmp_path / "x.songbag", with_graph(model, huge))
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050 * 6)
    write_waveform(tmp_path / "a.wav", noise.astype(np.float32), 22050)
    songs = [Song(id="a", path=str(tmp_path / "a.wav"))]
    (answer,) = predict_files(songs, tmp_path / "x.songbag", tmp_path / "cache")
    assert answer.prediction is None
    assert answer.reason == "no_answer"
    row = song_row(answer, model.card.labels)
    assert {row[f"p_{label}"] for label in model.card.labels} == {None}


# --- the zip around it ------------------------------------------------------------------


def entries_of(model):
    return {"model.json": msgspec.json.encode(model.card), **model.parts}


def zipped(path, entries, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name) if not options else name, data)


def bombs(model, path):
    """(file, reason): what looks like a model file."""
    good = entries_of(model)
    zipped(path("deflated"), good, compression=zipfile.ZIP_DEFLATED)
    yield "deflated", "compressed"
    bomb = {**good, "network.onnx": bytes(1 << 26)}
    zipped(path("bomb"), bomb, compression=zipfile.ZIP_DEFLATED)
    yield "bomb", "compressed"
    zipped(path("traversal"), {**good, "../../evil.py": b"x"})
    yield "traversal", "no model has"
    zipped(path("absolute"), {**good, "/etc/cron.d/evil": b"x"})
    yield "absolute", "no model has"
    zipped(path("many"), {str(number): b"" for number in range(20_000)})
    yield "many", "does not end as model files do"
    card = msgspec.json.decode(good["model.json"])
    deep = b'{"format": 1, "figures": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    lists = b'{"format": 1, "figures": [' + b"[]," * 5_000_000 + b"[]]}"
    strings = b'{"format": 1, "heard": [' + b'"ab",' * 3_000_000 + b'"ab"]}'
    for name, data, message in (
        ("deep", deep, "not valid"),
        ("lists", lists, "too long"),
        ("strings", strings, "not valid"),
        ("large", b" " * ((1 << 24) + 1), "at most 16 MiB"),
        ("format-0", msgspec.json.encode({**card, "format": 0}), "no such format"),
        ("format-9", msgspec.json.encode({**card, "format": 9}), "newer Songbag"),
        ("format-x", msgspec.json.encode({**card, "format": "x"}), "not valid"),
        ("utf-16", good["model.json"].decode().encode("utf-16"), "not valid"),
        ("no-hash", msgspec.json.encode({**card, "hashes": {}}), "hash differs"),
        ("cold", msgspec.json.encode({**card, "temperature": 1e-320}), "not a number"),
    ):
        zipped(path(name), {**good, "model.json": data})
        yield name, message
    sparse = path("sparse")
    with open(sparse, "wb") as file:
        file.truncate(1 << 40)
    yield "sparse", "does not end as model files do"
    zipped(path("lying"), good)
    data = bytearray(path("lying").read_bytes())
    place = data.rindex(b"PK\1\2")  # the last part says it has 100 MiB
    data[place + 20 : place + 28] = struct.pack("<II", 100 << 20, 100 << 20)
    path("lying").write_bytes(data)
    yield "lying", "at most 16 MiB"
    zipped(path("encrypted"), good)
    data = bytearray(path("encrypted").read_bytes())
    place = data.index(b"PK\1\2")
    data[place + 8] |= 1
    path("encrypted").write_bytes(data)
    yield "encrypted", "encrypted"


@pytest.mark.torture
def test_evil_zips_are_refused_with_the_reason(model, tmp_path, figure):
    made = dict(bombs(model, lambda name: tmp_path / name))
    said, memory = refused(tmp_path / name for name in made)
    for (name, message), one in zip(made.items(), said, strict=True):
        assert message in one, (name, one)
        assert name in one or name == "cold"  # that one is read, and its answer refused
    figure("evil zips", f"{len(said)}, at most {memory} MiB")
    assert memory < MEBIBYTES


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "nul"])
def test_what_is_no_file_is_refused_at_once(kind, tmp_path):
    path = tmp_path / "x.songbag"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path = f"{path}\0"
    with pytest.raises(ModelFileError, match=r"x\.songbag"):
        load_model(path)


@pytest.mark.torture
def test_mutated_graphs_never_crash(model, often, figure):
    """Bytes of graphs changed, hashes made right: what onnxruntime gets to see.

    Each runs in a forked process, so that a crash would be seen and not suffered.
    """
    outcomes = dict.fromkeys(["refused", "answered"], 0)
    frames = features.frames(np.zeros(22050 * 6, np.float32), model.card.recipe.sound)

    @settings(
        max_examples=often(100, 2000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def mutate(data):
        name = data.draw(st.sampled_from(["network.onnx", "pooling.onnx"]))
        graph = bytearray(model.parts[name])
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(graph) - 1))
            graph[place] = data.draw(st.integers(0, 255))
        outcome = in_a_fork(
            lambda: judge(Model.of_parts(model.card, {**model.parts, name: bytes(graph)}))
        )
        outcomes["answered" if outcome == 0 else "refused"] += 1
        assert outcome in (0, 1), f"died of {outcome}"

    def judge(changed):
        from songbag.onnx_runtime.untrusted import check_part

        try:
            for name, data in changed.parts.items():
                check_part(name, data)
            found = Predictor(changed).predict([frames], lambda: 22050 * 6)
            assert np.isfinite(found.probabilities).all()
        except ModelFileError:
            return 1
        return 0

    mutate()
    figure("outcomes", outcomes)
    assert min(outcomes.values()) > 0


def in_a_fork(work):
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
