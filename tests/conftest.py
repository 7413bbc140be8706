# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Models, data sets and benchmarks that several tests share."""

import base64
import csv
import gc
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from tests.tiny import tiny_model, tiny_processor


def pytest_collection_finish() -> None:
    """
    Excludes all objects of the imports from garbage collection. statsmodels' multipletests collects garbage at each
    call, and walking the objects of torch and transformers would take half a second each time.
    """
    gc.collect()
    gc.freeze()


COLORS = ("red", "green", "blue", "white")
ANSWERS = {"en": "{}", "pt": "cor {}", "tr": "renk {}"}


def write_data(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a data set that trainer/sft.py reads, with the columns of the rows."""
    features = {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "images": List(Image()),
        "language": Value("string"),
    }
    dataset = Dataset.from_list(rows, features=Features({name: features[name] for name in rows[0]}))
    folder.mkdir()
    dataset.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def encode(color: str, mode: str = "RGB") -> str:
    """A picture of one colour, in base64."""
    file = io.BytesIO()
    PILImage.new(mode, (20, 30), color).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_tsv(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a benchmark with the columns of its first row."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return file


def assert_alike(answers: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]]) -> None:
    """Asserts that answers are the same except for rounding: other threads or batches sum in another order."""
    floats = ("scores", "router")
    for answer, other in zip(answers, expected, strict=True):
        for key in floats:
            assert answer.get(key) == pytest.approx(other.get(key), abs=1e-4), key
        assert answer | dict.fromkeys(floats) == other | dict.fromkeys(floats)


@pytest.fixture
def benchmark(tmp_path: Path) -> str:
    """Three questions in English and Turkish about red, blue and green; returns the path with {language} in it."""
    kinds = [("red", "objects", "recognition"), ("blue", "objects", "recognition"), ("green", "color", "attribute")]
    for language, words in (("en", ("red", "a blue thing", "g", "")), ("tr", ("kırmızı", "mavi", "yeşil", "ak"))):
        rows = [
            {
                "index": index,
                "image": encode(color),
                "question": f"? {language}",
                **dict(zip("ABCD", words, strict=True)),
                "answer": "ABC"[index],
                "category": category,
                "l2-category": l2_category,
            }
            for index, (color, category, l2_category) in enumerate(kinds)
        ]
        write_tsv(tmp_path / f"bench_{language}.tsv", rows)
    return str(tmp_path / "bench_{language}.tsv")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model with fresh experts, and a data set in which some rows have no picture."""
    folder = tmp_path_factory.mktemp("world")
    tiny_model(trained=False).save_pretrained(folder / "model")
    tiny_processor().save_pretrained(folder / "model")
    rows = []
    for number, color in enumerate(COLORS * 3):
        language = list(ANSWERS)[number % 3]
        shown = [PILImage.new("RGB", (20 + number, 20), color)] if number % 4 else []
        messages = [
            {"role": "user", "content": f"? {color if not shown else ''}"},
            {"role": "assistant", "content": ANSWERS[language].format(color)},
        ]
        rows.append({"messages": messages, "images": shown, "language": language})
    write_data(folder / "data", rows)
    return folder
