"""The rooms: imports go one way, heavy packages have one owner, files stay readable."""

import ast
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "songbag"
FILES = sorted(PACKAGE.rglob("*.py"))

# What stands lower in this list may be imported by what stands higher, never the other way.
ORDER = [
    ("cli", "__main__"),
    ("model", "keras", "checks", "serving", "cluster"),
    ("jobs",),
    ("learning",),
    ("graph",),
    ("answers",),
    ("songs",),
    ("bags",),
    ("sound",),
    ("pool", "files", "remote", "memory"),
    ("settings", "recipes"),
    ("errors",),
]
OWNERS = {
    "torch": ["learning", "jobs/modelling.py", "jobs/keeping.py"],
    "av": ["sound/native.py", "sound/encoding.py"],
    "soxr": ["sound/audio.py"],
    "onnx": ["graph", "learning/export.py", "learning/templates.py"],
    "onnxruntime": ["answers/session.py", "learning/export.py"],
    "sklearn": ["songs/splits.py"],
    "loky": ["pool.py"],
    "jinja2": ["jobs/report/"],
    "sqlite3": ["sound/cache.py"],
    "keras": ["keras.py"],
    "dask": ["cluster/"],
    "distributed": ["cluster/"],
    "cloudpickle": ["cluster/"],
    "fsspec": ["remote.py"],
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


def rank(name):
    for place, names in enumerate(ORDER):
        if name in names:
            return place
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    mine = room(path)
    if mine == "__init__":
        return
    assert rank(mine) is not None, f"{mine} has no place in ORDER"
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] == "songbag" and len(parts) > 1 and rank(parts[1]) is not None:
            assert rank(parts[1]) >= rank(mine), f"{path.name} imports {name}"


def test_heavy_packages_have_one_owner():
    for path in FILES:
        relative = path.relative_to(PACKAGE).as_posix()
        for name, _ in imports(path):
            owners = OWNERS.get(name.split(".")[0])
            assert owners is None or any(relative.startswith(owner) for owner in owners), (
                f"{relative} imports {name}"
            )


def test_jobs_and_doors_import_torch_and_learning_only_inside_functions():
    for path in FILES:
        if room(path) in ("jobs", "cli", "model", "serving", "answers", "songs", "sound"):
            for name, at_top in imports(path):
                heavy = name.startswith(("songbag.learning", "torch", "pandas", "sklearn"))
                assert not (heavy and at_top), f"{path.name} imports {name} at its top"


def test_files_and_functions_stay_readable():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path.name} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                body = node.end_lineno - node.body[1 if documented and node.body[1:] else 0].lineno
                assert body <= 50, f"{path.name}: {node.name} has {body} lines"


# From songs to answers, learning included: what to read first, in this order. All else guards it,
# judges it, shows it, or does it for more songs.
CORE = {
    ".": ["errors", "settings", "bags", "files"],
    "songs": ["table", "labels", "splits", "song_bags"],
    "sound": ["source", "native", "audio", "features", "windows", "cache", "extraction"],
    "learning": ["networks", "pooling", "losses", "building", "scaling", "batches"],
    "learning/": ["optimizers", "fitting", "scoring", "export"],
    "answers": ["modelfile", "prediction", "calibration", "tables"],
}


def test_the_core_can_be_read_in_an_evening():
    core = [PACKAGE / folder / f"{name}.py" for folder, names in CORE.items() for name in names]
    lines = [line for path in core for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < 4000


def test_no_word_has_a_synonym_in_names():
    forbidden = ("chunk", "clip_", "_clip", "segment", "instance")
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
        if path.suffix in (".png", ".js", ".woff2") or not path.is_file():
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
