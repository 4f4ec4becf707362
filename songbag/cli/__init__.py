"""The command line: one file for what learns, one for what answers, one for what serves.

Commands import what they need when they run, so that ``--help`` and ``predict`` never
load torch.
"""

import atexit
import gc
import sys

import click

from songbag.cli.check import check
from songbag.cli.compare import compare, leakage
from songbag.cli.export import export
from songbag.cli.extract import extract
from songbag.cli.pack import pack
from songbag.cli.predict import evaluate, info, predict, report
from songbag.cli.serve import serve
from songbag.cli.train import crossval, demo, train
from songbag.errors import SongbagError


def _say(text: str) -> None:
    from songbag.console import visible

    click.echo(f"songbag: {visible(text)}", err=True)


class _Commands(click.Group):
    """Turns Songbag's errors into a message and exit code 2."""

    def invoke(self, ctx: click.Context) -> object:
        atexit.register(gc.freeze)  # or Python looks through torch once more: a fifth of a second
        try:
            return super().invoke(ctx)
        except SongbagError as error:
            _say(str(error))
        except BrokenPipeError:
            # The reader of our output has gone (| head): stop quietly.
            sys.stderr.close()
        except OSError as error:
            name = f" ({error.filename})" if error.filename else ""
            _say(f"{error.strerror or error}{name}")
        return ctx.exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="songbag")
def main() -> None:
    """Classify whole songs from short windows.

    \b
    songbag demo                              try it on generated songs
    songbag check songs.csv                   what is wrong with songs and labels
    songbag train songs.csv -o genre.songbag  songs and labels to a model
    songbag predict genre.songbag new/        a model and songs to answers
    """  # noqa: D301 (click wants the character itself)


COMMANDS = (
    *(check, extract, pack, train, crossval, compare, leakage),
    *(evaluate, predict, serve, info, report, export, demo),
)
for command in COMMANDS:
    main.add_command(command)
