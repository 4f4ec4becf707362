"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "songbag").rglob("*.py"))
WITH_EXAMPLES = [path for path in FILES if re.search(r"^\s*>>> ", path.read_text(), re.MULTILINE)]
MAY_SKIP = [ROOT / "songbag/__init__.py"]  # its example trains a model


def module_name(path):
    return ".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", [module_name(path) for path in WITH_EXAMPLES])
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures = []
    runner = doctest.DocTestRunner(optionflags=options, verbose=False)
    for example in doctest.DocTestFinder().find(module):
        runner.run(example, out=failures.append)
    assert not failures, "".join(failures)


def test_no_example_is_skipped():
    skipping = [path for path in FILES if "+SKIP" in path.read_text()]
    assert set(skipping) <= set(MAY_SKIP)
