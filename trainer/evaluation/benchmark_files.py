# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Reads a benchmark's questions, from TSV files of MMMB's and MMBench's format on the Hub or in a folder, and the answers
of other programs. Prompts are worded as in the reference's wrapper for VLMEvalKit.
"""

import base64
import binascii
import csv
import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas
from huggingface_hub import hf_hub_download
from PIL import ImageFile

from trainer.common.pictures import open_picture
from trainer.common.sources import check_source
from trainer.evaluation import kaleidoscope
from trainer.languages import FOLDER, MMMB, check_language_in_name, entries, language_in_name


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INSTRUCTIONS = entries("instruction")
HUB = "AIDC-AI/Parrot-dataset"
PUBLISHED = {"mmmb": "mmmb/mmmb_{language}.tsv", "mmbench": "mmbench/mmbench_dev_{language}.tsv"}
MINI_MMMB = "data/mini-mmmb/mini_mmmb_{language}.tsv"
# The published files' hashes, as VLMEvalKit lists them. The files' names have "cn" for Chinese.
MD5 = {
    "mmmb_ar.tsv": "f3a18b6385f1d9701840aa42de27aead",
    "mmmb_cn.tsv": "13ed82fa89730037292fcaa27f08f430",
    "mmmb_en.tsv": "1cd781a71ec5a2983c090b84105d6a01",
    "mmmb_pt.tsv": "548ea2b3bb2da991790386f0015d30d1",
    "mmmb_ru.tsv": "ce1cc8a0533425ab0d86b326ebfc2984",
    "mmmb_tr.tsv": "0733739d43090327975294292bc5cd67",
    "mmbench_dev_ar.tsv": "4271b4a0d0200e1a86380a878e0d64a4",
    "mmbench_dev_cn.tsv": "2ed5135326fed02c8e51ea50dda8222f",
    "mmbench_dev_en.tsv": "d9ab776fc018b3d45785e9a5c23431c2",
    "mmbench_dev_pt.tsv": "4ddfbcd27ef12444b908c03831cd0295",
    "mmbench_dev_ru.tsv": "5ba1171ff2e68f80637bf78349e402a5",
    "mmbench_dev_tr.tsv": "4fab39d501389d3d6cc90264bb708f11",
}
ROTATION = 1_000_000  # index + k * ROTATION is the same question with its options shifted by k places
LONGEST_REFERENCE = 64  # an image cell of at most 64 characters is another row's index, as in VLMEvalKit
LONGEST_LINE = 76  # characters of a line in base64 with line breaks (RFC 2045); a longer line is a whole picture
EMPTY_CELLS = {"", "nan", "NaN"}  # pandas writes an empty cell as NaN


@dataclass(frozen=True)
class Question:
    """
    A row of a benchmark.

    Args:
        index: unique in its language. A rotation has its question's index plus a multiple of `ROTATION`.
        image: in base64.
        options: texts by letter; a letter may be missing.
        matched_options: the options as VLMEvalKit's matcher reads them, see `read_benchmark`.
        place: file and line, for errors.
        in_training: the name of a training set that has the picture or nearly the same one; "" if it does not, None if
            this is not known.
    """

    index: str
    language: str
    image: str = field(repr=False)
    text: str
    options: dict[str, str]
    answer: str
    category: str = "all"
    l2_category: str = ""
    hint: str = ""
    matched_options: dict[str, str] = field(default_factory=dict)
    place: str = ""
    in_training: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Language and index, which are unique in a benchmark."""
        return self.language, self.index

    @property
    def open_prompt(self) -> str:
        """The question with its hint, without the options."""
        return f"{self.hint}\n{self.text}" if self.hint else self.text

    @property
    def prompt(self) -> str:
        """
        The prompt of the reference's wrapper. One deviation: the instruction depends on the language alone. The
        reference also uses the Chinese instruction if a prompt contains a Chinese character. A language without an
        instruction gets the English one, as in the reference, and a warning says so.
        """
        if self.language not in INSTRUCTIONS:
            warnings.warn(
                f"{FOLDER / self.language}.json has no instruction, so the English one is used. Add an instruction, "
                "or score options by their text, which needs none."
            )
        options = "".join(f"\n{letter}. {text}" for letter, text in self.options.items())
        return f"{self.open_prompt}{options}\n{INSTRUCTIONS.get(self.language, INSTRUCTIONS['en'])}"


def find_benchmark(
    names: Sequence[str], languages: Sequence[str] | None, revision: str, fallback: str | None = None
) -> dict[str, Path]:
    """
    Finds the files of a benchmark, by language.

    Args:
        names: "mmmb", "mmbench", "kaleidoscope", "mini-mmmb", a parquet file of Kaleidoscope's format, a name of TSV
            files with {language} in the place of the language, or several TSV files, one for each language.
        languages: in the order of the files; if None, the six of MMMB, all of the parquet file, or the languages at
            the end of the files' names.
        revision: commit of the data set on the Hub.
        fallback: the language of a single file if its name does not end with one; if None, such a name is an error.

    Raises:
        `ValueError`: if a file is missing, or if its language is unknown.
    """
    if len(names) == 1 and names[0] in PUBLISHED:
        return _download(names[0], languages or MMMB, revision)
    if names[0] == "kaleidoscope" or names[0].endswith(".parquet"):
        return _find_kaleidoscope(names, languages, revision)
    names = [MINI_MMMB if name == "mini-mmmb" else name for name in names]
    if len(names) == 1 and "{language}" in names[0]:
        files = {language: Path(names[0].format(language=language)) for language in languages or MMMB}
    else:
        for name in names:
            if not Path(name).is_file():
                raise ValueError(f"There is no benchmark file {name}.{_advice_on_name(name)}")
        languages = languages or [_language_of(Path(name), fallback if len(names) == 1 else None) for name in names]
        if len(set(languages)) != len(names):
            raise ValueError(
                f"--benchmark has {len(names)} files {list(names)} for the languages {list(languages)}: give one file "
                "for each language, in the order of --languages, or one name with {language} in it."
            )
        files = dict(zip(languages, map(Path, names), strict=True))
        for language, file in files.items():
            check_language_in_name(file, language, "--languages")
    for language, file in files.items():
        if not file.is_file():
            raise ValueError(f"There is no benchmark file {file}.{_advice(names[0], language)}")
    return files


def _download(name: str, languages: Sequence[str], revision: str) -> dict[str, Path]:
    if unknown := [language for language in languages if language not in MMMB]:
        raise ValueError(f"{name} has no {unknown[0]!r}: give --languages of {', '.join(MMMB)}.")
    check_source(HUB, f"--benchmark {name}", "dataset", revision)
    files = {}
    for language in languages:
        file = PUBLISHED[name].format(language="cn" if language == "zh" else language)
        files[language] = Path(hf_hub_download(HUB, file, repo_type="dataset", revision=revision))
    return files


def _find_kaleidoscope(names: Sequence[str], languages: Sequence[str] | None, revision: str) -> dict[str, Path]:
    """Returns the same file for every language."""
    if len(names) > 1:
        raise ValueError(
            f"--benchmark has {len(names)} names, {list(names)}: {names[0]} holds all its languages, so give it alone."
        )
    file = kaleidoscope.download(revision) if names[0] == "kaleidoscope" else Path(names[0])
    if not file.is_file():
        raise ValueError(f"There is no benchmark file {file}.")
    known = kaleidoscope.languages_in(file)
    if unknown := [language for language in languages or [] if language not in known]:
        raise ValueError(f"{names[0]} has no {unknown[0]!r}: give --languages of {', '.join(known)}.")
    return dict.fromkeys(languages or known, file)


def _advice(name: str, language: str) -> str:
    """Advice for a file that does not exist; "" if there is none."""
    if name == MINI_MMMB and not Path(name).parent.is_dir():
        return f" Build it: python -m trainer.mini_mmmb --output {Path(name).parent}."
    beside = sorted(file.name for file in Path(name).parent.glob(Path(name).name.replace("{language}", "*")))
    if not beside or "{language}" not in name:
        return ""
    return f" There is none for {language!r} among {', '.join(beside)}: give --languages."


def _advice_on_name(name: str) -> str:
    """Advice for a name that is neither a file nor a published benchmark; "" if there is none."""
    if Path(name).is_dir():
        return f" It is a folder: give its files, as in {Path(name, 'name_{language}.tsv')}."
    if "{" in name:
        return " Write {language} in the place of the language."
    close = get_close_matches(name, [*PUBLISHED, "kaleidoscope", "mini-mmmb"], n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _language_of(file: Path, fallback: str | None) -> str:
    language = language_in_name(file) or fallback
    if language is None:
        raise ValueError(
            f"The name of {file} does not end with a known language, as in _en.tsv: give the language by --languages."
        )
    return language


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def warn_of_another_edition(file: Path) -> None:
    """Warns if a file has the name of a published benchmark file but another content."""
    if not (published := MD5.get(file.name.lower())):
        return
    with file.open("rb") as content:
        own = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if own != published:
        warnings.warn(
            f"{file} has the MD5 {own}, but the published {file.name.lower()} has {published}: this is another "
            "edition, and its results may differ from published results."
        )


def read_benchmark(file: Path, language: str, needs_images: bool = True) -> list[Question]:
    """
    Reads questions from a parquet file of Kaleidoscope's format or from a TSV file. The TSV file has the columns
    index, image (base64, or the index of the row with the image), question, A, B, ... up to Z, answer and, optionally,
    hint, category and l2-category.

    VLMEvalKit reads options with pandas. pandas turns words such as "None" or "NA" into missing values and may change
    numbers. A question keeps its options as they are written; `matched_options` holds what pandas reads, because
    VLMEvalKit's matcher looks for an answer there. A warning says if the two differ.

    Args:
        language: the language of the questions.
        needs_images: whether a row without an image is an error.

    Raises:
        `ValueError`: if a cell cannot be read; it names the file, the line and the column.
    """
    questions: list[Question] = []
    lines_of: dict[str, int] = {}
    is_kaleidoscope = file.suffix == ".parquet"
    for row, line in kaleidoscope.read_exams(file, language, needs_images) if is_kaleidoscope else _rows(file):
        place = f"{file}, {'row' if is_kaleidoscope else 'line'} {line}"
        question = _question(row, language, place, needs_images)
        if question.index in lines_of:
            raise ValueError(
                f"{question.place}: line {lines_of[question.index]} has the index {question.index!r}, too. Change one."
            )
        lines_of[question.index] = line
        questions.append(question)
    if not questions:
        raise ValueError(f"{file} holds no rows. Give a benchmark's TSV file.")
    if needs_images:
        questions = _with_images(questions)
    if is_kaleidoscope:  # VLMEvalKit does not read these files
        return [replace(question, matched_options=question.options) for question in questions]
    return _with_matched_options(questions, file)


def _rows(file: Path, delimiter: str = "\t", is_strict: bool = False) -> Iterator[tuple[dict[str, Any], int]]:
    """
    Reads rows, each with the number of its last line. Missing cells of a short row are None.

    Args:
        is_strict: whether an opening quote without a closing one is an error. VLMEvalKit's reader accepts it.
    """
    csv.field_size_limit(2**31 - 1)
    line = 0
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=is_strict)
        try:
            names = reader.fieldnames or []
            if len(set(names)) < len(names):
                raise ValueError(f"{file}: two columns have the same name, {names}. Rename one.")
            for row in reader:
                yield row, (line := reader.line_num)
        except (UnicodeDecodeError, csv.Error) as error:
            kind = "TSV" if delimiter == "\t" else "CSV"
            raise ValueError(f"{file}, after line {line}: {error}. Save it as a {kind} in UTF-8.") from error


def open_image(question: Question) -> ImageFile.ImageFile:
    """
    Opens a question's picture.

    Raises:
        `ValueError`: if the picture cannot be read; it names the row.
    """
    return open_picture(base64.b64decode(question.image), f"{question.place or question.key}: the image")


def picture_ids(questions: Sequence[Question]) -> dict[tuple[str, str], str]:
    """Returns an id of each question's picture. Equal pictures have one id; without pictures, each index has one."""
    images = {question.key: question.image for question in questions}
    pictures = {}
    for key, image in images.items():
        if len(image) <= LONGEST_REFERENCE:  # `read_benchmark` resolves references only if images are needed
            image = images.get((key[0], image), image)
        pictures[key] = hashlib.sha256(image.encode()).hexdigest()[:16] if image else f"of {key[1]}"
    return pictures


def first_of_each_category(questions: Sequence[Question], number: int) -> list[Question]:
    """Returns the first `number` questions of each category, with their rotations."""
    first: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        if len(first[question.category]) < number:
            first[question.category].add(base_index(question.index))
    return [question for question in questions if base_index(question.index) in first[question.category]]


def _question(row: dict[str, Any], language: str, place: str, needs_image: bool) -> Question:
    if None in row or None in row.values():
        raise ValueError(f"{place}: the row has more or fewer cells than the header. Repair it.")
    needed = ["index", *["image"] * needs_image, "question", "answer"]
    missing = [name for name in needed if row.get(name, "") in EMPTY_CELLS]
    if missing:
        raise ValueError(f"{place}: the column {missing[0]!r} is empty or missing. Repair it.")
    letters = takewhile(row.__contains__, LETTERS)  # a column N after D is no option
    options = {letter: row[letter] for letter in letters if row[letter] not in EMPTY_CELLS}
    if len(options) < 2:
        raise ValueError(f"{place}: there are fewer than two options, {options}. Repair it.")
    if row["answer"] not in options:
        raise ValueError(
            f"{place}: the answer {row['answer']!r} is no letter of its options {list(options)}. Repair it."
        )
    return Question(
        index=row["index"],
        language=language,
        image=row.get("image", ""),
        text=row["question"],
        options=options,
        answer=row["answer"],
        category=row.get("category") or "all",
        l2_category=row.get("l2-category") or "",
        hint="" if row.get("hint", "") in EMPTY_CELLS else row["hint"],
        place=place,
    )


def _with_images(questions: list[Question]) -> list[Question]:
    images = {question.index: question.image for question in questions}
    complete = []
    for question in questions:
        image = question.image
        if len(image) <= LONGEST_REFERENCE:
            image = images.get(image, "")
            if len(image) <= LONGEST_REFERENCE:
                raise ValueError(
                    f"{question.place}: the image column names the index {question.image!r}, but no row with that "
                    "index has an image in base64. Repair it."
                )
        lines = image.split()
        image = "".join(lines)
        try:
            if len(lines) > 1 and max(map(len, lines)) > LONGEST_LINE:
                raise binascii.Error("several texts")
            base64.b64decode(image, validate=True)
        except binascii.Error as error:
            # VLMEvalKit writes several pictures as a list. A lenient decoder would read only the first of them.
            raise ValueError(
                f"{question.place}: the image column begins with {image[:20]!r} and is not one image file in base64. "
                "A question has one picture: join several pictures into one, or leave the row out."
            ) from error
        complete.append(replace(question, image=image))
    return complete


def _with_matched_options(questions: list[Question], file: Path) -> list[Question]:
    try:
        table = pandas.read_csv(file, sep="\t", usecols=list(LETTERS).__contains__, encoding="utf-8-sig")
    except ValueError as error:  # pandas' ParserError is a ValueError, too
        raise ValueError(f"{file} cannot be read: {_in_one_line(error)}. Repair it.") from error
    if len(table) != len(questions):
        raise ValueError(
            f"{file} has {len(questions)} rows, but VLMEvalKit reads {len(table)}. Look for an unclosed quote."
        )
    rows = [
        {letter: str(text) for letter, text in zip(table.columns, row, strict=True) if not pandas.isna(text)}
        for row in table.itertuples(index=False)
    ]
    matched = [
        replace(question, matched_options=dict(sorted(row.items())))
        for question, row in zip(questions, rows, strict=True)
    ]
    differ = [question for question in matched if question.matched_options != question.options]
    if differ:
        first = differ[0]
        warnings.warn(
            f"{file}: VLMEvalKit reads the options of {len(differ)} rows differently from how they are written, so "
            f"its exact matching may miss an answer. In the first of these rows, {first.place}, it reads "
            f"{first.options} as {first.matched_options}."
        )
    return matched


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def training_file(folder: Path, name: str) -> Path:
    """Returns the file in which `trainer.build_benchmark` lists the questions whose pictures are in training data."""
    return folder / f"{name}_in_training.json"


def with_in_training(questions: list[Question], file: Path, language: str) -> list[Question]:
    """
    Sets `in_training` of a file's questions. It stays None if `trainer.build_benchmark` has not compared this edition
    of the file with training data.
    """
    record_file = training_file(file.parent, file.stem.rpartition("_")[0])
    if not record_file.is_file():
        return questions
    record = json.loads(record_file.read_text(encoding="utf-8"))
    if record["sha256"].get(language) != sha256(file):
        return questions
    name, indices = record["training_data"], set(record["indices"][language])
    return [replace(question, in_training=name if question.index in indices else "") for question in questions]


def base_index(index: str) -> str:
    """Returns the index of the question that a rotation repeats; any other index is returned as it is."""
    return str(int(index) % ROTATION) if index.isdecimal() and int(index) >= ROTATION else index


def read_answers(file: Path, language: str, has_several_languages: bool = False) -> dict[str, str]:
    """
    Reads the answers in one language, by index.

    Args:
        file: a .tsv, .csv, .xlsx or .jsonl with `index` and `prediction`. If it has a column `language`, only the rows
            of `language` are read.
        has_several_languages: whether the file holds answers in several languages; it then needs a column `language`.

    Raises:
        `ValueError`: if the file cannot be read; it names the file and the row.
    """
    rows = read_rows(file)
    if not rows:
        raise ValueError(f"{file} holds no rows. Give a table with index and prediction.")
    answers: dict[str, str] = {}
    for number, row in enumerate(map(_with_own_index, rows), start=1):
        for name in ("index", "prediction"):
            if name not in row:
                raise ValueError(f"{file}, row {number}: there is no column {name!r} among {list(row)}.")
        if has_several_languages and "language" not in row:
            raise ValueError(
                f"{file}, row {number}: there is no column 'language', but several languages are scored. Add the "
                "column, or give a file for each language."
            )
        if row.get("language", language) != language:
            continue
        index, prediction = str(row["index"]), row["prediction"]
        if not isinstance(prediction, str):
            raise ValueError(
                f"{file}, row {number}: the prediction {prediction!r} is not a text. Write it as a string."
            )
        if index in answers:
            raise ValueError(f"{file}, row {number}: the index {index!r} is answered twice. Leave one answer.")
        answers[index] = prediction
    return answers


def _with_own_index(row: dict[str, Any]) -> dict[str, Any]:
    """
    Restores the index and the language of a row's question. VLMEvalKit numbers the six files of MMMB consecutively. It
    keeps a question's own index, and the name of its file such as MMMB_cn, in two more columns (`ConcatDataset` in
    vlmeval/dataset/__init__.py).
    """
    if not {"SUB_DATASET", "original_index"} <= row.keys():
        return row
    return row | {"index": row["original_index"], "language": _language_of(Path(row["SUB_DATASET"]), None)}


def read_rows(file: Path) -> list[dict[str, Any]]:
    """
    Reads the rows of a .tsv, .csv, .xlsx (all cells as text) or .jsonl.

    Raises:
        `ValueError`: if the file cannot be read; it names the file.
    """
    if not file.is_file():
        raise ValueError(f"There is no file {file}.")
    if file.suffix == ".jsonl":
        return _read_json_lines(file)
    if file.suffix == ".xlsx":
        return _read_excel(file)
    if file.suffix in (".tsv", ".csv"):
        rows = list(_rows(file, "\t" if file.suffix == ".tsv" else ",", is_strict=True))
        for row, line in rows:
            if None in row:
                raise ValueError(f"{file}, line {line}: the row has more cells than the header. Repair it.")
        return [row for row, _ in rows]
    raise ValueError(f"{file} is none of .tsv, .csv, .xlsx and .jsonl: convert it.")


def _read_json_lines(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # texts may contain other line separators
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}. Save it in UTF-8.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
                json.dumps(rows[-1], ensure_ascii=False).encode()  # a lone surrogate cannot be written again
            except ValueError as error:
                raise ValueError(
                    f"{file}, line {number}: the line is not JSON ({error}): {line[:200]!r}. Repair it."
                ) from error
            if not isinstance(rows[-1], dict):
                raise ValueError(f"{file}, line {number}: the line is not a JSON object: {line[:200]!r}. Repair it.")
    return rows


def _read_excel(file: Path) -> list[dict[str, Any]]:
    try:
        # Excel stores an answer "=A" as a formula without a value, so formulas are read as well as values.
        shown, written = (
            pandas.read_excel(file, dtype=str, keep_default_na=False, engine_kwargs={"data_only": data_only})
            for data_only in (True, False)
        )
    except ImportError as error:
        raise ValueError(f"{file} needs openpyxl: pip install openpyxl.") from error
    except Exception as error:  # pandas, openpyxl and zipfile raise errors of their own that do not name the file
        raise ValueError(f"{file} cannot be read: {_in_one_line(error)}. Save it as .xlsx anew.") from error
    shown = shown.reindex_like(written).fillna("")
    return shown.where(shown != "", written).to_dict("records")
