# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot's commands, and the data and benchmark modules that they share."""

import re
import sys
import traceback
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[1]
NETWORK = ("httpx", "httpx2")  # Errors of huggingface_hub's HTTP libraries are not OSErrors; the imports are slow.
PACKAGES = (REPOSITORY / "trainer", REPOSITORY / "modeling_parrot")


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of a command's manual, and adds the defaults to the help."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """
    Ends a command with one line on stderr and exit code 1, without a traceback, for an error that the user can mend.

    Such errors are every OSError (files, disks), every error of the network, and every ValueError that our own code
    raises, also where a library wraps it. Any other exception may be a fault of the program and keeps its traceback.
    It belongs only around the command line, because programs that call the functions need the exceptions. It can be a
    decorator, too.
    """
    try:
        yield
    except Exception as error:
        message = _message_for_user(error)
        if message is None:
            raise
        sys.stdout.flush()
        sys.exit(f"error: {message}")


def _message_for_user(error: BaseException | None) -> str | None:
    """The message of the first exception in a chain that the user can mend; None if there is none."""
    while error is not None:
        if isinstance(error, ValueError):
            file, message = traceback.extract_tb(error.__traceback__)[-1].filename, str(error)
            # torch raises a data loader worker's exception again, with the worker's traceback as its message.
            if message.startswith("Caught ") and (files := re.findall(r'^  File "(.+)", line \d+', message, re.M)):
                file, message = files[-1], re.split(r"^\w*Error: ", message, flags=re.M)[-1].strip()
            if any(Path(file).resolve().is_relative_to(package) for package in PACKAGES):
                return message
        elif isinstance(error, OSError):
            return " ".join(str(error).split())  # the libraries' messages may have several lines
        elif type(error).__module__ in NETWORK:
            return f"The network failed: {' '.join(str(error).split())}"
        error = error.__cause__
    return None
