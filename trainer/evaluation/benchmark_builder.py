# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a benchmark's files, and a report on common faults of benchmarks."""

import base64
import csv
import hashlib
import itertools
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from tqdm.auto import tqdm

from trainer.evaluation.benchmark_files import (
    EMPTY_CELLS,
    LETTERS,
    LONGEST_REFERENCE,
    ROTATION,
    Question,
    base_index,
    open_image,
    read_benchmark,
    sha256,
    training_file,
)
from trainer.training import training_rows


DEVIATIONS = 3.0  # a count or accuracy that differs from chance by more standard deviations is a finding
LISTED = 5  # number of examples that a finding lists
HASH_SIZE = 16  # rows of the difference hash, and bits in each row
NEAR = 6  # hashes of near duplicates differ in at most 6 of 256 bits


def _name(question: Question) -> str:
    """The question's name in a report."""
    return f"index {question.index!r} in {question.language!r}" + f" ({question.place})" * bool(question.place)


def write_files(questions: Sequence[Question], output: Path, name: str) -> list[Path]:
    """Writes one TSV file for each language, with MMMB's columns."""
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
    """Finds errors of a benchmark, and texts that would not be read back as they were written."""
    by_key: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        by_key[question.language, question.index].append(question)
    errors = [
        f"{_name(group[-1])}: the index is used {len(group)} times in its language."
        for group in by_key.values()
        if len(group) > 1
    ]
    for question in questions:
        bases = by_key.get((question.language, base_index(question.index)), [])
        if sorted(question.options.values()) not in [sorted(base.options.values()) for base in bases]:
            errors.append(
                f"{_name(question)}: an index from {ROTATION} on is read as a rotation. Choose a smaller index."
            )
        errors += [
            f"{_name(question)}: there are {count} options {text!r}. Keep one."
            for text, count in Counter(question.options.values()).items()
            if count > 1
        ]
        # Before Python 3.11.9, csv does not quote a \r (https://github.com/python/cpython/issues/67044). Remove the
        # check for \r when Python 3.10 is no longer supported.
        errors += [
            f"{_name(question)}: the text {text!r} would be read as another text. Change it."
            for text in (
                *(question.index, question.text, *question.options.values()),
                *(question.category, question.l2_category, question.hint),
            )
            if text in EMPTY_CELLS - {""} or "\r" in text
        ]
        if len(question.image) <= LONGEST_REFERENCE:
            size = len(base64.b64decode(question.image))
            errors.append(f"{_name(question)}: the image's {size} bytes would be read as an index.")
    return errors


def check_read(files: Iterable[Path]) -> list[str]:
    """Finds texts that VLMEvalKit reads differently from how they are written."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for file in files:
            read_benchmark(file, file.stem)
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def check_parallel(questions: Sequence[Question]) -> list[str]:
    """Finds questions that are not the same in all languages."""
    languages = list(dict.fromkeys(question.language for question in questions))
    by_index: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_index[question.index].append(question)
    findings: dict[str, list[str]] = defaultdict(list)
    for index, group in by_index.items():
        if missing := set(languages) - {question.language for question in group}:
            findings[f"are missing in {', '.join(sorted(missing))}"].append(index)
        differing: dict[str, list[Any]] = {
            "have different answers": [question.answer for question in group],
            "have different numbers of options": [len(question.options) for question in group],
            "have different images": [
                hashlib.sha256(base64.b64decode(question.image)).hexdigest()[:8] for question in group
            ],
            "have different categories": [question.category for question in group],
        }
        for fault, values in differing.items():
            if len(set(values)) > 1:
                pairs = zip(group, values, strict=True)
                by_language = ", ".join(f"{question.language} {value}" for question, value in pairs)
                findings[fault].append(f"{index} ({by_language})")
    return [f"Indices that {fault} ({len(indices)}): {_first_few(indices)}" for fault, indices in findings.items()]


def _first_few(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:LISTED])) + ", ..." * (len(values) > LISTED)


def check_letters(questions: Sequence[Question]) -> list[str]:
    """Finds categories in which a letter is the answer more or less often than chance explains."""
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for question in questions:
        groups[question.language, question.category, len(question.options)].append(question.answer)
    findings = []
    for (language, category, number), answers in groups.items():
        expected, noise = len(answers) / number, (len(answers) / number * (1 - 1 / number)) ** 0.5
        counts = {letter: answers.count(letter) for letter in LETTERS[:number]}
        if any(abs(count - expected) > DEVIATIONS * noise for count in counts.values()):
            frequencies = ", ".join(f"{letter} {count}" for letter, count in counts.items())
            findings.append(
                f"{category} in {language!r}: the answers are {frequencies}; {expected:.0f} each would be even."
            )
    return findings


def blind_accuracies(questions: Sequence[Question]) -> dict[str, list[float]]:
    """
    The probability of answering each question correctly without its picture, by strategy: `chance`; the most frequent
    `letter`; the option whose `text` is most often right in other questions; the `longest` option.
    """
    letters = Counter(question.answer for question in questions)
    right = Counter(question.options[question.answer] for question in questions)
    probabilities: dict[str, list[float]] = {"chance": [], "letter": [], "text": [], "longest": []}
    for question in questions:
        place = LETTERS.index(question.answer)
        by_letter = [letters[letter] for letter in LETTERS[: len(question.options)]]
        by_text = [right[text] - (letter == question.answer) for letter, text in question.options.items()]
        probabilities["chance"].append(1 / len(question.options))
        for name, scores in (
            ("letter", by_letter),
            ("text", by_text),
            ("longest", list(map(len, question.options.values()))),
        ):
            probabilities[name].append((scores[place] == max(scores)) / scores.count(max(scores)))
    return probabilities


def check_blind(questions: Sequence[Question]) -> tuple[list[str], list[str]]:
    """
    Compares guessing without the picture with chance.

    Returns:
        findings by language and category, and the lines of a table with the accuracies in each language.
    """
    table = ["| language | chance | letter | text | longest |", "|---" * 5 + "|"]
    findings = []
    for language in dict.fromkeys(question.language for question in questions):
        of_language = [question for question in questions if question.language == language]
        groups = {language: of_language}
        groups |= {
            f"{category} in {language!r}": [question for question in of_language if question.category == category]
            for category in dict.fromkeys(question.category for question in of_language)
        }
        for name, group in groups.items():
            accuracies = {way: float(np.mean(hits)) for way, hits in blind_accuracies(group).items()}
            if name == language:
                table.append(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in accuracies.values()) + " |")
            chance = accuracies.pop("chance")
            limit = chance + DEVIATIONS * (chance * (1 - chance) / len(group)) ** 0.5
            findings += [
                f"{name}: guessing by {way} is right in {100 * accuracy:.1f}%; chance is {100 * chance:.1f}%."
                for way, accuracy in accuracies.items()
                if accuracy > limit
            ]
    return findings, table


def _fingerprints(image: PILImage.Image) -> tuple[bytes, np.ndarray]:
    """A hash of the pixels, and a difference hash: for 16 x 16 parts, whether the part to the right is brighter."""
    pixels = image.convert("RGB")
    small = np.asarray(pixels.convert("L").resize((HASH_SIZE + 1, HASH_SIZE), PILImage.Resampling.BILINEAR), dtype=int)
    digest = hashlib.sha256(pixels.tobytes() + repr(pixels.size).encode()).digest()
    return digest, np.packbits(small[:, 1:] > small[:, :-1])


Fingerprints = dict[str, tuple[bytes, np.ndarray]]  # the keys are images in base64


def check_duplicates(questions: Sequence[Question], prints: Fingerprints) -> list[str]:
    """Finds questions that are asked twice about the same pixels. A rotation is not another question."""
    indices_of: dict[tuple[str, bytes, str], dict[str, None]] = defaultdict(dict)
    for question in questions:
        indices_of[question.language, prints[question.image][0], question.text][base_index(question.index)] = None
    return [
        f"The same question is asked about the same picture in {language!r}: indices {_first_few(list(indices))}."
        for (language, _, _), indices in indices_of.items()
        if len(indices) > 1
    ]


def _squeeze(text: str | list[dict[str, Any]]) -> str:
    """A turn's text without white space, final full stops and <image>."""
    if not isinstance(text, str):
        text = "".join(part.get("text") or "" for part in text)
    return "".join(text.replace("<image>", "").split()).rstrip(".")


def _names_by_turns(questions: Sequence[Question]) -> dict[str, dict[str, list[str]]]:
    """
    Returns the names of questions, by the answer and by the beginning of the prompt. A prompt begins with the
    question, with or without the options as a benchmark lists them.
    """
    names_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for question in questions:
        right = _squeeze(question.options[question.answer])
        names_of[right][_squeeze(question.text)].append(_name(question))
        options = "".join(f"{letter}.{text}" for letter, text in question.options.items())
        for answer in (right, question.answer, f"{question.answer}.{right}"):
            names_of[answer][_squeeze(question.hint + question.text + options)].append(_name(question))
    return names_of


def check_train(
    questions: Sequence[Question], prints: Fingerprints, train: Iterable[dict[str, Any]]
) -> tuple[list[str], dict[str, list[str]]]:
    """
    Searches the training data for the benchmark's pictures and for its questions with their answers.

    Returns:
        findings, and by language the indices of the questions whose picture, or nearly the same picture, is in the
        training data.
    """
    # Each picture stands for the first question about it.
    pictures = {prints[question.image][0]: question for question in reversed(questions)}
    hashes = np.stack([prints[question.image][1] for question in pictures.values()])  # (P, 32)
    all_pixels, names_of = list(pictures), _names_by_turns(questions)
    same: dict[bytes, int] = {}  # pixels, and the first training row that has them
    near: dict[bytes, int] = {}
    repeated: dict[str, int] = {}  # a question's name, and the first training row that asks and answers it
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
            for prompt, names in names_of.get(answer, {}).items():
                if turn.startswith(prompt):  # an instruction may follow
                    repeated |= {name: number for name in names if name not in repeated}
    same_pictures = [(pictures[pixels].index, number) for pixels, number in same.items()]
    near_pictures = [(pictures[pixels].index, number) for pixels, number in near.items() if pixels not in same]
    indices: dict[str, list[str]] = {question.language: [] for question in questions}
    for question in questions:
        if prints[question.image][0] in same.keys() | near.keys():
            indices[question.language].append(question.index)
    findings = [
        f"{len(matches)} of {total} {fault}: {_first_few([f'{name} (training row {row})' for name, row in matches])}"
        for matches, total, fault in (
            (same_pictures, len(pictures), "pictures are in the training data, pixel by pixel"),
            (
                near_pictures,
                len(pictures),
                f"pictures look nearly like a training picture (at most {NEAR} of 256 bits of their hashes differ)",
            ),
            (
                list(repeated.items()),
                len(questions),
                "questions are asked and answered in the same words in training (perhaps about other pictures)",
            ),
        )
        if matches
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
    Writes a benchmark's files, its report NAME_report.md and, if there is training data, NAME_in_training.json.
    trainer/benchmark.py reads NAME_in_training.json and shows how many questions have a picture in the training data.

    Args:
        questions: the questions in all languages.
        output: folder of the files.
        name: the beginning of the files' names.
        train: training rows with `messages`, and with `images` or one `image`.
        training_data: the name of the training data.

    Returns:
        the TSV files.

    Raises:
        `ValueError`: if there are no questions, or if `find_errors` finds errors.
    """
    if not questions:
        raise ValueError(f"There are no rows for the benchmark {name!r}.")
    if errors := find_errors(questions):
        raise ValueError(f"The rows have {len(errors)} errors. Mend them:\n" + "\n".join(errors[: 4 * LISTED]))
    files = write_files(questions, output, name)
    blind, table = check_blind(questions)
    by_image = {question.image: question for question in questions}
    prints = {
        image: _fingerprints(open_image(question)) for image, question in tqdm(by_image.items(), desc="pictures")
    }
    checks = {
        "Read by VLMEvalKit as it is written": check_read(files),
        "Parallel in all languages": check_parallel(questions),
        "Letters of the answers even": check_letters(questions),
        "No better without the picture than by chance": blind,
        "No question twice": check_duplicates(questions, prints),
    }
    training_file(output, name).unlink(missing_ok=True)  # it may belong to an earlier edition of the benchmark
    if train is not None:
        checks["No picture or question in training data"], indices = check_train(questions, prints, train)
        hashes = {language: sha256(file) for language, file in zip(indices, files, strict=True)}
        record = {"training_data": training_data, "sha256": hashes, "indices": indices}
        training_file(output, name).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    counts = Counter(question.language for question in questions)
    lines = [f"# {name}: {', '.join(f'{count} questions in {language}' for language, count in counts.items())}", ""]
    for title, findings in checks.items():
        lines += [f"## {title}: {f'findings ({len(findings)})' if findings else 'yes'}", ""]
        lines += [f"- {finding}" for finding in findings] + [""] * bool(findings)
    lines += [
        *("## Guessing without the picture", "", *table, ""),
        "Accuracy in percent: at random, by the most frequent letter, by the text that is most often right in other "
        f"questions, by the longest option. A finding is more than {DEVIATIONS:.0f} standard deviations above chance.",
    ]
    (output / f"{name}_report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files
