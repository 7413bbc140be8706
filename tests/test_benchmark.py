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
"""Measuring, as `python trainer/benchmark.py run` does it."""

import base64
import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer.benchmark import (
    OptionScorer,
    Question,
    RunArguments,
    accuracy,
    choose,
    draw,
    read_benchmark,
    report,
    run,
    summarize,
)


COLUMNS = ["index", "image", "question", "A", "B", "C", "D", "answer", "category", "l2-category"]


def picture(color: str) -> str:
    file = io.BytesIO()
    PILImage.new("RGB", (20, 30), color).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write(file: Path, rows: list[list[str]], columns: list[str] = COLUMNS) -> Path:
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, delimiter="\t").writerows([columns, *rows])
    return file


@pytest.fixture
def arguments(world: Path, tmp_path: Path) -> RunArguments:
    questions = [
        ("red", "objects", "recognition"),
        ("blue", "objects", "recognition"),
        ("green", "color", "attribute"),
    ]
    for language, words in (("en", ("red", "a blue thing", "g", "")), ("tr", ("kırmızı", "mavi", "yeşil", "ak"))):
        rows = [
            [str(index), picture(color), f"? {language}", *words, "ABC"[index], category, l2_category]
            for index, (color, category, l2_category) in enumerate(questions)
        ]
        write(tmp_path / f"bench_{language}.tsv", rows)
    return RunArguments(
        model=str(world / "model"),
        benchmark=str(tmp_path / "bench_{language}.tsv"),
        output=str(tmp_path / "out"),
        languages=["en", "tr"],
        batch_size=4,
    )


@pytest.fixture
def scorer(world: Path) -> OptionScorer:
    model = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.model.moe.experts.down_proj, std=0.5)
    return OptionScorer(model, ParrotProcessor.from_pretrained(world / "model"))


def test_scores_are_the_log_likelihoods_of_each_option_asked_alone(
    scorer: OptionScorer, arguments: RunArguments
) -> None:
    """The reference here is one plain forward pass a question and option, without cache, batch or padding."""
    questions = [
        question
        for language in arguments.languages
        for question in read_benchmark(Path(arguments.benchmark.format(language=language)), language)
    ]
    batched = scorer.score(questions, [scorer.encode(question) for question in questions])
    blind = scorer.score(questions, None)
    processor = scorer.processor
    differences = []
    for question, scores, without in zip(questions, batched, blind, strict=True):
        shown = PILImage.open(io.BytesIO(base64.b64decode(question.image)))
        for images, found in (([shown], scores), (None, without)):
            content = [{"type": "image"}] * bool(images) + [{"type": "text", "text": question.text}]
            prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            start = processor(images=images, text=prompt, return_tensors="pt")["input_ids"].shape[1]
            for option, tokens in zip(question.options, found, strict=True):
                text = prompt + option + processor.tokenizer.eos_token
                inputs = processor(images=images, text=text, return_tensors="pt")
                with torch.no_grad():
                    logits = scorer.model(**inputs).logits.log_softmax(-1)
                answer = inputs["input_ids"][0, start:]
                alone = logits[0, start - 1 : -1].gather(1, answer[:, None]).squeeze(1)
                differences.append((torch.tensor(tokens) - alone).abs().max().item())
    assert len(differences) == 2 * (3 * 3 + 3 * 4)
    assert max(differences) < 1e-4


def test_a_run_answers_every_question_once_and_writes_its_files(arguments: RunArguments) -> None:
    results = run(arguments)
    output = Path(arguments.output)
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert sorted((row["language"], row["index"]) for row in rows) == [
        (language, index) for language in ("en", "tr") for index in "012"
    ]
    assert results["chance"]["en"]["all"]["accuracy"] == pytest.approx(1 / 3)
    assert results["chance"]["tr"]["color"]["accuracy"] == pytest.approx(1 / 4)
    hits = [row["letters"]["text"] == row["answer"] for row in rows if row["language"] == "tr"]
    assert results["model"]["tr"]["all"]["accuracy"] == pytest.approx(sum(hits) / 3)
    assert results["model"]["tr"]["recognition"]["count"] == 2
    assert json.loads((output / "results.json").read_text())["results"] == results
    assert "| color |" in (output / "results.md").read_text()
    with PILImage.open(output / "accuracy.png") as drawn:
        assert min(drawn.size) > 100


def test_a_run_that_was_cut_short_goes_on_and_ends_the_same(
    arguments: RunArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(arguments)
    cut = replace(arguments, output=arguments.output + "-cut")
    Path(cut.output).mkdir()
    shutil.copy(Path(arguments.output) / "settings.json", cut.output)
    lines = (Path(arguments.output) / "predictions.jsonl").read_text().splitlines(keepends=True)
    (Path(cut.output) / "predictions.jsonl").write_text("".join(lines[:2]) + lines[2][:10])
    asked = []
    score = OptionScorer.score
    monkeypatch.setattr(OptionScorer, "score", lambda *args: asked.append(len(args[1])) or score(*args))
    assert run(cut) == whole
    assert sum(asked) == 2 * 4  # with and without the picture
    assert run(replace(cut, score_by="pmi"))["text"]["en"]["all"] == whole["model"]["en"]["all"]
    assert sum(asked) == 2 * 4  # the answers say both
    first = next(Path(arguments.model).glob("*.safetensors"))
    os.utime(first, ns=(0, 0))
    with pytest.raises(ValueError, match="given with another weights"):
        run(cut)


def test_the_option_is_chosen_by_mean_or_by_what_the_picture_adds() -> None:
    seen, blind = [[-1.0, -1.0], [-0.5, -0.5, -1.5]], [[-3.0, -3.0], [-0.5, -0.5, -0.5]]
    assert choose(seen, blind) == {"text": "B", "pmi": "A", "blind": "B"}


def test_intervals_hold_the_accuracy_and_shrink_with_the_count() -> None:
    few, many = accuracy([True, False] * 10), accuracy([True, False] * 1000)
    for found in (few, many):
        assert found["low"] < found["accuracy"] == 0.5 < found["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * (0.25 / 2000) ** 0.5, rel=0.1)
    assert few["high"] - few["low"] > 5 * (many["high"] - many["low"])


def test_baselines_count_where_they_answer(tmp_path: Path) -> None:
    questions = [
        Question("1", "en", "", "?", ("x", "y"), "A", "objects", "recognition"),
        Question("2", "en", "", "?", ("x", "y"), "B", "counting", "scene"),
    ]
    predictions = [
        {"index": question.index, "language": "en", "letters": {"text": "A", "pmi": "A", "blind": "B"}}
        for question in questions
    ]
    questions = {question.key: question for question in questions}
    results = summarize(predictions, questions, "text", {"pixels": {"1": "A"}})
    assert {answerer: found["en"]["objects"]["accuracy"] for answerer, found in results.items()} == {
        "model": 1,
        "pmi": 1,
        "blind": 0,
        "chance": 0.5,
        "pixels": 1,
    }
    assert not {"counting", "all"} & results["pixels"]["en"].keys()  # not what it answers in part
    table = report(results, ["recognition", "scene"], ["objects", "counting"])
    assert table.count("| pixels | 100.0 |") == table.count("| pixels |") == 1
    draw(results, ["objects", "counting"], tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["7", "", "?", "x", "y", "", "", "A", "c", "l"], r"line 3: the column 'image' is empty"),
        (["7", "QQ==", "?", "x", "y", "", "", "AB", "c", "l"], r"line 3: the answer 'AB' is no letter"),
        (["7", "QQ==", "?", "x", "y", "", "z", "A", "c", "l"], r"line 3: there are options \['A', 'B', 'D'\]"),
        (["6", "QQ==", "?", "x", "y", "", "", "A", "c", "l"], r"line 3: the index '6' stands in line 2, too"),
        (["7", "QQ==", "?", "x", "y", "", "", "C", "c", "l"], r"line 3: the answer 'C' is no letter of its options"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: list[str], message: str, tmp_path: Path) -> None:
    good = ["6", "QQ==", "?", "x", "y", "", "", "A", "c", "l"]
    with pytest.raises(ValueError, match=message):
        read_benchmark(write(tmp_path / "bad.tsv", [good, row]), "en")


def test_a_picture_that_cannot_be_read_is_named(scorer: OptionScorer) -> None:
    with pytest.raises(ValueError, match="The image of index '7' in 'tr' cannot be read"):
        scorer.encode(Question("7", "tr", "QQ==", "?", ("x", "y"), "A", "all", ""))


def test_a_transparent_picture_is_seen_as_the_processor_shows_it(scorer: OptionScorer) -> None:
    tokens = []
    for image in (PILImage.new("RGBA", (20, 30), (0, 0, 0, 0)), PILImage.new("RGB", (20, 30), "white")):
        file = io.BytesIO()
        image.save(file, "PNG")
        encoded = base64.b64encode(file.getvalue()).decode()
        tokens.append(scorer.encode(Question("1", "en", encoded, "?", ("x", "y"), "A", "all", "")))
    assert torch.equal(*tokens)
