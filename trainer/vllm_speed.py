# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Measures how fast vLLM answers with the plug-in, and how fast transformers' `generate` does in batches. Both answer the
same hundred questions, ten about each of ten pictures. vLLM is also timed with the tower run anew for each prompt, and
when all questions are asked a second time.

    python -m trainer.vllm_speed --model models/demo-parrot --benchmark "data/demo/mini_mmmb_{language}.tsv"

All ways run in one process, on the same threads, without compilation.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class VllmSpeedArguments:
    """Arguments of `python -m trainer.vllm_speed`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    benchmark: str = field(metadata={"help": "TSV file, with {language} in the place of the language."})
    languages: list[str] | None = field(default=None, metadata={"help": "Languages to ask in; by default, the six."})
    pictures: int = field(default=10, metadata={"help": "Number of pictures, from the benchmark's first rows."})
    questions: int = field(default=10, metadata={"help": "Number of questions about a picture, from all languages."})
    batch_size: int = field(default=32, metadata={"help": "Number of questions that are answered together."})
    max_new_tokens: int = field(default=16, metadata={"help": "Longest answer, in tokens."})
    rounds: int = field(default=3, metadata={"help": "How often each way is timed; the median counts."})


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(VllmSpeedArguments, __doc__)
        from trainer.timing.vllm_speed_parts import measure_serving

        measure_serving(ARGUMENTS)
