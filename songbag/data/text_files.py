"""Text files as people's programs write them: their encoding, and how a table is delimited."""

import re
from dataclasses import dataclass
from pathlib import Path

from songbag.errors import SongTableError


@dataclass(frozen=True)
class Dialect:
    """How the text of a table is written."""

    encoding: str
    delimiter: str
    skipped: int  # lines before the names: "sep=;", as Excel writes it


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text, UTF-8 or UTF-16, from its first bytes."""
    zeros = [byte == 0 for byte in head[:4]]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if zeros in ([False, True, False, True], [True, False, True, False]):
        return "utf-16-le" if zeros[1] else "utf-16-be"  # of a text that begins in ASCII
    return "utf-8-sig"


def dialect_of(path: Path, head: bytes) -> Dialect:
    """Return how a table is written, from its first bytes."""
    encoding = encoding_of(head)
    lines = re.split("\r\n|\r|\n", head.decode(encoding, "replace").lstrip("\ufeff"), maxsplit=2)
    stated = re.fullmatch(r"sep=(.)", lines[0].strip(" "))
    if stated:
        return Dialect(encoding, stated[1], 1)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    return Dialect(encoding, max(usual, ";", "\t", key=lines[0].count), 0)


def decode(data: bytes, encoding: str, name: str) -> str:
    """Return the text of a file without its byte order mark."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SongTableError(
            f"{name}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). "
            "Save the table as UTF-8 (in Excel: CSV UTF-8)."
        ) from None
