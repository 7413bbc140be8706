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
Speed and memory beside the peers, on the machine that it runs on, ours and the peer side by side:

    python -m trainer.speed --size small
    python -m trainer.speed --size 7b --output speed-7b.json
    python -m trainer.speed --parts benchmark --model models/demo-parrot \
        --benchmark "data/demo/mini_mmmb_{language}.tsv"

Models are built from configs, with random weights: nothing is loaded. The sizes are those of the tests (tiny), of the
small Parrot of trainer/recipes/small_align.yaml (small) and of the paper (7b: CLIP ViT-L/14 at 336 pixels, Qwen2-7B,
six experts of 4,096, for a GPU of 80 GB). A GPU computes in bfloat16, a CPU in float32. The parts:

  data       rows a second that one core reads and collates; beside LlavaProcessor with the same collator of TRL
  experts    all, two and one of the experts; beside the machine's own matrix product, and two and one beside all
  latency    first token and tokens a second; beside LlavaForConditionalGeneration with the same weights
  benchmark  questions a second, written and scored; beside a loop as the reference's
  training   a step, its memory and its share of the machine's product, by LoRA and, where it fits, in full; beside
             LlavaForConditionalGeneration with plain SFTTrainer, and beside a head that sees every position, as the
             reference's does
  processes  a step of training in full, and the benchmark's questions, by two processes of one core or GPU; beside one

A ratio above 1 is a gain: how many times as fast ours is, or as small. Each time is the least of --rounds, in turns
with what it is compared with, after one that does not count. Where memory is not told, none could be seen.
"""

from dataclasses import dataclass, field
from typing import Literal

from trainer import one_line_errors
from trainer.command_line import parse_arguments


PARTS = ("data", "experts", "latency", "benchmark", "training", "processes")


@dataclass
class SpeedArguments:
    """Arguments of `python -m trainer.speed`."""

    size: Literal["tiny", "small", "7b"] = field(default="small", metadata={"help": "Of the models."})
    parts: list[str] = field(default_factory=lambda: list(PARTS), metadata={"help": f"Of {', '.join(PARTS)}."})
    rounds: int = field(default=5, metadata={"help": "How often each takes its turn."})
    output: str | None = field(default=None, metadata={"help": "JSON file for the same numbers."})
    model: str | None = field(default=None, metadata={"help": "A Parrot for the benchmark: a folder or Hub id."})
    benchmark: str | None = field(
        default=None, metadata={"help": "Its questions: a TSV file, with {language} in the place of the language."}
    )
    per_category: int = field(default=2, metadata={"help": "Questions of each category and language of it."})

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - set(PARTS):
            raise ValueError(f"parts={sorted(unknown)} are none of {list(PARTS)}.")
        if bool(self.model) != bool(self.benchmark):
            raise ValueError(f"model={self.model!r} and benchmark={self.benchmark!r}: give both or neither.")


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(SpeedArguments, __doc__)
        from trainer.speed_parts import measure_speed

        measure_speed(ARGUMENTS)
