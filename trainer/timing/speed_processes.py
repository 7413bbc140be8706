# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
`python -m trainer.speed --parts processes` runs this command with one process and with two:

    accelerate launch --multi_gpu --num_processes 2 -m trainer.timing.speed_processes --size small --output s.json

Each process has one thread or one GPU. It does its share of the same batch and of the same questions. The first
process writes the seconds of a training step and of all questions as JSON.
"""

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments
from trainer.speed import SpeedArguments


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(SpeedArguments, __doc__)
        from trainer.timing.speed_parts import write_share

        write_share(ARGUMENTS)
