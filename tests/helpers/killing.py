"""Kill -9 at random moments, for every command that promises to go on afterwards."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path


class Forked:
    """A function in a process that has its imports behind it: only its work is killed."""

    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.helpers.killed_work"])

    def __init__(self, work):
        ready = self.server.Process(target=_nothing)  # the imports count for no job
        ready.start()
        ready.join()
        self.work, self.arguments = work, ()

    def run(self):
        process = self.started()
        process.join(300)
        assert process.exitcode == 0

    def kill(self, seconds):
        process = self.started()
        process.join(seconds)
        running = process.exitcode is None
        process.kill()
        process.join()
        return running

    def started(self, options=None):
        process = self.server.Process(target=self.work, args=self.arguments, kwargs=options or {})
        process.start()
        return process


def _nothing():
    pass


def run(command, environment=None):
    """Run to the end; return the seconds it took and its output."""
    began = time.monotonic()
    if isinstance(command, Forked):
        command.run()
        return time.monotonic() - began, None
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode in (0, 1), done.stderr
    return time.monotonic() - began, done


def kill(command, seconds, everything, environment=None):
    """Start a command and kill -9 it after ``seconds``; whether it was still running.

    ``everything`` kills its worker processes in the same moment; else they find
    themselves alone and must end by themselves.
    """
    if isinstance(command, Forked):
        return command.kill(seconds)
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        pass
    if everything:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    return True


def wait_for_orphans(leader, seconds=30):
    """Wait until no process of a session is left, and fail when one stays."""
    deadline = time.monotonic() + seconds
    while found := [pid for pid in _pids() if _session(pid) == leader]:
        assert time.monotonic() < deadline, f"still running: {found}"
        time.sleep(0.05)


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[3])


def tree(folder, leave_out=()):
    """Every file below a folder, by name, as a hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(word in path.name for word in leave_out)
    }


def temporaries(folder):
    """The files that a killed writer left behind."""
    return [path for path in folder.rglob(".*.tmp") if path.is_file()]


def torment(command, times, rng, verify, reset, environment=None, after_kill=lambda: None):
    """Kill a running command at ``times`` random moments, let it finish after, and verify.

    ``reset()`` makes the state of a fresh start, ``verify()`` raises unless the result is
    that of an undisturbed run, ``after_kill()`` unless a kill left what it may leave. Returns how many kills hit it running: ``times``, unless two
    of three came too late.
    """
    for _ in range(2):  # the first may make what later ones find, such as exported graphs
        reset()
        whole, _ = run(command, environment)
        verify()
    hits = tries = 0
    while hits < times and tries < 3 * times:
        reset()
        for _ in range(min(times - hits, int(rng.integers(1, 4)))):  # on top of each other
            moment = whole * rng.uniform(0.3, 1.0)
            hit = kill(command, moment, bool(rng.integers(2)), environment)
            after_kill()
            hits, tries = hits + hit, tries + 1
            whole *= 1.0 if hit else 0.9  # the machine is less busy than it was
        run(command, environment)
        verify()
    return hits
