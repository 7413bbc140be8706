# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Compares the speed of trainer/benchmark.py with a loop like the reference's. That loop asks one question at a time,
encodes its picture each time and decodes greedily. This is a part of `python -m trainer.speed`.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin

from trainer.evaluation.answerers import ParrotAnswerer, ask_all
from trainer.evaluation.benchmark_files import Question, open_image
from trainer.multiple_choice_accuracy import read_letter


def answer_alone(answerer: ParrotAnswerer, questions: list[Question]) -> dict[tuple[str, str], str]:
    """Answers questions in a loop like the reference's. Returns written answers by question."""
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


def compare_ways(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    questions: list[Question],
    rounds: int = 3,
    batch_size: int = 32,
    max_new_tokens: int = 16,
) -> tuple[dict[str, float], float]:
    """
    Asks the same questions in three ways, which take turns in one process.

    Args:
        model: a Parrot in eval mode.
        rounds: how often each way is timed, after a warm-up.
        batch_size: how many questions our loop answers together.
        max_new_tokens: longest written answer of both loops, in tokens.

    Returns:
        the median questions a second of `reference`, `generate` and `score`, and the share of written answers that
        give the same letter in both loops.
    """
    writer = ParrotAnswerer(model, processor, "generate", max_new_tokens)
    scorer = ParrotAnswerer(model, processor, "letter")

    def together(answerer: ParrotAnswerer, batch: list[Question]) -> dict[tuple[str, str], str]:
        rows = [row for rows in ask_all(answerer, batch, set(), batch_size, (0, 1)) for row in rows]
        return {(row["language"], row["index"]): row["prediction"] for row in rows}

    ways: dict[str, Callable[[list[Question]], dict[tuple[str, str], str]]] = {
        "reference": lambda batch: answer_alone(writer, batch),
        "generate": lambda batch: together(writer, batch),
        "score": lambda batch: together(scorer, batch),
    }
    answer_alone(writer, questions[:2])
    for way in ("generate", "score"):  # the first batch of a size makes a GPU load kernels and allocate memory
        ways[way](questions[:batch_size])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    answers = {}
    for _ in range(rounds):
        for way, answer in ways.items():
            start = time.perf_counter()
            answers[way] = answer(questions)
            seconds[way].append(time.perf_counter() - start)
    letters = [
        [read_letter(answers[way][question.key], question.matched_options) for question in questions]
        for way in ("reference", "generate")
    ]
    same = float(np.mean([one == other for one, other in zip(*letters, strict=True)]))
    return {way: len(questions) / float(np.median(durations)) for way, durations in seconds.items()}, same
