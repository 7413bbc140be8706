# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a user's rows as questions and builds a benchmark of them, for `python -m trainer.build_benchmark`."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, load_dataset
from tqdm.auto import tqdm

from trainer.build_benchmark import BuildArguments
from trainer.common.data_files import data_files
from trainer.common.pictures import open_picture
from trainer.common.sources import check_file, check_output, check_source
from trainer.evaluation.benchmark_builder import build_benchmark
from trainer.evaluation.benchmark_files import LETTERS, Question, read_rows
from trainer.training import training_rows


def read_own_questions(arguments: BuildArguments) -> Iterator[Question]:
    """
    Reads the rows as questions.

    Raises:
        `ValueError`: if a row cannot be used; it names the file, the row and the column.
    """
    file = Path(arguments.rows)
    rows: Iterable[dict[str, Any]]
    if file.suffix in (".csv", ".tsv", ".xlsx", ".jsonl"):
        check_file(arguments.rows, "--rows")
        rows = read_rows(file)
    elif file.is_file():
        rows = _load(str(file.parent), "train", "--rows", file.name)
    else:
        rows = _load(arguments.rows, arguments.split, "--rows")
    if isinstance(rows, Dataset) and isinstance(rows.features.get("image"), Image):
        rows = rows.cast_column("image", Image(decode=False))
    folder = file if file.is_dir() else file.parent
    counts: Counter[str] = Counter()
    for number, row in enumerate(tqdm(rows, desc="rows"), start=1):
        question = _question(row, folder, f"{arguments.rows}, row {number}", counts)
        counts[question.language] += 1
        yield question


def _load(name: str, split: str, argument: str, file: str | None = None) -> Dataset:
    check_source(name, argument, "dataset")
    try:
        return load_dataset(name, data_files=file or data_files(name), split=split)
    except Exception as error:  # datasets raises errors of many kinds
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        source = str(Path(name, file)) if file else name
        raise ValueError(f"{argument}: the data set {source!r} cannot be read: {reason}. Repair it.") from error


def _question(row: dict[str, Any], folder: Path, place: str, counts: Counter[str]) -> Question:
    # A cell with 0 is not empty. pandas reads a missing cell at the end of a short line as NaN; only NaN differs from
    # itself.
    cells = {name: "" if value is None or value != value else str(value) for name, value in row.items()}
    for name in ("language", "image", "question", "answer"):
        if not cells.get(name):
            raise ValueError(f"{place}: the column {name!r} is empty or missing. Fill it in.")
    language = cells["language"]
    if not re.fullmatch("[A-Za-z0-9-]+", language):  # a file's name ends with the language
        raise ValueError(f"{place}: the language {language!r} is not a code. Write it like 'en' or 'pt-BR'.")
    options = _options(row, cells, place)
    return Question(
        index=cells.get("index") or str(counts[language]),
        language=language,
        image=base64.b64encode(_image(row["image"], folder, place)).decode(),
        text=cells["question"],
        options=dict(zip(LETTERS, options, strict=False)),
        answer=_answer(cells["answer"], options, place),
        category=cells.get("category") or "all",
        l2_category=cells.get("l2-category", ""),
        hint=cells.get("hint", ""),
        place=place,
    )


def _options(row: dict[str, Any], cells: dict[str, str], place: str) -> list[str]:
    cell = row.get("options")
    if isinstance(cell, str) and cell:
        raise ValueError(f"{place}: the options {cell!r} are one text. Give a list, or the columns A, B, ...")
    options = ["" if text is None else str(text) for text in cell or ()]
    if not options:
        letters = [letter for letter in LETTERS if cells.get(letter)]
        if letters != list(LETTERS[: len(letters)]):
            raise ValueError(f"{place}: there are options {letters}. Give options from A on, without a gap.")
        options = [cells[letter] for letter in letters]
    if not 2 <= len(options) <= len(LETTERS) or "" in options:
        raise ValueError(f"{place}: there are the options {options}. Give 2 to 26 options, none of them empty.")
    return options


def _answer(answer: str, options: list[str], place: str) -> str:
    letters = LETTERS[: len(options)]
    matches = {letter for letter, text in zip(letters, options, strict=True) if answer in (letter, text)}
    if len(matches) > 1:
        raise ValueError(f"{place}: the answer {answer!r} may mean each of {sorted(matches)}. Reword the options.")
    if not matches:
        raise ValueError(
            f"{place}: the answer {answer!r} is neither one of the letters {letters} nor an option's text. Give one "
            "of them."
        )
    return matches.pop()


def _image(image: Any, folder: Path, place: str) -> bytes:
    if not isinstance(image, str | dict):
        raise ValueError(f"{place}: the image {image!r:.200} is neither a path nor an image. Give one of them.")
    if isinstance(image, str):
        image = {"path": str(folder / image), "bytes": None}
    content, path = image.get("bytes"), image.get("path") or ""
    if content is None:
        open_picture(Path(path), f"{place}: the image {path!r:.200}")
        return Path(path).read_bytes()
    open_picture(content, f"{place}: the image {path!r:.200}")
    return content


def main(arguments: BuildArguments) -> None:
    """Builds the benchmark and prints its report and the names of its files."""
    check_output(arguments.output, "--output")
    name = arguments.train or ""
    train = training_rows.undecoded(_load(name, "train", "--train")) if name else None
    questions, output = list(read_own_questions(arguments)), Path(arguments.output)
    files = build_benchmark(questions, output, arguments.name, train, Path(name).name if Path(name).exists() else name)
    report = output / f"{arguments.name}_report.md"
    print(report.read_text(encoding="utf-8"))
    print(f"Written: {', '.join(map(str, [*files, report]))}")
