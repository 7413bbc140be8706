# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
A benchmark in one language as a task of inspect-ai:

    transformers serve models/demo-parrot --trust-remote-code
    PARROT_API_KEY=none PARROT_BASE_URL=http://localhost:8000/v1 inspect eval trainer/harnesses/inspect_task.py \
        --model openai-api/parrot/models/demo-parrot \
        -T "benchmark=$PWD/data/demo/mini_mmmb_{language}.tsv" -T language=zh

The prompts and the reading of answers are those of trainer/benchmark.py. Any model of inspect-ai can be asked. The
path of the benchmark must be absolute, because inspect-ai runs a task in the folder of its file.
"""

import hashlib
from collections.abc import Callable, Mapping

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, accuracy, grouped, metric, scorer, stderr
from inspect_ai.solver import TaskState, generate

from trainer.evaluation.benchmark_files import Question, find_benchmark, read_benchmark
from trainer.evaluation.benchmark_results import is_circular
from trainer.harnesses import MAX_NEW_TOKENS
from trainer.harnesses.hub_benchmark import data_uri
from trainer.multiple_choice_accuracy import circular_hits, read_letter, read_letter_multilingual


Reading = Callable[[str, Mapping[str, str]], str | None]


@metric
def circular_accuracy() -> Metric:
    """The share of questions with all rotations answered right, for a benchmark with rotations."""

    def compute(scores: list[SampleScore]) -> float:
        hits = [bool(score.score.as_int()) for score in scores]
        circular = circular_hits([int(score.sample_id) for score in scores], hits)
        return sum(circular.values()) / len(circular)

    return compute


METRICS = [accuracy(), stderr(cluster="picture"), grouped(accuracy(), "category")]


def _scorer(read: Reading, name: str) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        letter = read(state.output.completion, state.metadata[name])
        return Score(value=int(letter == target.text), answer=letter)

    return score


@scorer(metrics=METRICS)
def exact_matching() -> Scorer:
    """VLMEvalKit's exact matching."""
    return _scorer(read_letter, "matched_options")


@scorer(metrics=METRICS)
def multilingual_matching() -> Scorer:
    """The matching that reads six languages."""
    return _scorer(read_letter_multilingual, "options")


def _sample(question: Question) -> Sample:
    return Sample(
        id=question.index,
        target=question.answer,
        input=[ChatMessageUser(content=[ContentImage(image=data_uri(question)), ContentText(text=question.prompt)])],
        metadata={
            "options": question.options,
            "matched_options": question.matched_options,
            "category": question.category,
            "picture": hashlib.sha256(question.image.encode()).hexdigest(),
        },
    )


@task
def multiple_choice(
    benchmark: str, language: str = "en", revision: str = "main", max_tokens: int = MAX_NEW_TOKENS
) -> Task:
    """
    A benchmark's questions in one language.

    Args:
        benchmark: `mmmb`, `mmbench`, or the absolute path of a file, as --benchmark of trainer/benchmark.py.
        language: language of the questions.
        revision: revision of the data set on the Hub, for mmmb and mmbench.
        max_tokens: longest answer, in tokens.
    """
    file = find_benchmark([benchmark], [language], revision)[language]
    questions = read_benchmark(file, language)
    return Task(
        MemoryDataset([_sample(question) for question in questions], name=file.stem),
        solver=generate(),
        scorer=[exact_matching(), multilingual_matching()],
        metrics=[circular_accuracy()] if is_circular(questions) else None,
        # Decoding is greedy. frequency_penalty=0 makes transformers serve ignore a checkpoint's repetition penalty.
        config=GenerateConfig(max_tokens=max_tokens, temperature=0, frequency_penalty=0),
    )
