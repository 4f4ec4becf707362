"""Write docs/reference/cli.md from what ``--help`` says, so that the page follows the program."""

from pathlib import Path

from click.testing import CliRunner

from songbag.cli import main


def page() -> str:
    """Return the text of docs/reference/cli.md."""
    parts = ["# Command line\n\nGenerated from `--help` by `python docs/make_cli.py`.\n"]
    for name in ["", *main.commands]:
        arguments = [name, "--help"] if name else ["--help"]
        text = CliRunner().invoke(main, arguments, prog_name="songbag", terminal_width=80).output
        parts.append(f"## songbag {name}".rstrip() + f"\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "reference" / "cli.md").write_text(page())
