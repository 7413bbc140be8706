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

Rows are a .csv, .tsv, .xlsx or .jsonl, or a data set in a folder or on the Hub, with the columns `language`, `image`
(a path from the file's folder, or an image of `datasets`), `question`, `answer` (the letter) and either `options` (a
list) or A, B, C, ...; and, if wanted, `index` (the same for a question in all languages; its place among those of its
language if not given), `category`, `l2-category` and `hint`.
"""

import base64
import csv
import hashlib
import io
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Image, load_dataset
from PIL import Image as PILImage
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from trainer import HelpFormatter
from trainer.benchmark_files import LETTERS, read_rows


DEVIATIONS = 3.0  # of sampling noise, beyond which a count or an accuracy is told of
LISTED = 5  # examples of each finding
HASH_SIZE = 16  # of the difference hash: rows, and differences in each
NEAR = 6  # bits of 256 in which the hashes of near duplicates may differ


@dataclass
class BuildArguments:
    """Arguments of `python -m trainer.build_benchmark`."""

    rows: str = field(metadata={"help": "File of rows, or folder or Hub id of a data set."})
    output: str = field(metadata={"help": "Folder of the benchmark."})
    name: str = field(default="benchmark", metadata={"help": "The files are NAME_<language>.tsv and NAME_report.md."})
    split: str = field(default="test", metadata={"help": "Split of a data set of rows."})
    train: str | None = field(
        default=None,
        metadata={"help": "Data set with messages and images that models are trained on, to look for the same in it."},
    )


@dataclass(frozen=True)
class Entry:
    """A question of a benchmark; `image` holds a file's bytes."""

    index: str
    language: str
    image: bytes = field(repr=False)
    question: str
    options: tuple[str, ...]
    answer: str
    category: str = "all"
    l2_category: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        """Names it in a report."""
        return f"index {self.index!r} in {self.language!r}"


def read_entries(arguments: BuildArguments) -> Iterator[Entry]:
    """
    The rows as entries.

    Raises:
        `ValueError`: naming file, row and column of what cannot be used.
    """
    file = Path(arguments.rows)
    if file.is_file():
        rows: Iterable[dict[str, Any]] = read_rows(file)
    else:
        rows = load_dataset(arguments.rows, split=arguments.split)
        if isinstance(rows.features.get("image"), Image):
            rows = rows.cast_column("image", Image(decode=False))
    counts: Counter[str] = Counter()
    for number, row in enumerate(tqdm(rows, desc="rows"), start=1):
        entry = _entry(row, file.parent, f"{arguments.rows}, row {number}", counts)
        counts[entry.language] += 1
        yield entry


def _entry(row: dict[str, Any], folder: Path, place: str, counts: Counter[str]) -> Entry:
    for name in ("language", "image", "question", "answer"):
        if not row.get(name):
            raise ValueError(f"{place}: the column {name!r} is empty or missing. Fill it in.")
    options = [str(text) for text in row.get("options") or ()]
    if not options:
        letters = [letter for letter in LETTERS if row.get(letter)]
        if letters != list(LETTERS[: len(letters)]):
            raise ValueError(f"{place}: there are options {letters}; give them without a gap, from A on.")
        options = [str(row[letter]) for letter in letters]
    if not 2 <= len(options) <= len(LETTERS) or "" in options:
        raise ValueError(f"{place}: there are the options {options}; give 2 to 26, none empty.")
    if row["answer"] not in LETTERS[: len(options)]:
        raise ValueError(
            f"{place}: the answer {row['answer']!r} is none of the letters {LETTERS[: len(options)]} of the options."
        )
    image = row["image"]
    try:
        if not isinstance(image, dict):
            image = {"path": str(folder / image), "bytes": None}
        content = image["bytes"] or Path(image["path"]).read_bytes()
        with PILImage.open(io.BytesIO(content)) as picture:
            picture.load()
    except (OSError, ValueError) as error:
        raise ValueError(f"{place}: the image {image['path']!r} cannot be read ({error}). Repair it.") from error
    language = str(row["language"])
    return Entry(
        index=str(row["index"]) if row.get("index") not in (None, "") else str(counts[language]),
        language=language,
        image=content,
        question=str(row["question"]),
        options=tuple(options),
        answer=row["answer"],
        category=row.get("category") or "all",
        l2_category=row.get("l2-category") or "",
        hint=row.get("hint") or "",
    )


def write_files(entries: Sequence[Entry], output: Path, name: str) -> list[Path]:
    """Writes one TSV a language, of MMMB's columns."""
    letters = LETTERS[: max(len(entry.options) for entry in entries)]
    hint = ["hint"] if any(entry.hint for entry in entries) else []
    columns = ["index", "image", *hint, "question", *letters, "answer", "category", "l2-category", "split"]
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for language in dict.fromkeys(entry.language for entry in entries):
        files.append(output / f"{name}_{language}.tsv")
        with files[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="")
            writer.writeheader()
            for entry in entries:
                if entry.language == language:
                    row = {
                        "index": entry.index,
                        "image": base64.b64encode(entry.image).decode(),
                        "question": entry.question,
                        **dict(zip(letters, entry.options, strict=False)),
                        "answer": entry.answer,
                        "category": entry.category,
                        "l2-category": entry.l2_category,
                        "split": "test",
                    }
                    writer.writerow(row | ({"hint": entry.hint} if hint else {}))
    return files


def find_errors(entries: Sequence[Entry]) -> list[str]:
    """What makes a benchmark wrong: an index twice in a language, an option twice in a question."""
    counts = Counter((entry.language, entry.index) for entry in entries)
    errors = [
        f"The index {index!r} is used {count} times in {language!r}."
        for (language, index), count in counts.items()
        if count > 1
    ]
    for entry in entries:
        twice = [text for text, count in Counter(entry.options).items() if count > 1]
        if twice:
            errors.append(f"{entry.place}: the option {twice[0]!r} is given twice.")
    return errors


def check_parallel(entries: Sequence[Entry]) -> list[str]:
    """Questions that are not the same in all languages."""
    languages = list(dict.fromkeys(entry.language for entry in entries))
    by_index: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_index[entry.index].append(entry)
    findings: dict[str, list[str]] = defaultdict(list)
    for index, group in by_index.items():
        if missing := set(languages) - {entry.language for entry in group}:
            findings[f"missing in {', '.join(sorted(missing))}"].append(index)
        for what, values in {
            "with different answers": {entry.answer for entry in group},
            "with different numbers of options": {len(entry.options) for entry in group},
            "with different images": {entry.image for entry in group},
            "with different categories": {entry.category for entry in group},
        }.items():
            if len(values) > 1:
                findings[what].append(index)
    return [f"{len(found)} indices are {what}: {_some(found)}" for what, found in findings.items()]


def _some(found: Sequence[Any]) -> str:
    return ", ".join(map(str, found[:LISTED])) + ", ..." * (len(found) > LISTED)


def check_letters(entries: Sequence[Entry]) -> list[str]:
    """Answers' letters that are more or less frequent in a category than chance makes them."""
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for entry in entries:
        groups[entry.language, entry.category, len(entry.options)].append(entry.answer)
    findings = []
    for (language, category, number), answers in groups.items():
        expected, noise = len(answers) / number, (len(answers) / number * (1 - 1 / number)) ** 0.5
        counts = {letter: answers.count(letter) for letter in LETTERS[:number]}
        if any(abs(count - expected) > DEVIATIONS * noise for count in counts.values()):
            told = ", ".join(f"{letter} {count}" for letter, count in counts.items())
            findings.append(f"{category} in {language!r}: answers are {told}; {expected:.0f} each would be even.")
    return findings


def blind_accuracies(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """
    What one reaches who sees no picture, a probability by entry: by `chance`, always with the most frequent `letter`,
    with the option whose `text` is most often right in other questions, with the `longest` option.
    """
    letters = Counter(entry.answer for entry in entries)
    right = Counter(entry.options[LETTERS.index(entry.answer)] for entry in entries)
    found: dict[str, list[float]] = {"chance": [], "letter": [], "text": [], "longest": []}
    for entry in entries:
        place = LETTERS.index(entry.answer)
        by_letter = [letters[letter] for letter in LETTERS[: len(entry.options)]]
        by_text = [right[text] - (number == place) for number, text in enumerate(entry.options)]
        found["chance"].append(1 / len(entry.options))
        for name, scores in (("letter", by_letter), ("text", by_text), ("longest", list(map(len, entry.options)))):
            found[name].append((scores[place] == max(scores)) / scores.count(max(scores)))
    return found


def check_blind(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Findings, and a table: what guessing without the picture reaches in each language, and in which categories."""
    table = ["| without the picture | chance | letter | text | longest |", "|---" * 5 + "|"]
    findings = []
    for language in dict.fromkeys(entry.language for entry in entries):
        asked = [entry for entry in entries if entry.language == language]
        groups = {language: asked}
        groups |= {
            f"{category} in {language!r}": [entry for entry in asked if entry.category == category]
            for category in dict.fromkeys(entry.category for entry in asked)
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


def check_duplicates(entries: Sequence[Entry]) -> list[str]:
    """Questions that are asked twice about the same picture."""
    asked: dict[tuple[str, bytes, str], list[str]] = defaultdict(list)
    for entry in entries:
        asked[entry.language, hashlib.sha256(entry.image).digest(), entry.question].append(entry.index)
    return [
        f"The same question is asked about the same picture in {language!r}: indices {_some(indices)}."
        for (language, _, _), indices in asked.items()
        if len(indices) > 1
    ]


def _fingerprints(image: PILImage.Image) -> tuple[bytes, np.ndarray]:
    """A hash of the pixels, and a difference hash: which of 16 x 16 parts are darker than their right neighbours."""
    pixels = image.convert("RGB")
    small = np.asarray(pixels.convert("L").resize((HASH_SIZE + 1, HASH_SIZE), PILImage.Resampling.BILINEAR), dtype=int)
    return hashlib.sha256(pixels.tobytes() + repr(pixels.size).encode()).digest(), np.packbits(
        small[:, 1:] > small[:, :-1]
    )


def check_train(entries: Sequence[Entry], train: Iterable[dict[str, Any]]) -> list[str]:
    """Pictures, and questions with their answers, that training has, too."""
    pictures = {entry.image: entry.index for entry in entries}
    prints = {index: _fingerprints(PILImage.open(io.BytesIO(image))) for image, index in pictures.items()}
    hashes = np.stack([near for _, near in prints.values()])  # (P, 32)
    exact = {pixels: index for index, (pixels, _) in prints.items()}
    indices, same, near, texts = list(prints), set(), set(), set()
    for row in tqdm(train, desc="training rows"):
        for image in row.get("images") or []:
            pixels, hashed = _fingerprints(image)
            if pixels in exact:
                same.add(exact[pixels])
            differ = np.unpackbits(hashes ^ hashed, axis=1).sum(axis=1)
            near |= {indices[place] for place in np.nonzero(differ <= NEAR)[0]}
        turns = [turn["content"] for turn in row["messages"]]
        texts |= {(question, answer) for question, answer in itertools.pairwise(turns)}
    asked = [entry.place for entry in entries if (entry.question, entry.options[LETTERS.index(entry.answer)]) in texts]
    return [
        f"{len(found)} of {len(whole)} {what}: {_some(sorted(found))}"
        for found, whole, what in (
            (same, pictures, "pictures are in the training data, pixel by pixel"),
            (
                near - same,
                pictures,
                f"pictures have nearly a training picture's difference hash (to {NEAR} bits of 256)",
            ),
            (
                asked,
                entries,
                "questions are asked and answered in the same words in training (of other pictures, perhaps)",
            ),
        )
        if found
    ]


def build(
    entries: Sequence[Entry], output: Path, name: str, train: Iterable[dict[str, Any]] | None = None
) -> list[Path]:
    """
    Writes a benchmark's files and its report, NAME_report.md.

    Args:
        entries: all languages' questions.
        output: folder of the files.
        name: what the files' names begin with.
        train: rows with `messages` and `images` that models are trained on.

    Returns:
        the TSV files.

    Raises:
        `ValueError`: if there is nothing to write, an index is used twice or an option given twice.
    """
    if not entries:
        raise ValueError(f"There are no rows to make {name!r} of.")
    if errors := find_errors(entries):
        raise ValueError(f"{len(errors)} errors, to be mended in the rows:\n" + "\n".join(errors[: 4 * LISTED]))
    files = write_files(entries, output, name)
    blind, table = check_blind(entries)
    checks = {
        "Parallel in all languages": check_parallel(entries),
        "Letters of the answers even": check_letters(entries),
        "No better without the picture than by chance": blind,
        "No question twice": check_duplicates(entries),
    }
    if train is not None:
        checks["Nothing of it in training"] = check_train(entries, train)
    counts = Counter(entry.language for entry in entries)
    lines = [f"# {name}: {', '.join(f'{count} questions in {language}' for language, count in counts.items())}", ""]
    for title, findings in checks.items():
        lines += [f"## {title}: {'yes' if not findings else f'{len(findings)} findings'}", ""]
        lines += [f"- {finding}" for finding in findings] + [""] * bool(findings)
    lines += [*table, "", f"(in percent; told of beyond {DEVIATIONS:.0f} deviations of chance)"]
    (output / f"{name}_report.md").write_text("\n".join(lines) + "\n")
    return files


def main(arguments: BuildArguments) -> None:
    """Builds, prints the report and names the files."""
    train = load_dataset(arguments.train, split="train") if arguments.train else None
    files = build(list(read_entries(arguments)), Path(arguments.output), arguments.name, train)
    report = Path(arguments.output) / f"{arguments.name}_report.md"
    print(report.read_text())
    print(f"Written: {', '.join(map(str, [*files, report]))}")


if __name__ == "__main__":
    parser = HfArgumentParser(BuildArguments, description=__doc__, formatter_class=HelpFormatter)
    try:
        main(parser.parse_args_into_dataclasses()[0])
    except ValueError as error:
        sys.exit(str(error))
