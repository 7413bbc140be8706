# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Measures multiple-choice answers to questions about pictures, in several languages:

    python -m trainer.benchmark run --model models/parrot --benchmark mini-mmmb --output models/parrot/benchmark
    python -m trainer.benchmark score --benchmark mmmb_en.tsv --predictions answers.xlsx --output scores
    python -m trainer.benchmark compare models/parrot/benchmark models/other/benchmark

`run` asks a model, `score` judges the answers of other programs, and `compare` shows results side by side. A
benchmark is one TSV file for each language, with MMMB's columns: index, image (base64), question, A, B, C, ...,
answer, category, l2-category. Each verb has a --help. Several processes share the work, on GPUs and on a CPU:

    accelerate launch --multi_gpu --num_processes 2 -m trainer.benchmark run ...
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


if __name__ == "__main__":  # Python puts this file's folder on the path; the imports need the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer import HelpFormatter, one_line_errors
from trainer.common.command_line import parse_arguments


RUN = """Asks a model all questions. Writes predictions.jsonl (one answer a line), results.json and results.md
(accuracies with 95% intervals by language and category), accuracy.png and router.png. A stopped run
resumes when its command is repeated."""
SCORE = """Judges the answers of other programs, by VLMEvalKit's exact matching (letter, hit) and by a matching that
reads letters and phrasings of six languages (letter_multilingual, hit_multilingual)."""
COMPARE = """Prints, as Markdown, the differences between results on the same questions by language, with paired
significance tests that are corrected for the number of tests."""


@dataclass(kw_only=True)
class BenchmarkArguments:
    """The benchmark, and how answers are read."""

    benchmark: list[str] = field(
        metadata={
            "help": "mmmb, mmbench, kaleidoscope (from the Hub), mini-mmmb (as trainer.mini_mmmb built it in "
            "data/mini-mmmb), a parquet file of Kaleidoscope's format, the name of TSV files with {language} in the "
            "place of the language, or several TSV files, one for each language."
        }
    )
    output: str = field(metadata={"help": "Folder of the results."})
    languages: list[str] | None = field(
        default=None,
        metadata={
            "help": "Languages of the files (default: en zh pt ar tr ru; all in a parquet file; for several TSV "
            "files, the ends of their names)."
        },
    )
    benchmark_revision: str = field(
        default="main", metadata={"help": "Commit of the data set on the Hub, for mmmb, mmbench and kaleidoscope."}
    )
    matching: Literal["2024-01", "2025-07", "2026-05"] = field(
        default="2024-01",
        metadata={
            "help": "Version of VLMEvalKit's exact matching, by month. The paper's figures come from the first; "
            "VLMEvalKit has changed it twice since."
        },
    )


@dataclass(kw_only=True)
class RunArguments(BenchmarkArguments):
    """Arguments of `trainer/benchmark.py run`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot, or a name that --baselines takes."})
    revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the model on the Hub: its code runs here."}
    )
    answer: Literal["generate", "open", "score"] = field(
        default="generate",
        metadata={
            "help": "generate: the model writes an answer, greedily. open: the same, but the prompt has no options, "
            "and the answer must name one of them. score: take the likeliest option."
        },
    )
    wordings: str | None = field(
        default=None,
        metadata={
            "help": "Name of TSV files with questions of the benchmark in other words, with {language} in the place "
            "of the language. The model answers both wordings as in `--answer open`, and the answers are compared."
        },
    )
    score_by: Literal["letter", "text", "pmi"] = field(
        default="letter",
        metadata={
            "help": "How to score an option. letter: by its letter, after the prompt of generate. text: by its text's "
            "mean log-likelihood per token, after the question without options. pmi: by its text's log-likelihood "
            "with the picture minus its log-likelihood without."
        },
    )
    max_new_tokens: int = field(default=512, metadata={"help": "Longest written answer, in tokens."})
    baselines: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Other answerers: chance, text-only (the model without pictures), neighbors:DIR (nearest "
            "pictures in raw pixels; DIR is a folder of trainer.mini_mmmb with captioned pictures), or other models."
        },
    )
    per_category: int | None = field(
        default=None, metadata={"help": "Ask only the first questions of each category, this many (default: all)."}
    )
    batch_size: int = field(default=16, metadata={"help": "Questions that are answered together."})


@dataclass(kw_only=True)
class ScoreArguments(BenchmarkArguments):
    """Arguments of `trainer/benchmark.py score`."""

    predictions: list[str] = field(
        metadata={
            "help": "Files (.tsv, .csv, .xlsx, .jsonl) with the columns index and prediction: one for each language, "
            "in the order of the languages, or a single one that also has the column language."
        }
    )


def read_command_line(words: list[str]) -> tuple[str, Any]:
    """Returns the verb and its arguments. Ends the process after printing help, or for an unknown verb."""
    verb = words[0] if words else "--help"
    program = f"python -m trainer.benchmark {verb}"
    if verb in ("run", "score"):
        kind, description = (RunArguments, RUN) if verb == "run" else (ScoreArguments, SCORE)
        return verb, parse_arguments(kind, description, words[1:], prog=program)
    if verb == "compare":
        parser = ArgumentParser(description=COMPARE, formatter_class=HelpFormatter, prog=program)
        parser.add_argument("first", type=Path, help="folder of A's results")
        parser.add_argument("others", nargs="+", type=Path, help="folders of the results that are compared with A's")
        return verb, parser.parse_args(words[1:])
    if verb in ("-h", "--help"):
        print(__doc__)
        raise SystemExit
    raise SystemExit(f"{__doc__}\nThe verbs are run, score and compare, and not {verb!r}.")


if __name__ == "__main__":
    with one_line_errors():
        VERB, ARGUMENTS = read_command_line(sys.argv[1:])
        if VERB == "compare":
            from trainer.evaluation.benchmark_results import compare

            print(compare(ARGUMENTS.first, *ARGUMENTS.others))
        else:
            from trainer.evaluation.benchmark_runs import end_processes, run, score

            (run if VERB == "run" else score)(ARGUMENTS)
            end_processes()
