"""A real server in a process of its own, for the tests of serving."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

CODE = """
import sys, msgspec
from pathlib import Path
from songbag.serving.app import serve
from songbag.serving.options import ServerOptions
options = msgspec.json.decode(sys.argv[1].encode(), type=ServerOptions)
serve([Path(name) for name in sys.argv[2:]], options, False, lambda text: print(text, file=sys.stderr, flush=True))
"""


class Server:
    """`songbag serve` with settings that the command line may not have, in a folder."""

    def __init__(self, models, folder, **options):
        import msgspec

        from songbag.serving.options import ServerOptions

        models = [models] if isinstance(models, Path) else models
        self.temporary = Path(folder) / "temporary"
        self.temporary.mkdir(exist_ok=True)
        stated = msgspec.json.encode(ServerOptions(**{"port": 0, "workers": 1} | options)).decode()
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        self.log = open(Path(folder) / f"server-{time.monotonic_ns()}.log", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, stated, *map(str, models)],
            stderr=self.log,
            env=environment,
            start_new_session=True,
        )
        self.address = self._address()
        self.url = self.address.partition("#")[0].rstrip("/")

    def _address(self):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for line in self.text().splitlines():
                if " at http://" in line:
                    return line.rpartition(" ")[2]
            assert self.process.poll() is None, self.text()
            time.sleep(0.02)
        raise AssertionError("the server did not start in a minute")

    def text(self):
        return Path(self.log.name).read_text()

    def predict(self, path, name=None, headers=None, timeout=60, **parts):
        with open(path, "rb") as file:
            return requests.post(
                f"{self.url}/predict",
                params=parts,
                files={"file": (name or Path(path).name, file)},
                headers=headers,
                timeout=timeout,
            )

    def health(self):
        return requests.get(f"{self.url}/health", timeout=10).json()

    def until(self, true, seconds=10):
        """Wait until something is true, or fail."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.02)

    def workers(self):
        """Process ids of the workers."""
        return [pid for pid in children(self.process.pid) if b"popen_loky" in command(pid)]

    def uploads(self):
        """What lies in the folder for files at work."""
        return list(self.temporary.glob("songbag-serve-*/*"))

    def memory(self):
        """Resident megabytes of the server and its workers."""
        return sum(resident(pid) for pid in (self.process.pid, *self.workers()))

    def stop(self, how=signal.SIGINT):
        """Stop it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(20)
        self.log.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGTERM)


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def resident(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def with_card(model_path, path, **changes):
    """Write a copy of a model whose card says something else."""
    import msgspec

    from songbag.inference.model_file import Model, load_model, save_model

    whole = load_model(model_path, ("network.onnx", "pooling.onnx", "weights.safetensors"))
    save_model(path, Model(msgspec.structs.replace(whole.card, **changes), whole.parts))
    return path
