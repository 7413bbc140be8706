# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Building a benchmark from your own rows, and the faults that are found."""

import base64
import csv
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from tests.conftest import write_data
from trainer.build_benchmark import BuildArguments
from trainer.evaluation.benchmark_builder import build_benchmark
from trainer.evaluation.benchmark_files import (
    LETTERS,
    Question,
    open_image,
    read_benchmark,
    training_file,
    with_in_training,
)
from trainer.evaluation.own_questions import main, read_own_questions


COLORS = ("red", "green", "blue", "white")


def picture(file: Path, number: int) -> Path:
    """Writes a picture that is different for each number."""
    rng = random.Random(number)
    image = PILImage.new("RGB", (24, 24))
    image.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(24 * 24)])
    image.save(file)
    return file


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def lettered(*options: str) -> dict[str, str]:
    return dict(zip(LETTERS, options, strict=False))


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    """40 questions in two languages, without faults."""
    images = [in_base64(picture(tmp_path / f"{number}.png", number).read_bytes()) for number in range(40)]
    return [
        Question(
            index=str(number),
            language=language,
            image=image,
            text=f"{language}?",
            options=lettered(*(f"{number} {language} {word}" for word in COLORS)),
            answer="ABCD"[number % 4],
            category=("one", "two")[number // 20],
        )
        for language in ("en", "sw")
        for number, image in enumerate(images)
    ]


def report(questions: list[Question], tmp_path: Path, train: Any = None) -> str:
    """Builds a benchmark and returns its report."""
    build_benchmark(questions, tmp_path / "out", "mine", train)
    return (tmp_path / "out" / "mine_report.md").read_text()


def test_a_built_benchmark_is_read_as_its_rows(questions: list[Question], tmp_path: Path) -> None:
    questions[3] = replace(questions[3], options=lettered("a", 'b\t\n"c"', *"cdefghij"), answer="J", hint="look")
    files = build_benchmark(questions, tmp_path / "out", "mine")
    assert [file.name for file in files] == ["mine_en.tsv", "mine_sw.tsv"]
    read_back = [
        question
        for file, language in zip(files, ("en", "sw"), strict=True)
        for question in read_benchmark(file, language)
    ]
    assert [replace(question, matched_options={}, place="") for question in read_back] == questions


def test_a_sound_benchmark_has_no_findings(questions: list[Question], tmp_path: Path) -> None:
    text = report(questions, tmp_path, train=[])
    assert text.count(": yes") == 6
    assert "| en | 25.0 | 25.0 |" in text


def test_questions_that_are_not_parallel_are_found(questions: list[Question], tmp_path: Path) -> None:
    changed = [replace(questions[0], answer="B"), replace(questions[1], image=questions[2].image), *questions[2:-1]]
    changed[2] = replace(changed[2], options=dict(list(changed[2].options.items())[:3]))
    text = report(changed, tmp_path)
    for finding in (
        "Indices that are missing in sw (1): 39",
        "Indices that have different answers (1): 0 (en B, sw A)",
        "Indices that have different images (1): 1 (en ",
        "Indices that have different numbers of options (1): 2 (en 3, sw 4)",
    ):
        assert finding in text


def test_uneven_letters_are_found(questions: list[Question], tmp_path: Path) -> None:
    text = report(
        [replace(question, answer="A" if question.category == "one" else question.answer) for question in questions],
        tmp_path,
    )
    assert "one in 'en': the answers are A 20, B 0, C 0, D 0; 5 each would be even." in text
    assert "one in 'en': guessing by letter is right in 100.0%; chance is 25.0%." in text


@pytest.mark.parametrize(("way", "words"), [("text", "red {}"), ("longest", "{} the very long one")])
def test_answers_that_can_be_guessed_without_the_picture_are_found(
    way: str, words: str, questions: list[Question], tmp_path: Path
) -> None:
    changed = []
    for question in questions:
        right = "red" if way == "text" else words.format(question.index)
        changed.append(replace(question, options=question.options | {question.answer: right}))
    text = report(changed, tmp_path)
    assert f"en: guessing by {way} is right in 100.0%; chance is 25.0%." in text
    assert "by letter alone" not in text


def test_the_same_question_about_the_same_pixels_is_found(questions: list[Question], tmp_path: Path) -> None:
    with open_image(questions[0]) as image:
        image.save(tmp_path / "0.bmp")
    again = replace(questions[0], index="99", image=in_base64((tmp_path / "0.bmp").read_bytes()))
    text = report([*questions, again, replace(questions[40], index="99")], tmp_path)
    assert "The same question is asked about the same picture in 'en': indices 0, 99." in text


def test_a_rotation_is_not_the_same_question_twice(questions: list[Question], tmp_path: Path) -> None:
    rotations = [
        replace(question, index=f"100000{question.index}", options=lettered(*texts[1:], texts[0]), answer="A")
        for question in (questions[1], questions[41])
        if (texts := list(question.options.values()))
    ]
    assert "## No question twice: yes" in report([*questions, *rotations], tmp_path)


def test_options_that_vlmevalkit_reads_differently_are_found(questions: list[Question], tmp_path: Path) -> None:
    text = report([replace(questions[0], options=lettered("None", "b", "c", "d")), *questions[1:]], tmp_path)
    assert "VLMEvalKit reads the options of 1 rows differently from how they are written" in text


def test_pictures_and_questions_in_the_training_data_are_found(questions: list[Question], tmp_path: Path) -> None:
    with PILImage.open(tmp_path / "0.png") as same, PILImage.open(tmp_path / "1.png") as near:
        near = near.convert("RGB")
        near.putpixel((0, 0), (0, 0, 0))
        other = PILImage.open(picture(tmp_path / "other.png", 999))
        messages = [{"role": "user", "content": "en?"}, {"role": "assistant", "content": "7 en white"}]
        train = [{"messages": messages, "images": [image]} for image in (same, near, other)]
        text = report(questions, tmp_path, train)
    assert "1 of 40 pictures are in the training data, pixel by pixel: 0 (training row 1)" in text
    assert (
        "1 of 40 pictures look nearly like a training picture (at most 6 of 256 bits of their hashes differ): "
        "1 (training row 2)" in text
    )
    assert "1 of 80 questions are asked and answered in the same words in training" in text
    assert "index '7' in 'en' (training row 1)" in text


@pytest.mark.parametrize("number", [0, 1])
def test_training_is_searched_for_each_picture_of_an_index(
    number: int, questions: list[Question], tmp_path: Path
) -> None:
    # Index 0 has different pictures in en and in sw.
    changed = [replace(questions[0], image=questions[1].image), questions[40]]
    with PILImage.open(tmp_path / f"{number}.png") as image:
        assert "1 of 2 pictures are in the training data" in report(
            changed, tmp_path, [{"messages": [], "images": [image]}]
        )


OPTIONS = "\nA. cat\nB. dog\nC. cow\n"


@pytest.mark.parametrize(
    ("question", "answer", "is_known"),
    [
        ("What is it?", "dog", True),
        ("What is it?", "cow", False),
        ("What is that?", "dog", False),
        ("<image>\nWhat is it?\nAnswer in one word.", "Dog.", False),
        ("<image>\nWhat is it?\nAnswer in one word.", "dog.", True),
        (f"What is it?{OPTIONS}Answer with the letter.", "B", True),
        (f"What is it?{OPTIONS}Answer with the letter.", "B. dog", True),
        (f"What is it?{OPTIONS}Answer with the letter.", "A", False),
        ("What is it?\nA. cat\nB. horse\nC. cow", "B", False),
    ],
)
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_question_with_its_answer_is_found_in_training_in_any_form(
    in_parts: bool, question: str, answer: str, is_known: bool, questions: list[Question], tmp_path: Path
) -> None:
    in_benchmark = replace(questions[1], text="What is it?", options=lettered("cat", "dog", "cow"))
    turns: list[Any] = [question, answer]
    if in_parts:
        turns = [[{"type": "image"}, {"type": "text", "text": turn}] for turn in turns]
    text = report([in_benchmark], tmp_path, [{"messages": [{"content": turn} for turn in turns], "images": []}])
    assert ("1 of 1 questions are asked and answered in the same words" in text) == is_known


def test_errors_name_the_questions_to_mend(questions: list[Question], tmp_path: Path) -> None:
    twice = replace(questions[1], options=lettered("x", "y", "x", "z"))
    with pytest.raises(
        ValueError,
        match=r"2 errors.*\n.*index '0' in 'en': the index is used 2 times.*\n.*index '1' in 'en': there are 2",
    ):
        build_benchmark([questions[0], questions[0], twice], tmp_path / "out", "mine")
    with pytest.raises(ValueError, match="There are no rows"):
        build_benchmark([], tmp_path / "out", "mine")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": lettered("x", "nan", "z")}, "the text 'nan' would be read as another text"),
        ({"options": lettered("x", "y\rz")}, r"the text 'y\\rz' would be read as another text"),
        ({"index": "2000003"}, "an index from 1000000 on is read as a rotation"),
        # A rotation of question 1 would have the options of question 1.
        ({"index": "1000001"}, "an index from 1000000 on is read as a rotation"),
        ({"image": in_base64(b"GIF89a")}, "the image's 6 bytes would be read as an index"),
    ],
)
def test_a_text_that_would_be_read_differently_is_an_error(
    change: dict[str, Any], message: str, questions: list[Question], tmp_path: Path
) -> None:
    changed = replace(questions[0], place="mine.csv, row 1", **change)
    with pytest.raises(ValueError, match=rf"in 'en' \(mine.csv, row 1\): {message}"):
        build_benchmark([changed, *questions[1:3]], tmp_path / "out", "mine")


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
        ({"answer": "C"}, "row 2: the answer 'C' is neither one of the letters AB nor an option's text"),
        ({"B": "A", "answer": "A"}, r"row 2: the answer 'A' may mean each of \['A', 'B'\]"),
        ({"options": "x;y"}, "row 2: the options 'x;y' are one text. Give a list"),
        ({"language": "../en"}, "row 2: the language '../en' is not a code"),
        ({"B": "", "C": "z"}, r"row 2: there are options \['A', 'C'\]. Give options from A on"),
        ({"B": ""}, r"row 2: there are the options \['x'\]. Give 2 to 26"),
        ({"language": ""}, "row 2: the column 'language' is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(change: dict[str, str], message: str, tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 0)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW | change))
        writer.writeheader()
        writer.writerows([ROW, ROW | change])
    with pytest.raises(ValueError, match=message):
        list(read_own_questions(BuildArguments(rows=str(tmp_path / "rows.csv"), output="")))


def read_jsonl(folder: Path, **change: Any) -> Question:
    """Reads a row of a JSONL file, with some cells changed."""
    picture(folder / "0.png", 0)
    row = {"language": "en", "image": "0.png", "question": "?", "options": ["x", "y"], "answer": "B"} | change
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    return next(read_own_questions(BuildArguments(rows=str(folder / "test.jsonl"), output="")))


def test_an_answer_is_a_letter_or_an_options_text(tmp_path: Path) -> None:
    assert [read_jsonl(tmp_path, answer=answer).answer for answer in ("A", "y")] == ["A", "B"]


def test_numbers_are_texts_and_empty_cells_are_not_options(tmp_path: Path) -> None:
    question = read_jsonl(tmp_path, options=None, A=2, B=1, C=0, answer=0, index=0)
    assert (question.options, question.answer, question.index) == (lettered("2", "1", "0"), "C", "0")
    with pytest.raises(ValueError, match=r"row 1: there are the options \['x', '', 'y'\]"):
        read_jsonl(tmp_path, options=["x", None, "y"])


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    for image, message in ((["0.png"], "is neither a path nor an image"), ("test.jsonl", "cannot be read")):
        with pytest.raises(ValueError, match=rf"row 1: the image .* {message}"):
            read_jsonl(tmp_path, image=image)


def test_training_whose_pictures_are_paths_is_searched(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    read_jsonl(tmp_path)
    train = tmp_path / "train"
    train.mkdir()
    row = {"messages": [{"role": "user", "content": "?"}], "images": [str(tmp_path / "0.png")]}
    (train / "train.jsonl").write_text(json.dumps(row) + "\n")
    main(BuildArguments(rows=str(tmp_path / "test.jsonl"), output=str(tmp_path / "out"), train=str(train)))
    assert "1 of 1 pictures are in the training data" in capsys.readouterr().out


def test_pictures_that_training_has_are_recorded_beside_the_benchmark(
    questions: list[Question], tmp_path: Path
) -> None:
    with PILImage.open(tmp_path / "3.png") as same:
        train = [{"messages": [], "images": [same]}]
        files = build_benchmark(questions, tmp_path / "out", "mine", train, "org/data")
    for language, file in zip(("en", "sw"), files, strict=True):
        read_back = with_in_training(read_benchmark(file, language), file, language)
        assert [question.in_training for question in read_back] == ["org/data" if n == 3 else "" for n in range(40)]
    build_benchmark(questions, tmp_path / "out", "mine")  # without training data, there is no record
    assert with_in_training(read_back, files[1], "sw") == read_back
    assert not training_file(tmp_path / "out", "mine").exists()


def test_a_column_of_single_pictures_is_searched_too(questions: list[Question], tmp_path: Path) -> None:
    """Training reads a column `image` as it reads a list in `images`."""
    train = [{"messages": [], "image": None}, {"messages": [], "image": str(tmp_path / "0.png")}]
    assert "1 of 40 pictures are in the training data, pixel by pixel: 0 (training row 2)" in report(
        questions, tmp_path, train
    )


def test_a_picture_of_training_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    read_jsonl(tmp_path)
    train = tmp_path / "train"
    train.mkdir()
    (tmp_path / "page.png").write_text("<html>404 Not Found</html>")
    rows = [{"messages": [], "images": [str(tmp_path / name)]} for name in ("0.png", "page.png")]
    (train / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        ValueError, match=r"training row 2: an image .*page.png. cannot be read: it is not an image file"
    ):
        main(BuildArguments(rows=str(tmp_path / "test.jsonl"), output=str(tmp_path / "out"), train=str(train)))
    with pytest.raises(ValueError, match=r"--train='.*none': there is no such folder"):
        main(
            BuildArguments(
                rows=str(tmp_path / "test.jsonl"), output=str(tmp_path / "out"), train=str(tmp_path / "none")
            )
        )


@pytest.mark.parametrize("split", ["train", "none"])
def test_a_data_set_that_datasets_cannot_read_is_an_error_of_one_line(split: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"a": 1\n' if split == "train" else '{"a": 1}\n')
    with pytest.raises(ValueError, match=r"--rows: the data set '.*data' cannot be read: [^\n]+$"):
        list(read_own_questions(BuildArguments(rows=str(tmp_path / "data"), output="", split=split)))


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--rows='.*none': there is no such folder"):
        list(read_own_questions(BuildArguments(rows=str(tmp_path / "none"), output="")))


def test_a_command_with_an_error_fails_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trainer.build_benchmark",
        "--rows",
        "none.csv",
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: --rows: there is no file none.csv.\n"
    assert not (tmp_path / "out").exists()


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
    paths = tmp_path / "paths"  # pictures are paths relative to this folder
    paths.mkdir()
    (paths / "test.jsonl").write_text((tmp_path / "rows.jsonl").read_text().replace(".png", "-here.png"))
    for number in range(2):
        picture(paths / f"{number}-here.png", number)
    train = write_data(
        tmp_path / "train", [{"messages": [{"role": "user", "content": "?"}], "images": [], "language": "en"}]
    )
    written = []
    for source in (tmp_path / "rows.jsonl", folder, folder / "test-00000-of-00001.parquet", paths):
        main(BuildArguments(rows=str(source), output=str(tmp_path / "out"), train=str(train)))
        written.append((tmp_path / "out" / "benchmark_sw.tsv").read_text())
    assert len(set(written)) == 1
    assert [question.index for question in read_benchmark(tmp_path / "out" / "benchmark_en.tsv", "en")] == ["0", "1"]
    assert "## No picture or question in training data: yes" in capsys.readouterr().out
