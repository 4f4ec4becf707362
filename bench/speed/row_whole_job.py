"""The whole job: 200 audio files to a network trained for 20 epochs and judged.

The founding program as it is written, one song after the other, and with a pool for its
features; on TensorFlow, its fastest backend.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from measuring import FOUNDING, SONGBAG, Row, finish, interleaved, process, ratio_row
from songs import COUNT, songs


def main():
    table = str(songs()["all"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, cache = folder / "m.songbag", folder / "cache"
        train = ["train", table, "-o", str(model), "--recipe", "founding", "--epochs", "20"]
        ours = process([*SONGBAG, *train, "--cache", str(cache), "--quiet"])
        theirs = [*FOUNDING, "train", table, str(folder / "m.keras"), "--epochs", "20"]
        works = {
            "ours": lambda: (shutil.rmtree(cache, ignore_errors=True), ours())[1],
            "theirs": process(theirs, KERAS_BACKEND="tensorflow"),
            "pooled": process([*theirs, "--processes", str(os.cpu_count())]),
        }
        found = interleaved(works, 1 if os.environ.get("BENCH_QUICK") else 2, warm=0)
        figures = json.loads((folder / "m-training" / "metrics.json").read_text())
        mine = figures["metrics"]["accuracy"]["value"]
        other = json.loads(works["theirs"].last[0])["accuracy"]
    finish([
        ratio_row("whole-job", f"whole job, {COUNT} files, 20 epochs, judged, against the program "
                  "as written", found["ours"], found["theirs"], 5),
        ratio_row("whole-job-pooled", "the same, its features in a pool on all cores",
                  found["ours"], found["pooled"], None),
        Row("whole-job-accuracy", "accuracy on the test songs of the whole job", f"{mine:.3f}",
            f"{other:.3f}", round(mine - other, 3), "no lower", mine >= other),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
