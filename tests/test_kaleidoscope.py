# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Kaleidoscope's files, in the format that the card of its data set describes."""

import base64
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, List, Value

from tests.conftest import encode
from tests.hub import LoopbackHub, run_python
from tests.tiny import tiny_model, tiny_processor
from trainer.benchmark import RunArguments
from trainer.evaluation.benchmark_files import INSTRUCTIONS, find_benchmark, open_image, read_benchmark
from trainer.evaluation.benchmark_runs import run
from trainer.evaluation.kaleidoscope import FILE, HUB, PICTURES


LANGUAGES = [
    *("ar", "bn", "hr", "nl", "en", "fr", "de", "hi", "hu"),
    *("lt", "ne", "fa", "pt", "ru", "sr", "es", "te", "uk"),
]
TEXTS = [
    *("language", "country", "file_name", "source", "license", "level", "category_en", "category_original_lang"),
    *("original_question_num", "question", "image_png", "image_information", "image_type", "parallel_question_id"),
    *("image", "general_category_en"),
]
FEATURES = Features(
    dict.fromkeys(TEXTS, Value("string")) | {"options": List(Value("string")), "answer": Value("int64")}
)


def exam(language: str, **cells: Any) -> dict[str, Any]:
    """A row of Kaleidoscope's file."""
    row = dict.fromkeys(TEXTS, "") | {"language": language, "question": f"? {language}", "category_en": "Biology"}
    row |= {"options": ["x", "y", "z"], "answer": 1, "general_category_en": "STEM", "image": "data/exam/q.png"}
    return row | cells


def write(folder: Path, rows: list[dict[str, Any]], color: str | None = "red") -> Path:
    """Writes the questions, and beside them an archive with a picture of one color."""
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(folder / FILE)
    if color:
        with zipfile.ZipFile(folder / PICTURES, "w") as archive:
            archive.writestr("final_data/data/exam/q.png", base64.b64decode(encode(color)))
    return folder / FILE


def test_options_answers_and_pictures_are_read_as_they_are_and_what_has_no_picture_is_left_out(tmp_path: Path) -> None:
    rows = [
        exam("bn", question="<image> ?", answer=2),
        exam("lt"),
        exam("bn", image=None),
        exam("bn", options=["data/exam/a.png", "y"]),
        exam("bn", options=["None", "2", "3", "4", "5"], answer=0, question="second"),
    ]
    file = write(tmp_path, rows)
    with pytest.warns(
        UserWarning, match="2 questions in 'bn' have no picture, or options that are pictures: left out"
    ):
        first, second = read_benchmark(file, "bn")
    assert (first.index, first.text, first.answer, first.options) == ("0", "?", "C", {"A": "x", "B": "y", "C": "z"})
    assert (first.category, first.l2_category) == ("Biology", "STEM")
    assert first.prompt == f"?\nA. x\nB. y\nC. z\n{INSTRUCTIONS['bn']}"
    assert (second.index, second.answer, second.matched_options["A"]) == ("4", "A", "None")
    assert open_image(first).getpixel((0, 0)) == (255, 0, 0)
    (tmp_path / "data" / "exam").mkdir()
    (tmp_path / "data" / "exam" / "q.png").write_bytes(base64.b64decode(encode("blue")))  # unpacked beside the archive
    assert open_image(read_benchmark(file, "lt")[0]).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {"image": "data/exam/other.png"},
            r"row 0: there is no picture 'data/exam/other.png' in .* nor in its data.zip",
        ),
        ({"image": "../q.png"}, r"row 0: there is no picture '../q.png'"),
        ({"answer": 3}, r"row 0: the answer '3' is no letter of its options \['A', 'B', 'C'\]"),
        ({"options": ["x"], "answer": 0}, "row 0: there are fewer than two options"),
    ],
)
def test_a_row_that_cannot_be_asked_is_an_error_that_names_it(
    cells: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = write(tmp_path, [exam("en", **cells)])
    with pytest.raises(ValueError, match=message):
        read_benchmark(file, "en")


def test_a_file_of_another_kind_and_a_missing_language_are_errors(tmp_path: Path) -> None:
    file = str(write(tmp_path, [exam("en"), exam("te")]))
    assert list(find_benchmark([file], None, "main")) == ["en", "te"]
    with pytest.raises(ValueError, match="has no 'sw': give --languages of en, te"):
        find_benchmark([file], ["sw"], "main")
    with pytest.raises(ValueError, match="holds all its languages, so give it alone"):
        find_benchmark([file, file], None, "main")
    other = tmp_path / "other.parquet"
    Dataset.from_list([{"question": "?"}]).to_parquet(other)
    with pytest.raises(ValueError, match="is not a parquet file with Kaleidoscope's columns"):
        find_benchmark([str(other)], None, "main")


def test_a_parrot_is_measured_in_all_18_languages_each_with_its_own_instruction(tmp_path: Path) -> None:
    file = write(tmp_path, [exam(language) for language in LANGUAGES for _ in range(2)])
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    results = run(
        RunArguments(
            model=str(tmp_path / "model"),
            benchmark=[str(file)],
            output=str(tmp_path / "out"),
            max_new_tokens=2,
            baselines=["chance"],
        )
    )["results"]
    assert list(results) == LANGUAGES
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list(map(json.loads, lines))
    assert {row["language"]: row["prompt"].rpartition("\n")[2] for row in rows} == {
        language: INSTRUCTIONS[language] for language in LANGUAGES
    }
    assert results["te"]["all"]["count"] == 2
    assert results["te"]["all"]["pictures"] == 1


PUBLISH_AND_FIND = f"""
from huggingface_hub import HfApi
from trainer.evaluation.benchmark_files import find_benchmark, read_benchmark
HfApi().create_repo("{HUB}", repo_type="dataset")
commit = HfApi().upload_folder(folder_path="folder", repo_id="{HUB}", repo_type="dataset").oid
(file,) = find_benchmark(["kaleidoscope"], ["uk"], commit).values()
print(len(read_benchmark(file, "uk")))
"""


def test_kaleidoscope_comes_from_the_hub_with_its_pictures(tmp_path: Path) -> None:
    write(tmp_path / "folder", [exam("uk"), exam("en")])
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
        printed = run_python(PUBLISH_AND_FIND, environment, tmp_path, with_repository=True, new_interpreter=True)
    assert printed.splitlines()[-1] == "1"
