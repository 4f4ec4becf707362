"""``python -m songbag``."""

from songbag.cli import main

main(prog_name="songbag")
