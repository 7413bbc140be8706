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
How fast trainer/benchmark.py answers, beside a loop as the reference's (one question at a time, its picture encoded
each time, greedy), on the same questions, in turns in one process:

    python -m trainer.benchmark_speed --model models/demo-parrot --benchmark "data/demo/mini_mmmb_{language}.tsv"
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor, HfArgumentParser

from trainer import HelpFormatter, one_line_errors
from trainer.answerers import ParrotAnswerer, ask, open_image
from trainer.benchmark_files import Question, find_benchmark, first_of_each_category, read_benchmark
from trainer.multiple_choice_accuracy import read_letter
from trainer.sources import check_source


@dataclass
class SpeedArguments:
    """Arguments of `python -m trainer.benchmark_speed`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    benchmark: str = field(metadata={"help": "TSV file, with {language} in the place of the language."})
    languages: list[str] | None = field(default=None, metadata={"help": "Languages to ask in; the six if not given."})
    per_category: int = field(default=2, metadata={"help": "Questions of each category and language."})
    rounds: int = field(default=3, metadata={"help": "How often each takes its turn."})
    batch_size: int = field(default=32, metadata={"help": "Questions that ours answers together."})
    max_new_tokens: int = field(default=16, metadata={"help": "Longest written answer, in tokens, in both loops."})


def answer_alone(answerer: ParrotAnswerer, questions: list[Question]) -> dict[tuple[str, str], str]:
    """The loop of the reference's wrapper: written answers by question."""
    model, processor = answerer.model, answerer.processor
    answers = {}
    for question in questions:
        content = [{"type": "image"}, {"type": "text", "text": question.prompt}]
        chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=[open_image(question)], text=chat, return_tensors="pt").to(model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=answerer.max_new_tokens)
        answer = tokens[0, inputs["input_ids"].shape[1] :]
        answers[question.key] = processor.decode(answer, skip_special_tokens=True).strip()
    return answers


def measure(arguments: SpeedArguments) -> dict[str, float]:
    """
    Times all three and prints the questions a second.

    Returns:
        the medians over the rounds of how many times as fast `generate` and `score` are, and `same`, the share of
        written answers of which both loops read the same letter.
    """
    check_source(arguments.model, "--model")
    files = find_benchmark([arguments.benchmark], arguments.languages, "main")
    questions = [
        question
        for language, file in files.items()
        for question in first_of_each_category(read_benchmark(file, language), arguments.per_category)
    ]
    model = AutoModel.from_pretrained(arguments.model, trust_remote_code=True, device_map="auto").eval()
    processor = AutoProcessor.from_pretrained(arguments.model, trust_remote_code=True)
    writer = ParrotAnswerer(model, processor, "generate", arguments.max_new_tokens)
    scorer = ParrotAnswerer(model, processor, "letter")

    def together(answerer: ParrotAnswerer) -> dict[tuple[str, str], str]:
        rows = [row for rows in ask(answerer, questions, set(), arguments.batch_size, (0, 1)) for row in rows]
        return {(row["language"], row["index"]): row["prediction"] for row in rows}

    ways: dict[str, Callable[[], dict[tuple[str, str], str]]] = {
        "reference": lambda: answer_alone(writer, questions),
        "generate": lambda: together(writer),
        "score": lambda: together(scorer),
    }
    answer_alone(writer, questions[:2])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    answers = {}
    for _ in range(arguments.rounds):
        for way, asked in ways.items():
            start = time.perf_counter()
            answers[way] = asked()
            seconds[way].append(time.perf_counter() - start)
    print(f"{len(questions)} questions, {torch.get_num_threads()} threads, {model.device}, {model.dtype}")
    print("| way | questions a second | times the reference |\n|---|---|---|")
    ratios = {}
    for way, taken in seconds.items():
        ratios[way] = float(np.median(np.array(seconds["reference"]) / taken))
        print(f"| {way} | {len(questions) / np.median(taken):.1f} | {ratios[way]:.1f} |")
    letters = {
        way: [read_letter(answers[way][question.key], question.matched_options) for question in questions]
        for way in ("reference", "generate")
    }
    ratios["same"] = float(np.mean([one == other for one, other in zip(*letters.values(), strict=True)]))
    print(f"Letters that reference and generate have in common: {100 * ratios['same']:.1f}%.")
    return ratios


if __name__ == "__main__":
    with one_line_errors():
        measure(
            HfArgumentParser(
                SpeedArguments, description=__doc__, formatter_class=HelpFormatter
            ).parse_args_into_dataclasses()[0]
        )
