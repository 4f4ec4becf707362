"""Run a command on a real pseudo-terminal."""

import os
import pty
import sys


def on_terminal(*arguments, columns=80, term="xterm"):
    """Return the exit code and the bytes that ``songbag`` with these arguments prints."""
    output = b""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(columns), TERM=term, NO_COLOR="1")
        os.execv(sys.executable, [sys.executable, "-m", "songbag", *map(str, arguments)])
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        output += data
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), output
