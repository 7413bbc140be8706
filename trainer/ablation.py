# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Compares variants of a Parrot, called arms. All arms begin with the same weights and train on the same rows in the same
order, with several seeds:

    python -m trainer.ablation --config trainer/recipes/ablation_demo.yaml
    python -m trainer.ablation --config trainer/recipes/ablation_demo.yaml --arms none paper --seeds 0 1 --output DIR

The recipe is YAML; `trainer/recipes/ablation_demo.yaml` explains its keys. For each seed, the command composes a
Parrot and trains its projector (stage 1): the start of all arms. If an arm overrides arguments of `trainer.compose`,
the command composes a second Parrot from the same parts with the same seed, and puts its experts into the start. Then
`trainer/sft.py` trains each arm (stage 2, with the arm's overrides), and `trainer/benchmark.py` measures it.

All arms of a seed run before the next seed. `--jobs` of them run side by side, spread over the GPUs. After each seed,
the command writes DIR/BENCHMARK.json, .md and .png for the seeds that all chosen arms have completed. Repeat the
command to resume a stopped experiment; arms and seeds can be added later. The folder of a run, DIR/ARM/seed-N, holds
its recipe, its log, the model and the answers.
"""

from dataclasses import dataclass, field
from pathlib import Path

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class AblationArguments:
    """Arguments of `python -m trainer.ablation`."""

    config: str = field(metadata={"help": "The experiment's recipe, a YAML file."})
    arms: list[str] = field(default_factory=list, metadata={"help": "Arms to run (default: all of the recipe)."})
    seeds: list[int] = field(default_factory=list, metadata={"help": "Seeds (default: the recipe's)."})
    benchmarks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Benchmarks of the recipe to measure with (default: all). To choose settings, measure only on a "
            "validation benchmark."
        },
    )
    output: str | None = field(default=None, metadata={"help": "Folder of the experiment (default: the recipe's)."})
    jobs: int | None = field(
        default=None,
        metadata={
            "help": "Number of runs side by side (default: one for each GPU; without a GPU, one for each core)."
        },
    )

    def __post_init__(self) -> None:
        if not Path(self.config).is_file():  # TRL, which the rest of the command imports, takes long to import
            raise ValueError(f"config={self.config!r}: there is no such file. Give a YAML recipe.")


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(AblationArguments, __doc__)
        from trainer.evaluation.ablation_runs import run_ablation

        run_ablation(ARGUMENTS)
