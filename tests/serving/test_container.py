"""What the Dockerfile starts, outside of a container."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import requests

from tests.helpers.clusters import free_port
from tests.helpers.serving_process import command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TOKEN = "a token of some letters"


def words(instruction):
    (text,) = re.findall(rf"^{instruction} .*?(\[.*\])$", DOCKERFILE.replace("\\\n", ""), re.M)
    return json.loads(text)


def started(model, port):
    """Return the image's command on this machine's Python, and the environment it gets."""
    start = [*words("ENTRYPOINT"), *words("CMD")]
    assert start[0] == "songbag" and start[-1] == "/models/model.songbag"
    return [sys.executable, "-m", *start[:-1], str(model), "--port", str(port)]


def read_only(folder):
    """Return what makes all but a folder read-only for a command; nothing where that is not allowed."""
    script = f'mount -o remount,ro,bind / && mount -t tmpfs tmpfs {folder} && exec "$@"'
    for rights in ([], ["--user", "--map-root-user"]):
        prefix = ["unshare", *rights, "--mount", "sh", "-c", script, "sh"]
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except FileNotFoundError:
            pass
    return []


def test_the_image_has_no_torch_and_no_rights():
    (extras,) = re.findall(r"/source\[([\w,]+)\]", DOCKERFILE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras == "serve"
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    assert not any(name.startswith(("torch", "songbag")) for name in wanted)
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.M)
    copied = [line for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    assert all((ROOT / name[1:]).exists() for name in copied)


def test_its_command_runs_where_nothing_can_be_written(model_path, audio, tmp_path):
    port, temporary = free_port(), tmp_path / "temporary"
    temporary.mkdir()
    prefix = read_only(temporary)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
        "SONGBAG_TOKEN": TOKEN,
    }
    log = open(tmp_path / "log", "w")  # noqa: SIM115
    process = subprocess.Popen(
        [*prefix, *started(model_path, port)], env=environment, stderr=log, cwd="/"
    )
    health = [word.replace("8765", str(port)) for word in words("HEALTHCHECK")]
    health[0] = sys.executable
    try:
        until = time.monotonic() + 60
        while subprocess.run(health, capture_output=True).returncode:
            assert time.monotonic() < until and process.poll() is None, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/predict"
        body, bearer = audio[0].read_bytes(), {"Authorization": f"Bearer {TOKEN}"}
        assert requests.post(url, data=body, timeout=30).status_code == 401
        answer = requests.post(url, data=body, headers=bearer, timeout=30)
        assert answer.status_code == 200
        assert b"torch" not in Path(f"/proc/{process.pid}/maps").read_bytes()
        assert b"serve" in command(process.pid)
        if prefix:
            assert not list(temporary.iterdir())  # what it wrote lies on the file system of its own
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        log.close()
    said = (tmp_path / "log").read_text()
    assert code == 0, said
    assert "Traceback" not in said and said.endswith("Stopped.\n")


def test_without_a_token_it_does_not_start(model_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        started(model_path, 0), env=environment, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 2
    assert "SONGBAG_TOKEN" in done.stderr
