"""A shared library behind the JSON-lines protocol, in a process of its own.

Run as ``python -m gac_ref.conformance.adapters.c_host path/to/library.so``.
"""

from __future__ import annotations

import sys

from gac_ref.conformance.adapters.c_library import CPort
from gac_ref.conformance.adapters.python_host import serve

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Serve the library that the one argument names."""
    (path,) = arguments
    return serve(lambda: CPort(path), stacks=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
