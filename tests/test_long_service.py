"""The measurement of a server over a long time (bench/long_service.py), for some seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="counts a server's open files")
def test_a_server_answers_rightly_while_its_memory_is_watched(tmp_path):
    short = ("--minutes", "0.3", "--requests", "20", "--workers", "1")
    command = [sys.executable, "bench/long_service.py", *short, "--json", tmp_path / "r.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["wrong"] == found["lost"] == 0
    assert found["answered"] + found["busy"] >= 20
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    low, high = found["all_mb"]
    assert 50 < low <= high < 2000
    assert "slope" in done.stdout
