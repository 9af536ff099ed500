"""One watcher process that ends the ports of a host that was killed.

A host that ends in any ordinary way ends its ports itself. Against SIGKILL nothing in it can help,
so a small process holds the other end of a pipe: when the pipe closes without a word, every process
group still registered is killed. A parent-death signal would be less: it reaches the child alone,
not what the child started, and follows the thread that forked rather than the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

__all__ = ["release", "watch"]

_WATCHER = """
import os, signal
groups, rest = set(), b""
while True:
    data = os.read(0, 4096)
    if not data:
        break
    *lines, rest = (rest + data).split(b"\\n")
    for line in lines:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""

_lock = threading.Lock()
_pipes: dict[int, tuple[int, int]] = {}  # by the host's pid: a forked copy needs its own


def watch(group: int) -> None:
    """Register a process group, to be killed when this process is."""
    _tell(f"+{group}\n")


def release(group: int) -> None:
    """Forget a process group that has ended."""
    _tell(f"-{group}\n")


def _tell(line: str) -> None:
    with _lock:
        if os.getpid() not in _pipes:
            _pipes[os.getpid()] = _start()
        with contextlib.suppress(BrokenPipeError):  # someone ended the watcher
            os.write(_pipes[os.getpid()][0], line.encode("ascii"))


def _start() -> tuple[int, int]:
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        # posix_spawn and not Popen: nothing waits for it before this process ends.
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _WATCHER],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(reading)
        os.close(null)
    atexit.register(_end, os.getpid())
    return writing, pid


def _end(host: int) -> None:
    if host == os.getpid() and host in _pipes:
        writing, pid = _pipes.pop(host)
        os.close(writing)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
