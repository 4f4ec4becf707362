"""Extracts files one by one in a clean process and says what became of each, as JSON lines.

python tests/helpers/hostile/judge.py CACHE FILE...
"""

import json
import resource
import sys
import time
from pathlib import Path

from songbag.audio.extract import extract
from songbag.audio.source import Source
from songbag.settings import Limits, Sound


def main(cache, paths):
    sound = Sound()
    for path in paths:
        began = time.perf_counter()
        found = extract(Source(path=path), sound, Path(cache), Limits())
        row = {
            "file": path,
            "status": found.status,
            "reason": found.reason,
            "message": found.message,
            "warnings": found.warnings,
            "heard_seconds": found.samples / sound.sample_rate,
            "took_seconds": time.perf_counter() - began,
            # of the largest decoder so far, KiB
            "decoder_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
            "this_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
