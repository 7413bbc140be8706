# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the arguments of a command."""

from collections.abc import Sequence
from typing import Any, TypeVar

from transformers import HfArgumentParser

from trainer import HelpFormatter


Arguments = TypeVar("Arguments")


def parse_arguments(
    kind: type[Arguments], manual: str, words: Sequence[str] | None = None, **kwargs: Any
) -> Arguments:
    """
    Reads a command line. A command imports the module with its work only afterwards, so that --help and a wrong
    argument import no torch.

    Args:
        kind: dataclass of the arguments.
        manual: the text at the beginning of --help.
        words: the words of the command line; those of this process if None.
        kwargs: further arguments of `argparse.ArgumentParser`.

    Raises:
        `ValueError`: if the dataclass refuses the arguments, or if one is empty, as an unset variable of a shell is,
            or if a number of tokens or of questions is not positive.
    """
    parser = HfArgumentParser(kind, description=manual, formatter_class=HelpFormatter, **kwargs)
    arguments = parser.parse_args_into_dataclasses(words)[0]
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise ValueError(f"--{name}={value!r}: a value is empty. Write it, or leave it out.")
        if name in ("max_new_tokens", "batch_size") and value < 1:
            raise ValueError(f"--{name}={value}: give at least 1.")
    return arguments
