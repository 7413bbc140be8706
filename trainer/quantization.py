# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Measures what quantisation changes in a Parrot: its size, its logits and its answers about one picture.

    python -m trainer.quantization --model models/demo-parrot --image data/demo/example.jpg \
        --question "Which animal is shown in the picture?" "图中是哪种动物？"

Each quantisation config is as a user would write it, without a list of modules to skip. The size is that of the saved
weights. The command needs bitsandbytes and torchao: `pip install -e ".[serving]"`.
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
