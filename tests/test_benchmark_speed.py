# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of the benchmark's answers."""

from pathlib import Path

import pytest

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import encode
from trainer.evaluation.benchmark_files import Question
from trainer.timing.benchmark_speed import compare_ways


@pytest.mark.slow
def test_batches_with_shared_pictures_answer_much_faster_and_alike(world: Path) -> None:
    """
    A tiny model needs little arithmetic, and a batch shares all other costs of its questions: we measured 11 and 18
    times the reference's speed on one thread. Other programs on the same cores slow the reference more than ours.
    """
    model = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    processor = ParrotProcessor.from_pretrained(world / "model")
    options = {"A": "x", "B": "y"}
    questions = [
        Question(str(index), language, encode(color), f"? {index}", options, "A", matched_options=options)
        for language in ("en", "tr")
        for index, color in enumerate(("red", "green", "blue", "white") * 4)
    ]
    # Speeds are medians of five rounds, because another program can slow a single round of ours.
    speeds, same = compare_ways(model, processor, questions, rounds=5, max_new_tokens=8)
    assert same == 1
    assert speeds["generate"] > 4 * speeds["reference"]
    assert speeds["score"] > 10 * speeds["reference"]
