"""Write docs/explanation/code-map.md from the first line of every file's docstring."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tests.test_layout import FLOORS

PACKAGE = Path(__file__).parent.parent / "songbag"


def page() -> str:
    """Return the text of docs/explanation/code-map.md."""
    return "\n".join(["# Map of the code\n", _INTRODUCTION, *_lines()]) + "\n"


_INTRODUCTION = """\
Every file in a line, which is the first of its docstring. Imports only go down. Begin with
`tasks/train.py`, and go on with what it calls. Written by `python docs/make_code_map.py`.
"""


def _lines() -> Iterator[str]:
    single = []
    for room in chain.from_iterable(FLOORS):
        folder = PACKAGE / room
        if not folder.is_dir():
            single.append(f"| `{room}.py` | {_first_line(PACKAGE / f'{room}.py')} |")
            continue
        yield f"## {room}\n\n{_first_line(folder / '__init__.py')}\n"
        files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        if files:
            yield "| file | |\n|---|---|"
            yield from (f"| `{path.name}` | {_first_line(path)} |" for path in files)
            yield ""
    yield "## Files of their own\n\n| file | |\n|---|---|"
    yield from single


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n")[0].replace("``", "`")


if __name__ == "__main__":
    (Path(__file__).parent / "explanation" / "code-map.md").write_text(page())
