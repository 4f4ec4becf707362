"""Ctrl-C that is not lost: Python drops a KeyboardInterrupt that meets it in a destructor."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

Arguments = ParamSpec("Arguments")


@contextmanager
def noticing(watch: Callable[Arguments, None]) -> Iterator[Callable[Arguments, None]]:
    """Yield a ``watch`` that raises KeyboardInterrupt where an earlier one was dropped.

    The same one outside of the main thread, and where SIGINT is somebody else's already:
    it is theirs to notice.
    """
    came: list[int] = []

    def handle(number: int, frame: Any) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    def watching(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        watch(*arguments, **named)
        if came:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield watch
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield watching
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
