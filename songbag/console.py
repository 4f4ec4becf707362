"""What people see while a job runs: messages and progress, on stderr.

On a terminal and in a notebook progress is a live bar; piped, it is a plain line now and then.
Messages go through `logging`, as "songbag": a program that has set up logging gets them there.
"""

import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

LOGGER = logging.getLogger("songbag")
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)

_PLAIN_SECONDS = 10.0  # between two lines when stderr is not a terminal
_DRAWN_SECONDS = 0.1  # between two drawings of a live bar
_CELL_BAR = 30  # characters of a bar in a notebook


def visible(text: str) -> str:
    """Return text without control characters: those in a stranger's name could rewrite a screen."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: 1 song, 2 songs."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def wrapped(text: str) -> str:
    """Return text for stderr: where that is a terminal, lines end at words."""
    if not sys.stderr.isatty():
        return text
    fill = partial(
        textwrap.fill,
        width=max(40, shutil.get_terminal_size().columns),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(fill(line) for line in text.split("\n"))


class _Stderr(logging.Handler):
    """Prints messages on what is stderr at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(wrapped(self.format(record)), file=sys.stderr, flush=True)


def _say(text: str) -> None:
    """Log a message; where no program has set up logging, it appears on stderr."""
    if not LOGGER.hasHandlers():
        LOGGER.addHandler(_Stderr())
    LOGGER.info("%s", visible(text))


class Advance(Protocol):
    """Moves a bar to ``done``, with a note behind it."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Console:
    """Messages and progress for one job; ``quiet`` shows neither, ``brief`` no messages."""

    def __init__(self, quiet: bool = False, brief: bool = False) -> None:
        self.quiet, self.brief = quiet, brief

    def say(self, text: str) -> None:
        """Write one message."""
        if not self.quiet and not self.brief:
            _say(text)

    def track(self, items: Iterable[T], total: int, what: str = "Extracting") -> Iterator[T]:
        """Yield ``items`` behind a progress bar of songs."""
        with self.bar(what, total) as advance:
            for done, item in enumerate(items, start=1):
                yield item
                advance(done)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Advance]:
        """Show a progress bar with songs/s and the time left."""
        ipython = sys.modules.get("IPython")
        shell: Any = None if ipython is None else ipython.get_ipython()
        if self.quiet or total == 0:
            yield lambda done, note="": None
        elif sys.stderr.isatty():
            with _live(what, total) as advance:
                yield advance
        elif hasattr(shell, "kernel"):  # that of a notebook
            yield _Cell(what, total, shell)
        else:
            yield _Plain(what, total)


class _Plain:
    """A line of progress now and then, and one at the end."""

    seconds = _PLAIN_SECONDS  # between two lines

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.began = self.said = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if done < self.total and now - self.said < self.seconds:
            return
        self.said = now
        rate = done / max(now - self.began, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        end = f", {left:.0f} s left" if done < self.total else ""
        tail = f"  {note}" if note else ""
        self.show(f"{self.what}: {done} of {self.total} songs, {rate:.0f} songs/s{end}{tail}", done)

    def show(self, text: str, done: int) -> None:
        _say(text)


class _Cell(_Plain):
    """One line under a notebook's cell, with a bar, that is written over."""

    seconds = _DRAWN_SECONDS

    def __init__(self, what: str, total: int, shell: Any) -> None:
        super().__init__(what, total)
        self.shell, self.name = shell, f"songbag-{id(self)}"
        self.shown = False

    def show(self, text: str, done: int) -> None:
        filled = round(_CELL_BAR * done / self.total)
        line = f"{'█' * filled}{'░' * (_CELL_BAR - filled)} {visible(text)}"
        self.shell.display_pub.publish(
            {"text/plain": line}, transient={"display_id": self.name}, update=self.shown
        )
        self.shown = True


@contextmanager
def _live(what: str, total: int) -> Iterator[Advance]:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    began = time.monotonic()
    # No thread to draw it: processes with threads must not fork, and hearing songs forks.
    with Progress(*columns, console=Terminal(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task(what, total=total, rate="", note="")
        drawn = 0.0

        def advance(done: int, note: str = "") -> None:
            nonlocal drawn
            now = time.monotonic()
            rate = done / max(now - began, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:.0f} songs/s", note=note)
            if done >= total or now - drawn > _DRAWN_SECONDS:
                progress.refresh()
                drawn = now

        yield advance
