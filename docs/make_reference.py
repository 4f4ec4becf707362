"""Write docs/reference/python.md from the public docstrings, so that the page follows the code.

The source is read, not imported: signatures look as they are written, and Keras need not be
installed.
"""

import ast
import re
import textwrap
from pathlib import Path

import songbag

ROOT = Path(__file__).parent.parent
WIDTH = 116
# Module, its public names in the order of the page (empty: all its classes), and what the section
# says first.
SECTIONS = [
    ("songbag", (*songbag.__all__,), "`import songbag` gives these names."),
    ("songbag.settings", ("Recipe", "Sound", "Windows", "Excerpt", "Training", "Adapt", "Limits"),
     "The settings of a recipe; `--set training.epochs=10` on the command line changes one."),
    ("songbag.parts",
     ("poolings", "networks", "features", "encoders", "PoolingPart", "NetworkPart", "FeaturePart",
      "EncoderPart"),
     "What can be chosen by name, and how other packages add to it."),
    ("songbag.keras", ("SongModel", "SongDataset", "predict_songs"),
     "For people who stay in Keras; `pip install 'songbag[keras]'`."),
    ("songbag.errors", (), "All errors that Songbag raises on purpose."),
]  # fmt: skip
LISTED = ("Parameters", "Attributes", "Returns", "Yields", "Raises")
Documented = ast.FunctionDef | ast.ClassDef


def page() -> str:
    """Return the text of docs/reference/python.md."""
    parts = ["# Python\n", "Generated from the docstrings by `python docs/make_reference.py`.\n"]
    for module, names, text in SECTIONS:
        parts += [f"## {module}\n", f"{text}\n"]
        for node in _definitions(module, names):
            parts += _entry(node, node.name, 3)
    return "\n".join(parts)


def _definitions(module: str, names: tuple[str, ...]) -> list[Documented]:
    """Return the syntax trees of a module's public names."""
    found = {}
    modules = {getattr(songbag, name).__module__ for name in names} if module == "songbag" else ()
    for name in modules or (module,):
        path = (ROOT / name.replace(".", "/")).with_suffix(".py")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, Documented) and ast.get_docstring(node):
                found[node.name] = node
    classes = [name for name, node in found.items() if isinstance(node, ast.ClassDef)]
    return [found[name] for name in names or classes]


def _entry(node: Documented, title: str, level: int) -> list[str]:
    """Return the Markdown of a function or class, and of what a class holds."""
    parts = [f"{'#' * level} {title}\n", f"```text\n{_signature(node, title)}\n```\n"]
    parts += [_markdown(ast.get_docstring(node) or "")]
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        documented = isinstance(part, Documented) and ast.get_docstring(part)
        if documented and not part.name.startswith("_"):
            parts += _entry(part, f"{title}.{part.name}", level + 1)
    return parts


def _signature(node: Documented, title: str) -> str:
    """Return how it is called, an argument a line where one line is too short."""
    if isinstance(node, ast.FunctionDef):
        if any("property" in ast.unparse(one) for one in node.decorator_list):
            return title + _returns(node)
        return _call(title, _arguments(node.args)) + _returns(node)
    made = [one for one in node.body if getattr(one, "name", "") == "__init__"]
    if made and isinstance(made[0], ast.FunctionDef):
        return _call(f"class {title}", _arguments(made[0].args))
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    if fields:
        return _call(f"class {title}", [_unquoted(one) for one in fields])
    return f"class {title}({', '.join(ast.unparse(base) for base in node.bases)})"


def _call(title: str, arguments: list[str]) -> str:
    line = f"{title}({', '.join(arguments)})"
    if len(line) <= 88:
        return line
    return "\n".join([f"{title}(", *(f"    {one}," for one in arguments), ")"])


def _arguments(arguments: ast.arguments) -> list[str]:
    """Return each argument as it is written, without self."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    pairs = list(zip(positional, defaults, strict=True))
    if arguments.vararg:
        pairs.append((ast.arg("*" + arguments.vararg.arg, arguments.vararg.annotation), None))
    elif arguments.kwonlyargs:
        pairs.append((ast.arg("*"), None))
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    if arguments.kwarg:
        pairs.append((ast.arg("**" + arguments.kwarg.arg, arguments.kwarg.annotation), None))
    texts = []
    for argument, default in pairs:
        if argument.arg in ("self", "cls"):
            continue
        text = _unquoted(argument)
        equals = " = " if ":" in text else "="
        texts.append(text + (equals + ast.unparse(default) if default else ""))
    return texts


def _unquoted(node: ast.AST) -> str:
    """Return the source of an argument or field, its annotation without quotes."""
    text = ast.unparse(node)
    annotation = getattr(node, "annotation", None)
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        text = text.replace(ast.unparse(annotation), annotation.value, 1)
    return text


def _returns(node: ast.FunctionDef) -> str:
    return f" -> {ast.unparse(node.returns).strip(chr(39))}" if node.returns else ""


def _markdown(docstring: str) -> str:
    """Return a NumPy docstring as Markdown."""
    pieces = re.split(r"^(\w[\w ]*)\n-{3,}\n", docstring, flags=re.MULTILINE)
    parts = [_text(pieces[0])]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        listed = _items(body) if title in LISTED else _text(body)
        parts.append(f"**{title}**\n\n{listed}")
    return "\n".join(parts)


def _items(body: str) -> str:
    """Return a section of parameters as a list: what is not indented begins an item."""
    items: list[tuple[str, list[str]]] = []
    for line in body.strip().split("\n"):
        if line and not line[0].isspace():
            items.append((line.strip(), []))
        elif items:
            items[-1][1].append(line.strip())
    lines = []
    for term, rest in items:
        name, colon, kind = term.partition(" : ")
        text = f"`{name}` ({_escaped(kind)})" if colon else f"`{name}`"
        text += f": {_escaped(' '.join(rest).strip())}" if any(rest) else ""
        lines.append(textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ",
                                   break_long_words=False, break_on_hyphens=False))  # fmt: skip
    return "\n".join(lines) + "\n"


def _text(body: str) -> str:
    """Return paragraphs; examples become blocks of code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", body.strip()):
        if paragraph.startswith(">>>"):
            parts.append(f"```pycon\n{paragraph}\n```")
        elif all(line.startswith("    ") for line in paragraph.split("\n")):
            parts.append(f"```text\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(_escaped(re.sub(r"^\.\. (?=\[)", "", paragraph, flags=re.MULTILINE)))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Turn reStructuredText's literals into Markdown's; show < and * outside of them."""
    text = text.replace("``", "`")
    outside = re.split(r"(`[^`]*`)", text)
    outside[::2] = [re.sub(r"([<*])", r"\\\1", part) for part in outside[::2]]
    return "".join(outside)


if __name__ == "__main__":
    (Path(__file__).parent / "reference" / "python.md").write_text(page())
