"""An S3 server on this machine, as a process of its own."""

import os
import re
import subprocess
import sys
import urllib.request

from tests.helpers.clusters import free_port, wait_until


class Store:
    """moto's server: real HTTP, real signatures in the requests, objects in memory."""

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = folder / "s3.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers)
        # What a user sets for a store that is not Amazon's.
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _answers(self):
        try:
            return urllib.request.urlopen(f"{self.url}/moto-api/", timeout=1).status == 200
        except OSError:
            return False

    def requests(self):
        """Return method and path of every request so far."""
        lines = re.sub(r"\x1b\[\d+m", "", self.log.read_text()).splitlines()  # answers in colour
        return [tuple(line.split('"')[1].split()[:2]) for line in lines if '"' in line]

    def close(self):
        self.process.kill()
        self.process.wait()


def s3(environment):
    """Return a file system of the server, for tests to look into it."""
    import s3fs

    os.environ.update(environment)
    return s3fs.S3FileSystem()
