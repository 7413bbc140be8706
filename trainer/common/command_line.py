# Copyright 2026 The Parrot authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
        `ValueError`: if the dataclass refuses the arguments.
    """
    parser = HfArgumentParser(kind, description=manual, formatter_class=HelpFormatter, **kwargs)
    return parser.parse_args_into_dataclasses(words)[0]
