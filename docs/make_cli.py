"""Write docs/reference/cli.md from what ``--help`` says, so that the page follows the program."""

from pathlib import Path

import click
from click.testing import CliRunner

from songbag.cli import main


def command_names() -> list[str]:
    """Return the names of all commands; those of a group follow it: data, data list."""
    names = []
    for name, command in main.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {}
        names += [name, *(f"{name} {each}" for each in inner)]
    return names


def page() -> str:
    """Return the text of docs/reference/cli.md."""
    parts = ["# Command line\n\nGenerated from `--help` by `python docs/make_cli.py`.\n"]
    for name in ["", *command_names()]:
        arguments = [*name.split(), "--help"]
        text = CliRunner().invoke(main, arguments, prog_name="songbag", terminal_width=80).output
        parts.append(f"## songbag {name}".rstrip() + f"\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "reference" / "cli.md").write_text(page())
