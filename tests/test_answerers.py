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
"""How a Parrot and the baselines answer."""

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import encode
from trainer.answerers import Answerer, ParrotAnswerer, Way, ask, open_image
from trainer.benchmark_files import Question, read_benchmark


@pytest.fixture
def questions(benchmark: str) -> list[Question]:
    return [
        question
        for language in ("en", "tr")
        for question in read_benchmark(Path(benchmark.format(language=language)), language)
    ]


@pytest.fixture(scope="module")
def model(world: Path) -> ParrotForConditionalGeneration:
    model = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.model.moe.experts.down_proj, std=0.5)
    torch.nn.init.normal_(model.model.moe.router.weight, std=2.0)
    return model


@pytest.fixture(scope="module")
def processor(world: Path) -> ParrotProcessor:
    return ParrotProcessor.from_pretrained(world / "model")


def alone(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor, question: Question, prompt: str, sees: bool
) -> tuple[str, dict[str, torch.Tensor]]:
    """A question by itself, without cache, batch or padding: its chat and inputs."""
    content = [{"type": "image"}] * sees + [{"type": "text", "text": prompt}]
    chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [PILImage.open(io.BytesIO(base64.b64decode(question.image)))] if sees else None
    return chat, processor(images=images, text=chat, return_tensors="pt")


def log_likelihoods(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    question: Question,
    prompt: str,
    sees: bool,
    option: str,
) -> torch.Tensor:
    chat, inputs = alone(model, processor, question, prompt, sees)
    start = inputs["input_ids"].shape[1]
    images = [open_image(question)] if sees else None
    inputs = processor(images=images, text=chat + option, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits.log_softmax(-1)
    return logits[0, start - 1 : -1].gather(1, inputs["input_ids"][0, start:, None]).squeeze(1)


@pytest.mark.parametrize(
    ("way", "is_blind"), [("letter", False), ("letter", True), ("text", False), ("text", True), ("pmi", False)]
)
def test_options_score_as_each_does_asked_alone(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    questions: list[Question],
    way: Way,
    is_blind: bool,
) -> None:
    answerer = ParrotAnswerer(model, processor, way, is_blind=is_blind)
    answers = answerer.answer(questions, answerer.encode(questions))
    end = processor.tokenizer.eos_token
    differences = []
    for question, answer in zip(questions, answers, strict=True):
        expected = []
        for letter, text in question.options.items():
            if way == "letter":
                tokens = log_likelihoods(model, processor, question, question.prompt, not is_blind, letter)
            else:
                tokens = log_likelihoods(model, processor, question, question.open_prompt, not is_blind, text + end)
            score = tokens.sum() if way == "pmi" else tokens.mean()
            if way == "pmi":
                score -= log_likelihoods(model, processor, question, question.open_prompt, False, text + end).sum()
            expected.append(score.item())
        assert answer["letter"] == list(question.options)[expected.index(max(expected))]
        differences += [abs(one - other) for one, other in zip(answer["scores"], expected, strict=True)]
    assert len(differences) == 3 * 3 + 3 * 4
    assert max(differences) < 1e-4


def test_written_answers_are_those_of_generate_asked_alone(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor, questions: list[Question]
) -> None:
    answerer = ParrotAnswerer(model, processor, "generate", max_new_tokens=6)
    answers = answerer.answer(questions, answerer.encode(questions))
    texts = set()
    for question, answer in zip(questions, answers, strict=True):
        _, inputs = alone(model, processor, question, question.prompt, True)
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=6)
        text = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert answer == {"prompt": question.prompt, "prediction": text, "router": answer["router"]}
        router = model(**inputs, output_router_logits=True).router_logits[0].softmax(-1)
        torch.testing.assert_close(torch.tensor(answer["router"]), router, atol=1e-5, rtol=0)
        texts.add(text)
    assert len(texts) > 1


def test_a_picture_is_encoded_once_for_all_its_questions_and_batches_do_not_depend_on_the_processes(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.answerers.IMAGES_AT_ONCE", 2)
    answerer = ParrotAnswerer(model, processor, "text")
    encoded = []
    monkeypatch.setattr(
        answerer,
        "encode",
        lambda asked: encoded.extend(one.image for one in asked) or ParrotAnswerer.encode(answerer, asked),
    )
    whole = [row for rows in ask(answerer, questions, set(), 4, (0, 1)) for row in rows]
    assert len(encoded) == len(set(encoded)) == 3
    shared = [row for rank in (0, 1) for rows in ask(answerer, questions, set(), 4, (rank, 2)) for row in rows]
    assert shared == whole
    done = {(row["language"], row["index"]) for row in whole[:1]}
    assert [row for rows in ask(answerer, questions, done, 4, (0, 1)) for row in rows] == whole
    done = {(row["language"], row["index"]) for row in whole[:4]}
    assert [row for rows in ask(answerer, questions, done, 4, (0, 1)) for row in rows] == whole[4:]


def test_chance_answers_with_every_option_alike() -> None:
    questions = [
        Question(str(index), "en", "", "?", dict.fromkeys("ABC", "x"), "A", category="c") for index in range(3000)
    ]
    letters = [answer["letter"] for answer in Answerer().answer(questions, [None] * 3000)]
    for letter in "ABC":
        assert 900 < letters.count(letter) < 1100
    assert letters == [answer["letter"] for answer in Answerer().answer(questions, [None] * 3000)]


def test_a_picture_that_cannot_be_read_is_named(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    question = Question("7", "tr", "QQ==", "?", {"A": "x", "B": "y"}, "A", place="b.tsv, line 8")
    with pytest.raises(ValueError, match=r"b.tsv, line 8: the image cannot be read"):
        ParrotAnswerer(model, processor, "text").encode([question])


def test_an_image_mark_in_a_question_is_named(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    question = Question("7", "tr", encode("red"), "<image>?", {"A": "x", "B": "y"}, "A", place="b.tsv, line 8")
    answerer = ParrotAnswerer(model, processor, "text")
    with pytest.raises(ValueError, match=r"b.tsv, line 8: the text holds '<image>'"):
        answerer.answer([question], answerer.encode([question]))


def test_a_transparent_picture_is_seen_as_the_processor_shows_it(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    answerer = ParrotAnswerer(model, processor, "text")
    questions = [
        Question("1", "en", image, "?", {"A": "x", "B": "y"}, "A")
        for image in (encode("#00000000", "RGBA"), encode("white"))
    ]
    assert torch.equal(*answerer.encode(questions))
