# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Measures speed and memory on this machine, ours and a peer side by side:

    python -m trainer.speed --size small
    python -m trainer.speed --size 7b --output speed-7b.json
    python -m trainer.speed --parts benchmark --model models/demo-parrot \
        --benchmark "data/demo/mini_mmmb_{language}.tsv"

Models are built from configs with random weights; nothing is downloaded. The sizes are tiny (as in the tests), small
(the Parrot of trainer/recipes/small_align.yaml) and 7b (the paper's: CLIP ViT-L/14 at 336 pixels, Qwen2-7B, six
experts of 4,096, for a GPU of 80 GB). A GPU computes in bfloat16; a CPU computes in float32, and the first token also
in bfloat16. The parts and their peers:

  data       rows a second that one core reads and collates. Peer: LlavaProcessor with the same collator of TRL
  experts    speed of all, two and one of the experts. Peer: this machine's matrix product; for two and one, also all
  latency    time to the first token, and tokens a second. Peer: LlavaForConditionalGeneration with the same weights
  benchmark  questions a second, written and scored. Peer: a loop like the reference's
  training   time, memory and FLOP/s of a step, with LoRA and, if it fits, in full. Peers: SFTTrainer with
             LlavaForConditionalGeneration, and the same model with a head on every position, as in the reference
  processes  a step with LoRA, and the benchmark, with two processes of one core or GPU each. Peer: one process

A ratio above 1 is a gain: ours is so many times as fast, or as small. Ours and the peer take turns. A first round
does not count; a time is the least of the --rounds after it. A line about memory is left out if it is not measurable.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


PARTS = ("data", "experts", "latency", "benchmark", "training", "processes")


@dataclass
class SpeedArguments:
    """Arguments of `python -m trainer.speed`."""

    size: Literal["tiny", "small", "7b"] = field(default="small", metadata={"help": "Size of the models."})
    parts: list[str] = field(
        default_factory=lambda: list(PARTS), metadata={"help": f"Parts to measure, of {', '.join(PARTS)}."}
    )
    rounds: int = field(default=5, metadata={"help": "Number of rounds in which each way is timed once."})
    output: str | None = field(default=None, metadata={"help": "JSON file for the same numbers."})
    model: str | None = field(default=None, metadata={"help": "Folder or Hub id of a Parrot for the part benchmark."})
    benchmark: str | None = field(
        default=None,
        metadata={"help": "Name of TSV files for the part benchmark, with {language} in the place of the language."},
    )
    per_category: int = field(default=2, metadata={"help": "Number of questions of each category and language."})

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - set(PARTS):
            raise ValueError(f"parts={sorted(unknown)} are unknown: give some of {list(PARTS)}.")
        if bool(self.model) != bool(self.benchmark):
            raise ValueError(f"model={self.model!r} and benchmark={self.benchmark!r}: give both or neither.")
        if self.output and (Path(self.output).is_dir() or not Path(self.output).parent.is_dir()):
            raise ValueError(f"--output: {self.output} is no file in an existing folder. Give a file.")


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(SpeedArguments, __doc__)
        from trainer.timing.speed_parts import measure_speed

        measure_speed(ARGUMENTS)
