# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Builds a benchmark from your own questions: one TSV file of MMMB's format for each language, and a report on common
faults of benchmarks:

    python -m trainer.build_benchmark --rows questions.csv --output data/mine --name mine --train data/conversations

--rows is a .csv, .tsv, .xlsx or .jsonl, or a data set in a file, in a folder or on the Hub. Its columns are
`language`, `image` (a path relative to the rows' folder, or an image of `datasets`), `question`, `answer` (the letter,
or the option's text) and either `options` (a list) or A, B, C, and so on. Optional columns are `index` (the same for a
question in all languages; by default, questions are numbered in each language), `category`, `l2-category` and `hint`.

A fault that makes the benchmark unusable is an error, and nothing is written. Other faults are findings in the report.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class BuildArguments:
    """Arguments of `python -m trainer.build_benchmark`."""

    rows: str = field(metadata={"help": "File of rows, or file, folder or Hub id of a data set."})
    output: str = field(metadata={"help": "Folder of the benchmark."})
    name: str = field(default="benchmark", metadata={"help": "The files are NAME_<language>.tsv and NAME_report.md."})
    split: str = field(default="test", metadata={"help": "Split of a folder's or the Hub's data set of rows."})
    train: str | None = field(
        default=None,
        metadata={
            "help": "Training data with messages and images, to search for the benchmark's pictures and questions."
        },
    )


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(BuildArguments, __doc__)
        from trainer.evaluation.own_questions import main

        main(ARGUMENTS)
