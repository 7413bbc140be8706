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
r"""
Makes a benchmark of a person's own questions: TSV files of MMMB's shape, one a language, and a report on what a
benchmark can suffer from:

    python -m trainer.build_benchmark --rows questions.csv --output data/mine --name mine --train data/conversations

Rows are a .csv, .tsv, .xlsx or .jsonl, or a data set in a file, in a folder or on the Hub, with the columns
`language`, `image` (a path from the rows' folder, or an image of `datasets`), `question`, `answer` (the letter, or the
option's text) and either `options` (a list) or A, B, C, ...; and, if wanted, `index` (the same for a question in all
languages; its place among those of its language if not given), `category`, `l2-category` and `hint`.

What makes a benchmark unusable is an error: nothing is written. The rest are findings of the report, to be looked at.
"""

import base64
import csv
import hashlib
import itertools
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image, load_dataset
from PIL import Image as PILImage
from tqdm.auto import tqdm

from trainer import one_line_errors, training_rows
from trainer.benchmark_files import (
    LETTERS,
    LONGEST_REFERENCE,
    NOT_A_NUMBER,
    ROTATION,
    Question,
    base_index,
    open_image,
    read_benchmark,
    read_rows,
    sha256,
    training_file,
)
from trainer.command_line import parse_arguments
from trainer.data_files import data_files
from trainer.pictures import open_picture
from trainer.sources import check_source


DEVIATIONS = 3.0  # of sampling noise, beyond which a count or an accuracy is told of
LISTED = 5  # examples of each finding
HASH_SIZE = 16  # of the difference hash: rows, and differences in each
NEAR = 6  # bits of 256 in which the hashes of near duplicates may differ


@dataclass
class BuildArguments:
    """Arguments of `python -m trainer.build_benchmark`."""

    rows: str = field(metadata={"help": "File of rows, or file, folder or Hub id of a data set."})
    output: str = field(metadata={"help": "Folder of the benchmark."})
    name: str = field(default="benchmark", metadata={"help": "The files are NAME_<language>.tsv and NAME_report.md."})
    split: str = field(default="test", metadata={"help": "Split of a folder's or the Hub's data set of rows."})
    train: str | None = field(
        default=None,
        metadata={"help": "Data set with messages and images that models are trained on, to look for the same in it."},
    )


def _name(question: Question) -> str:
    """Names a question in a report."""
    return f"index {question.index!r} in {question.language!r}" + f" ({question.place})" * bool(question.place)


def read_own_questions(arguments: BuildArguments) -> Iterator[Question]:
    """
    The rows as questions.

    Raises:
        `ValueError`: naming file, row and column of what cannot be used.
    """
    file = Path(arguments.rows)
    rows: Iterable[dict[str, Any]]
    if file.suffix in (".csv", ".tsv", ".xlsx", ".jsonl"):
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
    except Exception as error:  # datasets has its own for a file, a split, a column and the Hub
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        read = str(Path(name, file)) if file else name
        raise ValueError(f"{argument}: the data set {read!r} cannot be read: {reason}. Repair it.") from error


def _question(row: dict[str, Any], folder: Path, place: str, counts: Counter[str]) -> Question:
    # 0 is a text, too; a cell that a short line of a CSV lacks is NaN to pandas
    cells = {name: "" if value is None or value != value else str(value) for name, value in row.items()}
    for name in ("language", "image", "question", "answer"):
        if not cells.get(name):
            raise ValueError(f"{place}: the column {name!r} is empty or missing. Fill it in.")
    language = cells["language"]
    if not re.fullmatch("[A-Za-z0-9-]+", language):  # it ends a file's name, after _
        raise ValueError(f"{place}: the language {language!r} is no code. Write it like 'en' or 'pt-BR'.")
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


def _options(row: dict[str, Any], cells: dict[str, str], place: str) -> tuple[str, ...]:
    given = row.get("options")
    if isinstance(given, str) and given:
        raise ValueError(f"{place}: the options {given!r} are one text. Give a list, or the columns A, B, ...")
    options = ["" if text is None else str(text) for text in given or ()]
    if not options:
        letters = [letter for letter in LETTERS if cells.get(letter)]
        if letters != list(LETTERS[: len(letters)]):
            raise ValueError(f"{place}: there are options {letters}; give them without a gap, from A on.")
        options = [cells[letter] for letter in letters]
    if not 2 <= len(options) <= len(LETTERS) or "" in options:
        raise ValueError(f"{place}: there are the options {options}; give 2 to 26, none empty.")
    return tuple(options)


def _answer(answer: str, options: tuple[str, ...], place: str) -> str:
    letters = LETTERS[: len(options)]
    meant = {letter for letter, text in zip(letters, options, strict=True) if answer in (letter, text)}
    if len(meant) > 1:
        raise ValueError(f"{place}: the answer {answer!r} may be each of {sorted(meant)}. Word the options otherwise.")
    if not meant:
        raise ValueError(
            f"{place}: the answer {answer!r} is none of the letters {letters} and no option's text. Give one of them."
        )
    return meant.pop()


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


def write_files(questions: Sequence[Question], output: Path, name: str) -> list[Path]:
    """Writes one TSV a language, of MMMB's columns."""
    letters = LETTERS[: max(len(question.options) for question in questions)]
    hint = ["hint"] if any(question.hint for question in questions) else []
    columns = ["index", "image", *hint, "question", *letters, "answer", "category", "l2-category", "split"]
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for language in dict.fromkeys(question.language for question in questions):
        files.append(output / f"{name}_{language}.tsv")
        with files[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="")
            writer.writeheader()
            for question in questions:
                if question.language == language:
                    row = {
                        "index": question.index,
                        "image": question.image,
                        "question": question.text,
                        **question.options,
                        "answer": question.answer,
                        "category": question.category,
                        "l2-category": question.l2_category,
                        "split": "test",
                    }
                    writer.writerow(row | ({"hint": question.hint} if hint else {}))
    return files


def find_errors(questions: Sequence[Question]) -> list[str]:
    """What makes a benchmark wrong, or another one once it is read."""
    by_key: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        by_key[question.language, question.index].append(question)
    errors = [
        f"{_name(group[-1])}: the index is used {len(group)} times in its language."
        for group in by_key.values()
        if len(group) > 1
    ]
    for question in questions:
        rotated = by_key.get((question.language, base_index(question.index)), [])
        if sorted(question.options.values()) not in [sorted(one.options.values()) for one in rotated]:
            errors.append(
                f"{_name(question)}: an index from {ROTATION} on is read as a rotation. Choose a smaller one."
            )
        errors += [
            f"{_name(question)}: the option {text!r} is given {count} times. Leave one."
            for text, count in Counter(question.options.values()).items()
            if count > 1
        ]
        # csv leaves a \r unquoted before Python 3.11.9 (https://github.com/python/cpython/issues/67044). Its part
        # may go with Python 3.10.
        errors += [
            f"{_name(question)}: the text {text!r} would be read as another. Write it otherwise."
            for text in (
                *(question.index, question.text, *question.options.values()),
                *(question.category, question.l2_category, question.hint),
            )
            if text in NOT_A_NUMBER - {""} or "\r" in text
        ]
        if len(question.image) <= LONGEST_REFERENCE:
            size = len(base64.b64decode(question.image))
            errors.append(f"{_name(question)}: the image's {size} bytes would be read as an index.")
    return errors


def check_read(files: Iterable[Path]) -> list[str]:
    """What VLMEvalKit reads otherwise than it is written."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for file in files:
            read_benchmark(file, file.stem)
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def check_parallel(questions: Sequence[Question]) -> list[str]:
    """Questions that are not the same in all languages."""
    languages = list(dict.fromkeys(question.language for question in questions))
    by_index: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_index[question.index].append(question)
    findings: dict[str, list[str]] = defaultdict(list)
    for index, group in by_index.items():
        if missing := set(languages) - {question.language for question in group}:
            findings[f"missing in {', '.join(sorted(missing))}"].append(index)
        differing: dict[str, list[Any]] = {
            "with different answers": [question.answer for question in group],
            "with different numbers of options": [len(question.options) for question in group],
            "with different images": [
                hashlib.sha256(base64.b64decode(question.image)).hexdigest()[:8] for question in group
            ],
            "with different categories": [question.category for question in group],
        }
        for what, values in differing.items():
            if len(set(values)) > 1:
                told = ", ".join(f"{question.language} {value}" for question, value in zip(group, values, strict=True))
                findings[what].append(f"{index} ({told})")
    return [f"{len(found)} indices are {what}: {_some(found)}" for what, found in findings.items()]


def _some(found: Sequence[Any]) -> str:
    return ", ".join(map(str, found[:LISTED])) + ", ..." * (len(found) > LISTED)


def check_letters(questions: Sequence[Question]) -> list[str]:
    """Answers' letters that are more or less frequent in a category than chance makes them."""
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for question in questions:
        groups[question.language, question.category, len(question.options)].append(question.answer)
    findings = []
    for (language, category, number), answers in groups.items():
        expected, noise = len(answers) / number, (len(answers) / number * (1 - 1 / number)) ** 0.5
        counts = {letter: answers.count(letter) for letter in LETTERS[:number]}
        if any(abs(count - expected) > DEVIATIONS * noise for count in counts.values()):
            told = ", ".join(f"{letter} {count}" for letter, count in counts.items())
            findings.append(f"{category} in {language!r}: answers are {told}; {expected:.0f} each would be even.")
    return findings


def blind_accuracies(questions: Sequence[Question]) -> dict[str, list[float]]:
    """
    What one reaches who sees no picture, a probability by question: by `chance`, always with the most frequent
    `letter`, with the option whose `text` is most often right in other questions, with the `longest` option.
    """
    letters = Counter(question.answer for question in questions)
    right = Counter(question.options[question.answer] for question in questions)
    found: dict[str, list[float]] = {"chance": [], "letter": [], "text": [], "longest": []}
    for question in questions:
        place = LETTERS.index(question.answer)
        by_letter = [letters[letter] for letter in LETTERS[: len(question.options)]]
        by_text = [right[text] - (letter == question.answer) for letter, text in question.options.items()]
        found["chance"].append(1 / len(question.options))
        for name, scores in (
            ("letter", by_letter),
            ("text", by_text),
            ("longest", list(map(len, question.options.values()))),
        ):
            found[name].append((scores[place] == max(scores)) / scores.count(max(scores)))
    return found


def check_blind(questions: Sequence[Question]) -> tuple[list[str], list[str]]:
    """Findings, and a table: what guessing without the picture reaches in each language, and in which categories."""
    table = ["| without the picture | chance | letter | text | longest |", "|---" * 5 + "|"]
    findings = []
    for language in dict.fromkeys(question.language for question in questions):
        asked = [question for question in questions if question.language == language]
        groups = {language: asked}
        groups |= {
            f"{category} in {language!r}": [question for question in asked if question.category == category]
            for category in dict.fromkeys(question.category for question in asked)
        }
        for name, group in groups.items():
            found = {way: float(np.mean(hits)) for way, hits in blind_accuracies(group).items()}
            if name == language:
                table.append(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in found.values()) + " |")
            chance = found.pop("chance")
            limit = chance + DEVIATIONS * (chance * (1 - chance) / len(group)) ** 0.5
            findings += [
                f"{name}: by {way} alone {100 * share:.1f}% are right, chance is {100 * chance:.1f}%."
                for way, share in found.items()
                if share > limit
            ]
    return findings, table


def _fingerprints(image: PILImage.Image) -> tuple[bytes, np.ndarray]:
    """A hash of the pixels, and a difference hash: which of 16 x 16 parts are darker than their right neighbours."""
    pixels = image.convert("RGB")
    small = np.asarray(pixels.convert("L").resize((HASH_SIZE + 1, HASH_SIZE), PILImage.Resampling.BILINEAR), dtype=int)
    return hashlib.sha256(pixels.tobytes() + repr(pixels.size).encode()).digest(), np.packbits(
        small[:, 1:] > small[:, :-1]
    )


Fingerprints = dict[str, tuple[bytes, np.ndarray]]  # by an image in base64


def check_duplicates(questions: Sequence[Question], prints: Fingerprints) -> list[str]:
    """Questions that are asked twice about the same pixels; a rotation is not another question."""
    asked: dict[tuple[str, bytes, str], dict[str, None]] = defaultdict(dict)
    for question in questions:
        asked[question.language, prints[question.image][0], question.text][base_index(question.index)] = None
    return [
        f"The same question is asked about the same picture in {language!r}: indices {_some(list(indices))}."
        for (language, _, _), indices in asked.items()
        if len(indices) > 1
    ]


def _squeeze(text: str | list[dict[str, Any]]) -> str:
    """A turn's text, in which neither white space nor a final stop nor the picture's place counts."""
    if not isinstance(text, str):
        text = "".join(part.get("text") or "" for part in text)
    return "".join(text.replace("<image>", "").split()).rstrip(".")


def _known_turns(questions: Sequence[Question]) -> dict[str, dict[str, list[str]]]:
    """By an answer and how a question to it begins, without options or with them as a benchmark lists them: places."""
    known: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for question in questions:
        right = _squeeze(question.options[question.answer])
        known[right][_squeeze(question.text)].append(_name(question))
        options = "".join(f"{letter}.{text}" for letter, text in question.options.items())
        for answer in (right, question.answer, f"{question.answer}.{right}"):
            known[answer][_squeeze(question.hint + question.text + options)].append(_name(question))
    return known


def check_train(
    questions: Sequence[Question], prints: Fingerprints, train: Iterable[dict[str, Any]]
) -> tuple[list[str], dict[str, list[str]]]:
    """
    Findings: pictures, and questions with their answers, that training has, too; and by language the indices of the
    questions whose pictures it has, or nearly the same ones.
    """
    pictures = {prints[question.image][0]: question for question in reversed(questions)}  # by pixels, the first
    hashes = np.stack([prints[question.image][1] for question in pictures.values()])  # (P, 32)
    all_pixels, known = list(pictures), _known_turns(questions)
    same: dict[bytes, int] = {}  # each with the first row of training that has it
    near: dict[bytes, int] = {}
    asked: dict[str, int] = {}
    for number, row in enumerate(tqdm(train, desc="training rows"), start=1):
        for picture in filter(None, row.get("images") or [row.get("image")]):
            image = training_rows.open_stored(picture, f"training row {number}: an image")
            pixels, hashed = _fingerprints(image)
            if pixels in pictures:
                same.setdefault(pixels, number)
            differ = np.unpackbits(hashes ^ hashed, axis=1).sum(axis=1)
            for place in np.nonzero(differ <= NEAR)[0]:
                near.setdefault(all_pixels[place], number)
        for turn, answer in itertools.pairwise(_squeeze(turn["content"]) for turn in row["messages"]):
            for prompt, places in known.get(answer, {}).items():
                if turn.startswith(prompt):  # an instruction may follow
                    asked |= {place: number for place in places if place not in asked}
    same_ones = [(pictures[pixels].index, number) for pixels, number in same.items()]
    near_ones = [(pictures[pixels].index, number) for pixels, number in near.items() if pixels not in same]
    indices: dict[str, list[str]] = {question.language: [] for question in questions}
    for question in questions:
        if prints[question.image][0] in same.keys() | near.keys():
            indices[question.language].append(question.index)
    findings = [
        f"{len(found)} of {whole} {what}: {_some([f'{name} (training row {number})' for name, number in found])}"
        for found, whole, what in (
            (same_ones, len(pictures), "pictures are in the training data, pixel by pixel"),
            (
                near_ones,
                len(pictures),
                f"pictures have nearly a training picture's difference hash (to {NEAR} bits of 256)",
            ),
            (
                list(asked.items()),
                len(questions),
                "questions are asked and answered in the same words in training (of other pictures, perhaps)",
            ),
        )
        if found
    ]
    return findings, indices


def build_benchmark(
    questions: Sequence[Question],
    output: Path,
    name: str,
    train: Iterable[dict[str, Any]] | None = None,
    training_data: str = "",
) -> list[Path]:
    """
    Writes a benchmark's files, its report NAME_report.md and, if training was searched, NAME_in_training.json.
    trainer/benchmark.py reads the latter, and says beside an accuracy how many of its pictures training has.

    Args:
        questions: all languages' questions.
        output: folder of the files.
        name: what the files' names begin with.
        train: rows with `messages` and `images`, or one `image`, that models are trained on.
        training_data: their name.

    Returns:
        the TSV files.

    Raises:
        `ValueError`: if there is nothing to write, or something that cannot be used, see `find_errors`.
    """
    if not questions:
        raise ValueError(f"There are no rows to make {name!r} of.")
    if errors := find_errors(questions):
        raise ValueError(f"{len(errors)} errors, to be mended in the rows:\n" + "\n".join(errors[: 4 * LISTED]))
    files = write_files(questions, output, name)
    blind, table = check_blind(questions)
    shown = {question.image: question for question in questions}
    prints = {image: _fingerprints(open_image(question)) for image, question in tqdm(shown.items(), desc="pictures")}
    checks = {
        "Read by VLMEvalKit as it is written": check_read(files),
        "Parallel in all languages": check_parallel(questions),
        "Letters of the answers even": check_letters(questions),
        "No better without the picture than by chance": blind,
        "No question twice": check_duplicates(questions, prints),
    }
    training_file(output, name).unlink(missing_ok=True)  # of an earlier edition
    if train is not None:
        checks["Nothing of it in training"], indices = check_train(questions, prints, train)
        hashes = {language: sha256(file) for language, file in zip(indices, files, strict=True)}
        known = {"training_data": training_data, "sha256": hashes, "indices": indices}
        training_file(output, name).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    counts = Counter(question.language for question in questions)
    lines = [f"# {name}: {', '.join(f'{count} questions in {language}' for language, count in counts.items())}", ""]
    for title, findings in checks.items():
        lines += [f"## {title}: {'yes' if not findings else f'{len(findings)} findings'}", ""]
        lines += [f"- {finding}" for finding in findings] + [""] * bool(findings)
    lines += [*table, "", f"(in percent; told of beyond {DEVIATIONS:.0f} deviations of chance)"]
    (output / f"{name}_report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def main(arguments: BuildArguments) -> None:
    """Builds, prints the report and names the files."""
    train, name = None, arguments.train or ""
    if name:
        train = training_rows.undecoded(_load(name, "train", "--train"))
    questions, output = list(read_own_questions(arguments)), Path(arguments.output)
    files = build_benchmark(questions, output, arguments.name, train, Path(name).name if Path(name).exists() else name)
    report = output / f"{arguments.name}_report.md"
    print(report.read_text(encoding="utf-8"))
    print(f"Written: {', '.join(map(str, [*files, report]))}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_arguments(BuildArguments, __doc__))
