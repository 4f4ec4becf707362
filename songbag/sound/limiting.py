"""What a process may use that decodes files: memory, time, disk, open files (POSIX)."""

import os
import time
from dataclasses import dataclass

from songbag.settings import Limits

_LEFT_BYTES = 1 << 26  # memory that files before may have left in use
_LIFE_SECONDS = 60.0  # of computing before a process that serves many files is replaced


@dataclass(frozen=True)
class Budget:
    """What this process had used when it began: `still_good` tells whether it may go on."""

    mapped: int | None

    def still_good(self) -> bool:
        """Tell whether another file would find all that its limits allow."""
        mapped = mapped_bytes()
        roomy = mapped is None or self.mapped is None or mapped <= self.mapped + _LEFT_BYTES
        return roomy and time.process_time() < _LIFE_SECONDS


def limit(limits: Limits, many: bool) -> Budget:
    """Set this process's limits until it ends; ``many``: it will serve file after file."""
    import resource

    extra = _LIFE_SECONDS if many else 0.0
    wanted = {
        resource.RLIMIT_CPU: _computing(limits) + int(extra),
        resource.RLIMIT_FSIZE: int(limits.spool_bytes),
        resource.RLIMIT_NOFILE: _highest_descriptor() + 1 + limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if (mapped := mapped_bytes()) is not None:
        room = int(limits.memory_bytes) + (_LEFT_BYTES if many else 0)
        wanted[resource.RLIMIT_AS] = mapped + room
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    return Budget(mapped)


def allow_another(limits: Limits) -> None:
    """Give the next file its own time of computing, within what the process has in all."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    value = int(time.process_time()) + 1 + _computing(limits)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (value, hard))


def _computing(limits: Limits) -> int:
    return int(limits.cpu_seconds) + 2  # decoding itself stops at cpu_seconds, with a reason


def _highest_descriptor() -> int:
    try:
        return max(map(int, os.listdir("/dev/fd")))
    except (OSError, ValueError):
        return 256


def mapped_bytes() -> int | None:
    """Return the address space in use, None where the system does not say (it has no limit)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
