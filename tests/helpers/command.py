"""Commands as a user gives them, and what they answer."""

import os
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass

from click.testing import CliRunner

from songbag.cli import main


@dataclass(frozen=True)
class Done:
    """What a command answered."""

    returncode: int
    stdout: str
    stderr: str


def songbag(*arguments, cwd=None, input=None, env=None):
    """Run a command; in this process, which has torch, unless it needs its own environment."""
    words = [str(argument) for argument in arguments]
    if env is not None:
        command = [sys.executable, "-m", "songbag", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, cwd=cwd, input=input, env=env
        )
        return Done(done.returncode, done.stdout, done.stderr)
    with chdir(cwd or os.curdir):
        result = CliRunner().invoke(main, words, input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
