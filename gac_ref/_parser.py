"""The parser of every command line here: usage errors in one line."""

from __future__ import annotations

import argparse
from typing import ClassVar, NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and exit 2.

    Examples:
        >>> Parser(prog="tool").parse_args(["--nonsense"])  # the error goes to stderr
        Traceback (most recent call last):
            ...
        SystemExit: 2
    """

    program: ClassVar[str] = ""
    """What an error begins with; the command itself where it has no subcommands."""

    def error(self, message: str) -> NoReturn:
        """Exit 2 with the message and where the help is."""
        said = " ".join(message.split())
        self.exit(2, f"{self.program or self.prog}: error: {said}; see {self.prog} --help\n")
