"""Names from strangers: what is no text is written as text, what looks like a formula is said."""

from collections.abc import Iterable

_FORMULA = "=+-@\t\r"


def is_text(name: str) -> bool:
    """Tell whether a name can be written; file names of other encodings cannot."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def as_text(name: str) -> str:
    """Return a name with the bytes that are no UTF-8 written out in hexadecimal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def count_formulas(cells: Iterable[str | None]) -> int:
    """Count the cells that a spreadsheet would compute."""
    return sum(bool(c) and c[0] in _FORMULA and not _is_number(c) for c in cells if c)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
