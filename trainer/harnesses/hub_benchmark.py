# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Writes mini-MMMB's questions in the form in which the Hub runs benchmarks, into the folder of the data set:

    python -m trainer.harnesses.hub_benchmark --data data/mini-mmmb

The Hub shows a data set with an `eval.yaml` as a benchmark (https://huggingface.co/docs/hub/eval-results), and
`inspect eval hf/org/mini-mmmb/zh` runs it. inspect reads a question's whole prompt from one column and its picture, as
a data URI, from another: `benchmark/<language>.parquet` has these columns. The `eval.yaml` is beside the data set's
card, in model_cards/.
"""

from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments
from trainer.evaluation.benchmark_files import Question, find_benchmark, open_image, read_benchmark
from trainer.languages import MMMB


@dataclass
class HubBenchmarkArguments:
    """Arguments of `python -m trainer.harnesses.hub_benchmark`."""

    data: str = field(metadata={"help": "Folder of trainer.mini_mmmb."})


def data_uri(question: Question) -> str:
    """A question's picture as a data URI with its media type."""
    return f"data:{open_image(question).get_format_mimetype()};base64,{question.image}"


def write(arguments: HubBenchmarkArguments) -> None:
    """Writes one file per language."""
    folder = Path(arguments.data)
    for language, file in find_benchmark([str(folder / "mini_mmmb_{language}.tsv")], MMMB, "main").items():
        rows = [
            {
                "index": question.index,
                "image": data_uri(question),
                "prompt": question.prompt,
                "answer": question.answer,
                "category": question.category,
            }
            for question in read_benchmark(file, language)
        ]
        output = folder / "benchmark" / f"{language}.parquet"
        output.parent.mkdir(exist_ok=True)
        Dataset.from_list(rows).to_parquet(output)
        print(f"{output}: {len(rows)} questions.")


if __name__ == "__main__":
    with one_line_errors():
        write(parse_arguments(HubBenchmarkArguments, __doc__))
