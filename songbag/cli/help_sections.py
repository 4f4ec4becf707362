"""Commands whose ``--help`` lists options under headings."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

Callback = TypeVar("Callback", bound=Callable[..., Any])

OUTPUT, SONGS, WINDOW_TABLE = "Output", "Songs", "Window table"
TRAINING, RUNNING = "Training", "Running"


class Option(click.Option):
    """An option with a heading.

    Parameters
    ----------
    section : str
        The heading.
    names : callable, optional
        Returns names that are added to the help text, such as those of the poolings. Called
        when help is shown, because other packages may add names.
    """

    def __init__(
        self,
        *arguments: Any,
        section: str = "Options",
        names: Callable[[], Iterable[str]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.section, self._names, self._text = section, names, self.help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option as it is written, and its help."""
        if self._names is not None:
            self.help = f"{self._text} {', '.join(self._names())}."
        return super().get_help_record(ctx)


class Command(click.Command):
    """A command whose help lists options by heading, in the order of their first option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; how the command runs, and ``--help``, come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        headings = [getattr(each, "section", "") for each in options]
        rest = RUNNING if RUNNING in headings else "Options"  # for click's own --help
        for each, heading in zip(options, headings, strict=True):
            record = each.get_help_record(ctx)
            if record is not None:
                sections.setdefault(heading or rest, []).append(record)
        for section in sorted(sections, key=lambda name: name == RUNNING):
            with formatter.section(section):
                formatter.write_dl(sections[section])


def command(callback: Callable[..., Any]) -> Command:
    """Turn a function into a command."""
    return click.command(cls=Command)(callback)


def option(
    *names: str, section: str = "Options", **attributes: Any
) -> Callable[[Callback], Callback]:
    """Add an option with a heading (see `Option`) to a command."""
    return click.option(*names, cls=Option, section=section, **attributes)


def together(*options: Callable[[Callback], Callback]) -> Callable[[Callback], Callback]:
    """Return a decorator that adds several options in their order."""

    def add(callback: Callback) -> Callback:
        for decorator in reversed(options):
            callback = decorator(callback)
        return callback

    return add
