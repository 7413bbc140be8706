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
Trains variants of a Parrot, the arms, from one start on the same rows in the same order, with several seeds, and says
what each is worth:

    python -m trainer.ablation --config trainer/recipes/ablation_demo.yaml
    python -m trainer.ablation --config trainer/recipes/ablation_demo.yaml --arms none paper --seeds 0 1 --output DIR

The recipe is YAML; `trainer/recipes/ablation_demo.yaml` explains its keys. For each seed a Parrot is composed and its
projector trained (stage 1). An arm that overrides arguments of `trainer.compose` is composed from the same parts with
the same seed and takes over all but its experts from that start. Then `trainer/sft.py` trains it (stage 2, with the
arm's overrides), and `trainer/benchmark.py` measures it.

All arms of a seed are run before the next seed, `--jobs` of them side by side, on GPUs in turn where there are any.
After each seed DIR/BENCHMARK.json, .md and .png are written anew, of the seeds that all chosen arms have completed. An
experiment that was stopped goes on where it was; arms and seeds can be added later. Each run's folder, DIR/ARM/seed-N,
holds its recipe, its log, the model and the answers.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.command_line import parse_arguments


@dataclass
class AblationArguments:
    """Arguments of `python -m trainer.ablation`."""

    config: str = field(metadata={"help": "The experiment's recipe, a YAML file."})
    arms: list[str] = field(default_factory=list, metadata={"help": "Arms to run; all of the recipe if not given."})
    seeds: list[int] = field(default_factory=list, metadata={"help": "Seeds; the recipe's if not given."})
    benchmarks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Benchmarks of the recipe to measure with; all if not given. To choose settings, measure on a "
            "validation benchmark alone."
        },
    )
    output: str | None = field(default=None, metadata={"help": "Folder of the experiment; the recipe's if not given."})
    jobs: int | None = field(
        default=None,
        metadata={
            "help": "Runs side by side; if not given one a GPU, or without any one a core, with one thread each."
        },
    )


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(AblationArguments, __doc__)
        from trainer.ablation_runs import run_ablation

        run_ablation(ARGUMENTS)
