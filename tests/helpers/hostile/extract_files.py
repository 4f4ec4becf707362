"""Extract files one by one in this process and print a result for each, as JSON lines.

python tests/helpers/hostile/extract_files.py CACHE FILE...
"""

import json
import resource
import sys
import time
from pathlib import Path

from songbag.audio.audio_file import Source
from songbag.audio.extract import extract
from songbag.settings import Limits, Sound


def main(cache, paths):
    sound = Sound()
    for path in paths:
        began = time.perf_counter()
        receipt = extract(Source(path=path), sound, Path(cache), Limits())
        row = {
            "file": path,
            "status": receipt.status,
            "reason": receipt.reason,
            "message": receipt.message,
            "warnings": receipt.warnings,
            "seconds": receipt.samples / sound.sample_rate,
            "took_seconds": time.perf_counter() - began,
            # of the largest decoder so far, KiB
            "decoder_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
            "this_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
