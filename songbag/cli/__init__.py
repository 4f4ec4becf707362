"""The command line. Commands import what they need when they run, so that help comes at once."""

import atexit
import gc
import sys

import click

from songbag.cli.data import data
from songbag.cli.encode import embed, encoders, tag
from songbag.cli.label import label, suggest
from songbag.cli.predict import evaluate, export, info, predict, report, serve
from songbag.cli.prepare import check, extract, pack
from songbag.cli.similar import similar
from songbag.cli.song_map import song_map
from songbag.cli.sort import sort, undo
from songbag.cli.train import compare, crossval, demo, leakage, train
from songbag.console import visible, wrapped
from songbag.errors import SongbagError


class _Commands(click.Group):
    """Ends with a message and exit code 2 where a command raises an error of Songbag."""

    def invoke(self, ctx: click.Context) -> object:
        # The last search for garbage is a tenth of a prediction of one song (decision 0018).
        atexit.register(gc.freeze)
        try:
            return super().invoke(ctx)
        except SongbagError as error:
            message = str(error)
        except BrokenPipeError:  # the reader of the output has gone, as in "| head"
            sys.stderr.close()
            return ctx.exit(2)
        except OSError as error:
            name = f" ({error.filename})" if error.filename else ""
            message = f"{error.strerror or error}{name}"
        click.echo(wrapped(f"songbag: {visible(message)}"), err=True)
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


for command in (
    *(check, extract, pack, train, crossval, compare, leakage),
    *(evaluate, predict, sort, undo, serve, info, report, export),
    *(encoders, tag, embed, similar, song_map, suggest, label, data, demo),
):
    main.add_command(command)
