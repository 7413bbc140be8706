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
"""Making a benchmark of one's own rows, and what is found in it."""

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from tests.conftest import write_data
from trainer.benchmark_files import read_benchmark
from trainer.build_benchmark import BuildArguments, Entry, build, main, read_entries


COLORS = ("red", "green", "blue", "white")


def picture(file: Path, number: int) -> Path:
    """A picture of its own for each number."""
    rng = random.Random(number)
    image = PILImage.new("RGB", (24, 24))
    image.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(24 * 24)])
    image.save(file)
    return file


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """40 questions in two languages without anything to find."""
    images = [picture(tmp_path / f"{number}.png", number).read_bytes() for number in range(40)]
    return [
        Entry(
            index=str(number),
            language=language,
            image=image,
            question=f"{language}?",
            options=tuple(f"{number} {language} {word}" for word in COLORS),
            answer="ABCD"[number % 4],
            category=("one", "two")[number // 20],
        )
        for language in ("en", "sw")
        for number, image in enumerate(images)
    ]


def report(entries: list[Entry], tmp_path: Path, train: Any = None) -> str:
    build(entries, tmp_path / "out", "mine", train)
    return (tmp_path / "out" / "mine_report.md").read_text()


def test_what_is_built_reads_as_it_was_given(entries: list[Entry], tmp_path: Path) -> None:
    entries[3] = replace(entries[3], options=("a", 'b\t\n"c"', *"cdefghij"), answer="J", hint="look")
    files = build(entries, tmp_path / "out", "mine")
    assert [file.name for file in files] == ["mine_en.tsv", "mine_sw.tsv"]
    found = [
        question
        for file, language in zip(files, ("en", "sw"), strict=True)
        for question in read_benchmark(file, language)
    ]
    for entry, question in zip(entries, found, strict=True):
        assert (entry.index, entry.language, entry.question, entry.answer, entry.category, entry.hint) == (
            question.index,
            question.language,
            question.text,
            question.answer,
            question.category,
            question.hint,
        )
        assert list(entry.options) == list(question.options.values())


def test_a_sound_benchmark_has_no_findings(entries: list[Entry], tmp_path: Path) -> None:
    text = report(entries, tmp_path, train=[])
    assert text.count(": yes") == 5
    assert "| en | 25.0 | 25.0 |" in text


def test_questions_that_are_not_parallel_are_found(entries: list[Entry], tmp_path: Path) -> None:
    changed = [replace(entries[0], answer="B"), replace(entries[1], image=entries[2].image), *entries[2:-1]]
    changed[2] = replace(changed[2], options=changed[2].options[:3])
    text = report(changed, tmp_path)
    for finding in (
        "1 indices are missing in sw: 39",
        "1 indices are with different answers: 0",
        "1 indices are with different images: 1",
        "1 indices are with different numbers of options: 2",
    ):
        assert finding in text


def test_uneven_letters_are_found(entries: list[Entry], tmp_path: Path) -> None:
    text = report(
        [replace(entry, answer="A" if entry.category == "one" else entry.answer) for entry in entries], tmp_path
    )
    assert "one in 'en': answers are A 20, B 0, C 0, D 0; 5 each would be even." in text
    assert "one in 'en': by letter alone 100.0% are right, chance is 25.0%." in text


@pytest.mark.parametrize(("way", "words"), [("text", "red {}"), ("longest", "{} the very long one")])
def test_what_is_guessed_without_the_picture_is_found(
    way: str, words: str, entries: list[Entry], tmp_path: Path
) -> None:
    changed = []
    for entry in entries:
        options = list(entry.options)
        options["ABCD".index(entry.answer)] = "red" if way == "text" else words.format(entry.index)
        changed.append(replace(entry, options=tuple(options)))
    text = report(changed, tmp_path)
    assert f"en: by {way} alone 100.0% are right, chance is 25.0%." in text
    assert "by letter alone" not in text


def test_the_same_question_twice_is_found(entries: list[Entry], tmp_path: Path) -> None:
    text = report([*entries, replace(entries[0], index="99"), replace(entries[40], index="99")], tmp_path)
    assert "The same question is asked about the same picture in 'en': indices 0, 99." in text


def test_what_training_has_too_is_found(entries: list[Entry], tmp_path: Path) -> None:
    with PILImage.open(tmp_path / "0.png") as same, PILImage.open(tmp_path / "1.png") as near:
        near = near.convert("RGB")
        near.putpixel((0, 0), (0, 0, 0))
        other = PILImage.open(picture(tmp_path / "other.png", 999))
        messages = [{"role": "user", "content": "en?"}, {"role": "assistant", "content": "7 en white"}]
        train = [{"messages": messages, "images": [image]} for image in (same, near, other)]
        text = report(entries, tmp_path, train)
    assert "1 of 40 pictures are in the training data, pixel by pixel: 0" in text
    assert "1 of 40 pictures have nearly a training picture's difference hash (to 6 bits of 256): 1" in text
    assert "1 of 80 questions are asked and answered in the same words in training" in text
    assert "index '7' in 'en'" in text


def test_errors_name_what_is_to_be_mended(entries: list[Entry], tmp_path: Path) -> None:
    twice = replace(entries[1], options=("x", "y", "x", "z"))
    with pytest.raises(
        ValueError, match=r"2 errors.*\n.*index '0' is used 2 times in 'en'.*\n.*index '1' in 'en': the option 'x'"
    ):
        build([entries[0], entries[0], twice], tmp_path / "out", "mine")
    with pytest.raises(ValueError, match="There are no rows"):
        build([], tmp_path / "out", "mine")


ROW = {
    "language": "en",
    "image": "0.png",
    "question": "?",
    "A": "x",
    "B": "y",
    "C": "",
    "answer": "B",
    "category": "c",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "9.png"}, "row 2: the image '.*9.png' cannot be read"),
        ({"answer": "C"}, "row 2: the answer 'C' is none of the letters AB"),
        ({"B": "", "C": "z"}, r"row 2: there are options \['A', 'C'\]; give them without a gap"),
        ({"B": ""}, r"row 2: there are the options \['x'\]; give 2 to 26"),
        ({"language": ""}, "row 2: the column 'language' is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(change: dict[str, str], message: str, tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 0)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows([ROW, ROW | change])
    with pytest.raises(ValueError, match=message):
        list(read_entries(BuildArguments(rows=str(tmp_path / "rows.csv"), output="")))


def test_rows_come_from_files_and_data_sets_alike(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = []
    for number in range(2):
        for language in ("en", "sw"):
            picture(tmp_path / f"{number}.png", number)
            rows.append(
                {"language": language, "image": f"{number}.png", "question": "?", "options": ["x", "y"], "answer": "B"}
            )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "set"
    folder.mkdir()
    features = Features(
        {name: Value("string") for name in ("language", "question", "answer")}
        | {"image": Image(), "options": List(Value("string"))}
    )
    Dataset.from_list([row | {"image": str(tmp_path / row["image"])} for row in rows], features=features).to_parquet(
        folder / "test-00000-of-00001.parquet"
    )
    train = write_data(
        tmp_path / "train", [{"messages": [{"role": "user", "content": "?"}], "images": [], "language": "en"}]
    )
    written = []
    for name, source in (("file", tmp_path / "rows.jsonl"), ("set", folder)):
        main(BuildArguments(rows=str(source), output=str(tmp_path / name), train=str(train)))
        written.append((tmp_path / name / "benchmark_sw.tsv").read_text())
    assert written[0] == written[1]
    assert [question.index for question in read_benchmark(tmp_path / "file" / "benchmark_en.tsv", "en")] == ["0", "1"]
    assert "## Nothing of it in training: yes" in capsys.readouterr().out
