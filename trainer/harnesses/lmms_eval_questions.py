# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Multilingual benchmarks as tasks of lmms-eval, for any of its models: the prompts, the reading of answers and the
accuracy are those of trainer/benchmark.py. The tasks are the files of trainer/harnesses/lmms_eval_tasks/.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from datasets import Dataset
from PIL import Image

from trainer.evaluation.benchmark_files import LETTERS, Question, open_image, read_benchmark
from trainer.evaluation.benchmark_results import judge, measure
from trainer.evaluation.result_types import Answer, Measured
from trainer.multiple_choice_accuracy import Release


Doc = dict[str, Any]  # The fields of a Question, as `datasets` stores them.
RELEASE: Release = "2024-01"  # the default of trainer/benchmark.py's --matching
# Every cell is read as text: pandas would read an option 1 as 1.0 if another row has 2.5.
TEXT = dict.fromkeys(("index", "image", "question", "hint", "answer", "category", "l2-category", *LETTERS), str)


class Item(Answer):
    """The judged answer to one question, from which the metrics are computed."""

    picture: str  # for lmms-eval's clustered standard error
    question: Doc
    score: float


def questions(dataset: Dataset) -> Dataset:
    """The rows of a benchmark's TSV file, read and checked by `read_benchmark`."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "benchmark.tsv")
        dataset.to_csv(file, sep="\t", index=False)
        return Dataset.from_list([asdict(question) for question in read_benchmark(file, "und")])


def _question(doc: Doc, language: str = "und") -> Question:
    options = {
        name: {letter: text for letter, text in doc[name].items() if text is not None}  # Arrow adds None
        for name in ("options", "matched_options")
    }
    return Question(**doc | options | {"language": language})


def picture(doc: Doc) -> list[Image.Image]:
    """The question's picture."""
    return [open_image(_question(doc))]


def prompt(doc: Doc, lmms_eval_specific_kwargs: dict[str, str]) -> str:
    """The question with its options and the instruction in its language."""
    return _question(doc, lmms_eval_specific_kwargs["language"]).prompt


def judged(doc: Doc, results: Sequence[str]) -> dict[str, Item]:
    """Judges an answer by both matchings."""
    question = _question(doc)
    answer: Answer = {"index": question.index, "language": question.language, "prediction": results[0]}
    (row,) = judge([answer], {question.key: question}, RELEASE)
    item: Item = {
        **answer,
        "picture": hashlib.sha256(question.image.encode()).hexdigest(),
        "question": asdict(replace(question, image="")),
        "score": float(row["hit"]),
    }
    return {"accuracy": item, "accuracy_multilingual": {**item, "score": float(row["hit_multilingual"])}}


def _accuracy(items: Sequence[Item], is_multilingual: bool) -> float:
    by_key = {question.key: question for question in (_question(item["question"]) for item in items)}
    measured = cast(Measured, measure(judge(items, by_key, RELEASE), list(by_key.values())))
    if is_multilingual:
        return measured.get("circular_multilingual", measured["plain_multilingual"])["accuracy"]
    return measured["accuracy"]


accuracy: Callable[[Sequence[Item]], float] = partial(_accuracy, is_multilingual=False)
accuracy_multilingual: Callable[[Sequence[Item]], float] = partial(_accuracy, is_multilingual=True)
