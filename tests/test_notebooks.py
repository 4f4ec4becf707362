"""The notebooks of examples/ run: their code in every run, a kernel of Jupyter in the full one."""

import re
from contextlib import chdir
from pathlib import Path

import matplotlib
import msgspec
import pytest

matplotlib.use("Agg")
EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = ["own_songs", "own_table"]


def cells(name):
    notebook = msgspec.json.decode((EXAMPLES / f"{name}.ipynb").read_bytes())
    return notebook["cells"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_code_of_notebooks_runs(name, tmp_path):
    code = "\n".join("".join(c["source"]) for c in cells(name) if c["cell_type"] == "code")
    # Fewer songs, folds and epochs, no encoding and no comparison, which other tests do.
    code = code.partition("compared = ")[0]
    code = code.replace('"--songs", "16"', '"--songs", "6"').replace("epochs=5", "epochs=1")
    code = code.replace("folds=3", "folds=2")
    heard = r'((?:train|crossval|compare)\(\s*"music/songs.csv"(?:, "genre.songbag")?)'
    code = re.sub(heard, r'\1, recipes=["cnn"], encoder="none"', code)
    code = re.sub(r'(train|crossval)(\([^)]*?)recipes=\["cnn"\]', r'\1\2recipe="fast"', code)
    with chdir(tmp_path):
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_lie_there_executed_and_without_errors(name):
    run = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    kinds = {key for cell in run for output in cell["outputs"] for key in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    assert not [o for cell in run for o in cell["outputs"] if o["output_type"] == "error"]
    assert (EXAMPLES / f"{name}.ipynb").stat().st_size < 400_000


@pytest.mark.full
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_kernel_runs_notebooks(name, tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
