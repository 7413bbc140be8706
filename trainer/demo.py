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
r"""
Opens a web page to play with a Parrot. One chooses a picture and asks a question in any language. The page shows the
answer while it is written, and the experts' weights for this question and for the same question in other languages.
It needs pip install -e ".[page]".

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
