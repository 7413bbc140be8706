# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Opens a web page to play with a Parrot. The user chooses a picture and asks a question in any language. The page shows
the answer while it is written, and the experts' weights for this question and for the same question in other
languages. It needs pip install -e ".[page]".

    python -m trainer.demo --model models/demo-parrot

`trainer/publish.py --space` uploads it as a Hugging Face Space.
"""

from dataclasses import dataclass, field

from trainer import REPOSITORY, one_line_errors
from trainer.common.command_line import parse_arguments


# A Space has the pictures beside the page; `make demo` draws one.
PICTURES = [*sorted(REPOSITORY.glob("pictures/*")), *REPOSITORY.glob("data/demo/example.jpg")]


@dataclass
class DemoArguments:
    """Arguments of `python -m trainer.demo`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the model on the Hub: its code runs here."}
    )
    pictures: list[str] = field(
        default_factory=lambda: list(map(str, PICTURES)), metadata={"help": "Files of pictures to choose from."}
    )
    max_new_tokens: int = field(default=64, metadata={"help": "Longest answer, in tokens."})
    port: int | None = field(
        default=None, metadata={"help": "Port of the page; by default, the first free port from 7860."}
    )


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(DemoArguments, __doc__)
        from trainer.serving.demo_page import main

        main(ARGUMENTS)
