"""The rooms: imports go one way, heavy packages have one owner, files stay readable."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "songbag"
FILES = sorted(PACKAGE.rglob("*.py"))

# The floors, from top to bottom: a file imports its own floor's room and lower floors, in
# functions too. Rooms of one floor do not import each other.
FLOORS = [
    ("__main__",),
    ("cli",),
    ("serving", "api", "keras"),
    ("tasks",),
    ("report", "quality", "collection"),
    ("training",),
    ("inference",),
    ("models",),
    ("data",),
    ("audio",),
    ("encoders",),
    ("onnx_runtime", "parallel", "metrics"),
    ("storage",),
    ("recipes", "console"),
    ("settings",),
    ("parts",),
    ("registry",),
    ("errors",),
]
OWNERS = {
    "torch": ["training", "models", "keras.py"],
    "av": ["audio/decode.py", "audio/waveform.py"],
    "soxr": ["audio/waveform.py"],
    "onnx": ["onnx_runtime", "inference", "training"],
    "onnxruntime": ["onnx_runtime", "training/to_onnx.py"],
    "sklearn": [
        "data/splits.py",
        "api/estimator.py",
        "models/kernel_machine.py",
        "models/gaussian.py",
        "collection/plane.py",
    ],
    "matplotlib": ["api/"],
    "mutagen": ["audio/tags.py"],
    "loky": ["parallel/pool.py"],
    "jinja2": ["report/"],
    "sqlite3": ["audio/cache.py"],
    "keras": ["keras.py"],
    "dask": ["parallel/cluster.py"],
    "distributed": ["parallel/cluster"],
    "cloudpickle": ["parallel/cluster"],
    "fsspec": ["storage/remote.py"],
    "huggingface_hub": ["storage/downloads.py"],
    "fastapi": ["serving"],
    "starlette": ["serving"],
    "uvicorn": ["serving"],
    "pydantic": ["serving"],
}


def imports(path):
    """(module, whether at the top of the file) of every import."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in top


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def floor(name):
    return next((place for place, rooms in enumerate(FLOORS) if name in rooms), None)


def imported_modules(path):
    """Modules of songbag that a file imports anywhere, or names in a string as "module:object".

    The parts' targets don't count: the rooms that own them resolve them.
    """
    tree, registry = ast.parse(path.read_text()), path == PACKAGE / "parts.py"
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not registry:
            yield from re.findall(r"\bsongbag(?:\.\w+)+(?=:\w| import )", node.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path):
    mine = room(path)
    if mine == "__init__":  # the package's face names what people import
        return
    assert floor(mine) is not None, f"{mine} has no place in FLOORS"
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] != "songbag" or len(parts) < 2 or floor(parts[1]) is None:
            continue
        lower = floor(parts[1]) > floor(mine)
        assert parts[1] == mine or lower, f"{path.relative_to(ROOT)} imports {name}"


def test_no_module_imports_itself_by_a_circle():
    modules = {
        ".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__"): path
        for path in FILES
    }
    graph = {
        module: {name for name in imported_modules(path) if name in modules} - {module, "songbag"}
        for module, path in modules.items()
        if module != "songbag"
    }
    while graph:  # take away what imports nothing that is left; a circle stays
        leaves = [module for module, names in graph.items() if not names & set(graph)]
        assert leaves, f"a circle among {sorted(graph)}"
        for module in leaves:
            del graph[module]


def test_heavy_packages_have_one_owner():
    for path in FILES:
        relative = path.relative_to(PACKAGE).as_posix()
        for name, _ in imports(path):
            owners = OWNERS.get(name.split(".")[0])
            assert owners is None or any(relative.startswith(owner) for owner in owners), (
                f"{relative} imports {name}"
            )


def test_only_what_trains_imports_torch_at_its_top():
    for path in FILES:
        if room(path) in ("models", "training", "keras", "tasks"):
            continue
        for name, at_top in imports(path):
            heavy = name.startswith(("songbag.models", "songbag.training", "torch", "pandas"))
            assert not (heavy and at_top), f"{path.relative_to(ROOT)} imports {name} at its top"


def test_files_and_functions_stay_readable():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 420, f"{path.name} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                body = node.end_lineno - node.body[1 if documented and node.body[1:] else 0].lineno
                assert body <= 50, f"{path.name}: {node.name} has {body} lines"


def test_no_word_has_a_synonym_in_names():
    forbidden = ("chunk", "clip_", "_clip")
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = (
                getattr(node, "name", None) or getattr(node, "arg", None) or getattr(node, "id", "")
            )
            if isinstance(name, str) and "isinstance" not in name and "resample_chunk" not in name:
                assert not any(word in name.lower() for word in forbidden), f"{path.name}: {name}"


def test_import_and_help_load_nothing_heavy():
    code = (
        "import sys, songbag\n"
        "assert not {'numpy', 'av', 'pandas', 'torch'} & set(sys.modules), 'import songbag'\n"
        "from click.testing import CliRunner\n"
        "from songbag.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "assert not {'numpy', 'av', 'pandas', 'torch', 'onnxruntime'} & set(sys.modules), '--help'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported():
    import songbag

    for name in songbag.__all__:
        assert getattr(songbag, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = songbag.nothing


def test_no_text_holds_a_registry_or_a_path_of_a_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    words = [("py", "pi.org"), ("python", "hosted"), ("npm", "js.org"), ("/wo", "rk/main")]
    for name in listed.split():
        path = ROOT / name
        if (
            path.suffix in (".png", ".js", ".woff2", ".onnx", ".npz", ".safetensors")
            or not path.is_file()
        ):
            continue
        text = path.read_text(encoding="utf-8")
        assert not any("".join(parts) in text for parts in words), name


def test_constraints_pin_every_dependency():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *chain.from_iterable(project["optional-dependencies"].values()),
    ]
    names = {word.partition(">")[0].lower().replace("_", "-") for word in wanted}
    assert names - pinned == {"songbag[train]"}
