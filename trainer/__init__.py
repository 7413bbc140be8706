# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot's commands, and the data and benchmark modules that they share."""

import errno
import itertools
import re
import sys
import traceback
from argparse import Action, ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[1]
NETWORK = ("httpx", "httpx2")  # Errors of huggingface_hub's HTTP libraries are not OSErrors; the imports are slow.
OWN = ("trainer", "modeling_parrot")
PACKAGES = tuple(REPOSITORY / name for name in OWN)


# What is wrong with a path, in the words of a user. Other errors of the operating system keep their own words.
PATH_ERRORS = {
    errno.ENOENT: "there is no such file or folder. Correct the path",
    errno.EISDIR: "this is a folder. Give a file",
    errno.ENOTDIR: "a file cannot hold other files. Give a folder",
    errno.EEXIST: "there is a file of this name. Give another folder",
    errno.EACCES: "you may not read or write it. Change its permissions, or give another path",
}


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of a command's manual, and adds to the help those defaults that say something."""

    def _get_help_string(self, action: Action) -> str | None:
        # A required argument has no default, and None, an empty value and a switch that is off are no news.
        if action.required or action.nargs == 0 or action.default in (None, "", []):
            return action.help
        return super()._get_help_string(action)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """
    Ends a command with one line on stderr and exit code 1, without a traceback, for an error that the user can mend.

    Such errors are every OSError (files, disks), every error of the network or of huggingface_hub, every package that
    is not installed, and every ValueError that our own code raises, also where a library wraps it. A wrong path is
    named with its argument. Any other exception may be a fault of the program and keeps its traceback. Progress bars
    end before the error is printed. The context belongs only around the command line, because programs that call the
    functions need the exceptions. It can be a decorator, too.
    """
    try:
        yield
    except Exception as error:
        _end_progress_bars()
        message = _message_for_user(error)
        if message is None:
            raise
        sys.stdout.flush()
        sys.exit(f"error: {message}")


def _message_for_user(error: BaseException | None) -> str | None:
    """The message of the first exception in a chain that the user can mend; None if there is none."""
    while error is not None:
        files, message = [frame.filename for frame in traceback.extract_tb(error.__traceback__)], str(error)
        # torch raises a data loader worker's exception again, with the worker's traceback as its message.
        if message.startswith("Caught "):
            files = re.findall(r'^  File "(.+)", line \d+', message, re.M) or files
            message = re.split(r"^\w*Error: ", message, flags=re.M)[-1].strip()
        text = " ".join(message.split())  # the libraries' messages may have several lines
        if isinstance(error, ValueError):
            if files and any(Path(files[-1]).resolve().is_relative_to(package) for package in PACKAGES):
                return message
        elif isinstance(error, OSError) and error.errno in PATH_ERRORS and isinstance(error.filename, (str, Path)):
            return f"{_argument_and_path(Path(error.filename))}: {PATH_ERRORS[error.errno]}."
        elif isinstance(error, OSError) or type(error).__module__ == "huggingface_hub.errors":
            return text  # The second kind is, for example, a value of a wrong type in a config.json.
        elif type(error).__module__ in NETWORK:
            return f"The network failed: {text}"
        elif isinstance(error, ImportError) and error.__cause__ is None:
            package = (error.name or "").partition(".")[0]
            return None if package in OWN else _missing_package(text.rstrip("."), package)
        error = error.__cause__
    return None


def _argument_and_path(path: Path) -> str:
    """
    A path for an error, with the argument of the command line that names it. If the command line names only a folder
    above the path, the argument and that folder come first. If it names neither, the path stands alone.
    """
    argument, nearest, holder = "", "", Path()
    parts = [word.split("=", 1) if word.startswith("--") else [word] for word in sys.argv[1:]]
    for word in itertools.chain.from_iterable(parts):
        if word.startswith("--"):
            argument = word
        elif word and argument and Path(word) == path:
            return f"{argument} {path}"
        elif word and argument and Path(word) in path.parents and len(Path(word).parts) > len(holder.parts):
            nearest, holder = argument, Path(word)
    return f"{nearest} {holder}: {path}" if nearest else str(path)


def _missing_package(reason: str, package: str) -> str:
    """Says how to install a package that is missing or too old; without its name, repeats the library's message."""
    if not package:
        return f"{reason}."
    import tomllib  # noqa: PLC0415  # new in Python 3.11; a Space imports this package in 3.10

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, requirements in project["optional-dependencies"].items():
        if package in [re.split(r"[^\w-]", name)[0].replace("-", "_") for name in requirements]:
            return f'{reason}. The command needs {package}: pip install -e ".[{extra}]"'
    return f"{reason}. The command needs {package}: --help and README.md say how to install it."


def _end_progress_bars() -> None:
    """Ends the lines of tqdm's progress bars. tqdm has no public list of them."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", [])):
            bar.close()
