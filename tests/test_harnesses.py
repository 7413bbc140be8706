# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The modules for harnesses that need no harness: `trainer/harnesses/chat.py`, and the tasks for lmms-eval."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.conftest import encode
from tests.tiny import tiny_model, tiny_processor
from trainer.evaluation.answerers import ParrotAnswerer
from trainer.evaluation.benchmark_files import HUB, INSTRUCTIONS, MINI_MMMB, PUBLISHED, Question
from trainer.harnesses.chat import ParrotChat
from trainer.languages import MMMB


TASKS = Path(__file__).parents[1] / "trainer" / "harnesses" / "lmms_eval_tasks"
COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parrot with a generation config that penalises repetition."""
    folder = tmp_path_factory.mktemp("parrot")
    model = tiny_model()
    model.generation_config.repetition_penalty = 1.8
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    texts = ("?", "What is shown in the picture?", "Ne?")
    return [
        Question(str(number), "en", encode(color), text, {"A": "x", "B": color}, "A")
        for number, (color, text) in enumerate(zip(COLORS, texts, strict=True))
    ]


def chat_about(question: Question, color: str) -> list[dict[str, Any]]:
    """The chat that a harness makes of a question about a picture of one colour."""
    content = [
        {"type": "image", "image": Image.new("RGB", (20, 30), color)},
        {"type": "text", "text": question.prompt},
    ]
    return [{"role": "user", "content": content}]


def test_chats_are_answered_as_the_benchmark_answers_whatever_the_checkpoint_would_sample(
    folder: Path, questions: list[Question]
) -> None:
    chat = ParrotChat(str(folder))
    answerer = ParrotAnswerer(chat.model, chat.processor, "generate", max_new_tokens=12)
    expected = [row["prediction"] for row in answerer.answer(questions, answerer.encode(questions))]
    chats = [chat_about(question, color) for question, color in zip(questions, COLORS, strict=True)]
    assert chat.answer(chats, max_new_tokens=12) == expected
    assert [chat.answer([alone], max_new_tokens=12)[0] for alone in chats] == expected  # as in a batch
    assert chat.answer(chats, max_new_tokens=12, repetition_penalty=1.8) != expected


def test_a_batch_may_hold_texts_alone_and_several_pictures(folder: Path, questions: list[Question]) -> None:
    chat = ParrotChat(str(folder))
    one = chat_about(questions[0], "red")
    two = [{"role": "user", "content": [*one[0]["content"][:1], *one[0]["content"]]}]
    text = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    alone = [chat.answer([each], max_new_tokens=6)[0] for each in (text, two, one)]
    assert chat.answer([text, two, one], max_new_tokens=6) == alone


def test_a_missing_model_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        ParrotChat(str(tmp_path / "elsewhere"))


class Loader(yaml.SafeLoader):
    """Reads YAML of lmms-eval, which may name functions."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_each_of_the_benchmarks_languages_is_a_task_of_lmms_eval_on_the_benchmarks_own_file() -> None:
    patterns = {"mini_mmmb": MINI_MMMB} | {
        name: f"hf://datasets/{HUB}/{PUBLISHED[published]}"
        for name, published in (("mmmb", "mmmb"), ("mmbench_multilingual", "mmbench"))
    }
    for name, pattern in patterns.items():
        group = yaml.load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"), Loader)
        assert group["task"] == [f"{name}_{language}" for language in MMMB]
        for language in MMMB:
            task = yaml.load((TASKS / f"{name}_{language}.yaml").read_text(encoding="utf-8"), Loader)
            published = "cn" if language == "zh" and name != "mini_mmmb" else language
            assert task["dataset_kwargs"]["data_files"] == {"test": pattern.format(language=published)}
            assert task["lmms_eval_specific_kwargs"]["default"]["language"] in INSTRUCTIONS
            assert (task["task"], task["include"]) == (f"{name}_{language}", "_template")
