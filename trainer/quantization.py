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
Measures what quantisation changes in a Parrot: its size, its logits and its answers about one picture.

    python -m trainer.quantization --model models/demo-parrot --image data/demo/example.jpg \
        --question "Which animal is shown in the picture?" "图中是哪种动物？"

Each quantisation config is as a user would write it, without a list of modules to skip. The size is that of the saved
weights. It needs bitsandbytes and torchao: `pip install -e ".[serving]"`.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class QuantizationArguments:
    """Arguments of `python -m trainer.quantization`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    image: str = field(metadata={"help": "File of the picture."})
    question: list[str] = field(metadata={"help": "Questions; each is asked in a chat of its own."})
    max_new_tokens: int = field(default=16, metadata={"help": "Longest answer, in tokens."})


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(QuantizationArguments, __doc__)
        from trainer.timing.quantization_parts import measure_quantized

        measure_quantized(ARGUMENTS)
