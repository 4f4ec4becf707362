"""All speed rows: ours and theirs from one run, into docs/figures.md.

python bench/speed/run.py [--quick] [--record] [row ...]

Each row_*.py is a program that prints one part of the table; the page holds the latest of
each, between two comments, and all other text of it stays. ``--record`` appends the ratios to
bench/ratios.json; what got slower than the last record by more than a fifth is printed either
way.
"""

import argparse
import json
import os
import subprocess
import sys
import textwrap
import time
from importlib.metadata import version
from pathlib import Path

from songs import FOLDER

HERE = Path(__file__).parent
RATIOS = HERE.parent / "ratios.json"
PAGE = HERE.parent.parent / "docs" / "figures.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
ROWS = ("cold", "timeline", "long", "training", "extraction", "whole_job", "collection")
PACKAGES = ("keras", "tensorflow_cpu", "torch", "jax", "librosa", "numpy", "av", "onnxruntime")
SLOWER = 0.2


def measured(name, environment):
    """Run one row's program; return its rows and profiles."""
    print(f"--- {name}", flush=True)
    began = time.perf_counter()
    command = [sys.executable, str(HERE / f"row_{name}.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    (FOLDER / f"row_{name}.json").write_text(json.dumps(found))
    for row in found["rows"]:
        print("  " + "  ".join(cells(row)), flush=True)
    print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)
    return found


def cells(row):
    """Return a row's cells as text."""
    verdict = {True: "met", False: "**missed**", None: ""}[row["met"]]
    return [row["work"], row["ours"], row["theirs"], f"{row['ratio']:g}", row["bar"], verdict]


def page(found, text):
    """Return the text of docs/figures.md with the tables of a run between its two comments."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE}: the comments that enclose the tables of make bench are missing")
    heads = ["work", "ours", "theirs", "ratio", "bar", ""]
    versions = ", ".join(f"{name.removesuffix('_cpu')} {version(name)}" for name in PACKAGES)
    measured_on = f"Measured {time.strftime('%Y-%m-%d')} on {machine()}. {versions}."
    lines = [f"| {' | '.join(cells(row))} |" for part in found for row in part["rows"]]
    profiles = [wrapped(f"- {text}", "  ") for part in found for text in part["profiles"]]
    return "\n".join([
        f"{before}{BEGIN}", "", wrapped(measured_on), "",
        f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *lines, "",
        "### Where the time goes", "", *profiles, "", f"{END}{after}",
    ])  # fmt: skip


def wrapped(text, indent=""):
    """Return a paragraph in lines of a page's width, no line beginning with a percent sign."""
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.fill(text, 118, subsequent_indent=indent, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")


def machine():
    """Return the processor's model and the number of cores."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{os.cpu_count()} cores"


def slower(rows, records):
    """Return what got slower than the last record by more than a fifth, in words."""
    last = {}
    for record in records:
        last.update(record["ratios"])
    told = []
    for row in rows:
        before, now = last.get(row["key"]), row["ratio"]
        if not before or row["key"].startswith("losses") or row["key"].endswith("accuracy"):
            continue
        worse = before / now - 1 if row["higher"] else now / before - 1
        if now and worse > SLOWER:
            told.append(f"{row['key']}: {now:g}, last recorded {before:g}")
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--record", action="store_true", help="append to ratios.json")
    asked = parser.parse_args()
    environment = {**os.environ, **({"BENCH_QUICK": "1"} if asked.quick else {})}
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = [measured(name, environment) for name in asked.rows]
    rows = [row for part in found for row in part["rows"]]
    records = json.loads(RATIOS.read_text()) if RATIOS.exists() else []
    for line in slower(rows, records):
        print(f"slower: {line}")
    if asked.record:
        ratios = {row["key"]: row["ratio"] for row in rows}
        records.append({"date": time.strftime("%Y-%m-%d"), "machine": machine(), "ratios": ratios})
        RATIOS.write_text(json.dumps(records, indent=1) + "\n")
    latest = [FOLDER / f"row_{name}.json" for name in ROWS]
    if all(path.exists() for path in latest):
        newest = [json.loads(path.read_text()) for path in latest]
        PAGE.write_text(page(newest, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{PAGE.name} has the new tables; its first ten lines are written by hand")
    missed = [row["key"] for row in rows if row["met"] is False]
    print(f"{len(missed)} bars missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
