"""Whether a file was cut short, by what its own container says.

FFmpeg takes the length of an Ogg or WAVE file from its last bytes, so a file whose end is
missing looks whole to it. The containers know better: the last page of an Ogg stream
carries a mark, and WAVE and AIFF begin with their own size.
"""

from pathlib import Path

_LARGEST_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg page
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # written by programs that stream
_END_OF_STREAM = 4


def missing_end(path: str | Path) -> str:
    """Say how a file shows that its end is missing; empty where it does not."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            size = file.seek(0, 2)
            if head[:4] == b"OggS":
                file.seek(max(0, size - 2 * _LARGEST_PAGE))
                return _ogg(file.read())
    except OSError:
        return ""
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _sized(int.from_bytes(head[4:8], "little"), size)
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return _sized(int.from_bytes(head[4:8], "big"), size)
    return ""


def _ogg(tail: bytes) -> str:
    begin = tail.rfind(b"OggS\0")
    page = tail[begin:]
    if begin < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return "its last Ogg page is cut"
    if len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "its last Ogg page is cut"
    return "" if page[5] & _END_OF_STREAM else "its Ogg stream has no end mark"


def _sized(claimed: int, size: int) -> str:
    if claimed in _UNKNOWN_SIZES or claimed + 8 <= size + 1:  # 1: a pad byte often left out
        return ""
    return f"its header claims {claimed + 8} bytes, it has {size}"
