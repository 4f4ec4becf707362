"""Cold starts: whole processes for one song, `--help`, `import songbag`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from founding import read_table
from measuring import FOUNDING, SONGBAG, Row, finish, interleaved, process, ratio_row, told
from songs import songs

MOST = {"founding": 1.0, "auto": 1.5}


def predictions(folder, tables, rounds):
    """Return the rows of `songbag predict model song.mp3`."""
    song, few = read_table(tables["mp3"])[0][0], str(tables["few"])
    enough = str(tables["all"])  # fewer than 100 songs would not be trained by auto
    cache = ["--cache", str(folder / "cache"), "--quiet"]
    works = {}
    for recipe in MOST:
        model = str(folder / f"{recipe}.songbag")
        train = ["train", enough, "-o", model, "--recipe", recipe, "--epochs", "2", *cache]
        subprocess.run([*SONGBAG, *train], check=True, capture_output=True)
        cold = ["--cache", str(folder / "nothing"), "--quiet"]
        works[recipe] = process([*SONGBAG, "predict", model, song, *cold])
    subprocess.run([*FOUNDING, "train", few, str(folder / "m.keras"), "--epochs", "2"],
                   check=True, capture_output=True)  # fmt: skip
    works["theirs"] = process([*FOUNDING, "predict", str(folder / "m.keras"), song])
    found = interleaved(works, rounds)
    yield ratio_row("cold-predict", "cold `songbag predict model song.mp3`, founding recipe",
                    found["founding"], found["theirs"], 8)  # fmt: skip
    for recipe, most in MOST.items():
        yield limit_row(
            f"cold-{recipe}", f"the same, seconds, recipe {recipe}", found[recipe], most
        )


def starts(rounds):
    """Return the rows of `songbag --help` and `import songbag`."""
    loading = process([sys.executable, "-c", "import songbag"])
    found = interleaved({"help": process([*SONGBAG, "--help"]), "import": loading}, rounds)
    yield limit_row("help", "`songbag --help`", found["help"], 0.3)
    yield limit_row("import", "`import songbag`", found["import"], 0.2)


def limit_row(key, work, seconds, most):
    """Return the row of a time that must stay below ``most`` seconds."""
    return Row(key, work, told(seconds), "", round(seconds, 3), f"≤ {most:g} s", seconds <= most,
               higher=False)  # fmt: skip


def main():
    rounds = 3 if os.environ.get("BENCH_QUICK") else 7
    tables = songs()
    with tempfile.TemporaryDirectory() as name:
        rows = list(predictions(Path(name), tables, rounds))
    finish([*rows, *starts(2 * rounds + 1)])


if __name__ == "__main__":
    main()
