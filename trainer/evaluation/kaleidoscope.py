# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Reads the exams of Kaleidoscope (Salazar et al., 2025, arXiv 2504.07072). One parquet file holds all its 18 languages;
the column `image` names files in a folder beside it, or in `data.zip`.
"""

import base64
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase

import pandas
from huggingface_hub import hf_hub_download

from trainer.common.sources import check_source


HUB = "CohereLabs/kaleidoscope"
FILE = "data/train-00000-of-00001.parquet"
PICTURES = "data.zip"
INSIDE = "final_data/"  # the folder of the pictures in the archive
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # An option that ends with one of these is a picture.


def download(revision: str) -> Path:
    """Downloads the questions and the pictures; returns the path of the questions."""
    check_source(HUB, "--benchmark kaleidoscope", "dataset", revision)
    for name in (PICTURES, FILE):
        file = hf_hub_download(HUB, name, repo_type="dataset", revision=revision)
    return Path(file)


def languages_in(file: Path) -> list[str]:
    """
    The languages of a file, in its order.

    Raises:
        `ValueError`: if it is not a file of Kaleidoscope.
    """
    return list(dict.fromkeys(_read(file)["language"]))


def read_exams(file: Path, language: str, needs_images: bool) -> Iterator[tuple[dict[str, str], int]]:
    """
    Yields the questions of a language as rows with MMMB's columns, each with the number of its row in the file, which
    is also its index. A warning counts the questions that are left out: they have no picture, or options that are
    pictures.

    Raises:
        `ValueError`: if a picture is missing.
    """
    folders = (file.parent, file.parent.parent)
    archives = [folder / PICTURES for folder in folders if (folder / PICTURES).is_file()]
    archive = zipfile.ZipFile(archives[0]) if archives else None
    left_out = 0
    for number, row in enumerate(_read(file).to_dict("records")):
        if row["language"] != language:
            continue
        options = list(map(str, row["options"]))
        if not row["image"] or any(option.lower().endswith(SUFFIXES) for option in options):
            left_out += 1
            continue
        answer, image = int(row["answer"]), row["image"]
        if needs_images:
            image = base64.b64encode(_read_picture(image, folders, archive, f"{file}, row {number}")).decode()
        yield (
            {
                "index": str(number),
                "image": image,
                "question": row["question"].replace("<image>", "").strip(),  # as the authors of Kaleidoscope do
                **dict(zip(ascii_uppercase, options, strict=False)),
                "answer": ascii_uppercase[answer] if 0 <= answer < len(options) else str(answer),
                "category": row["category_en"],
                "l2-category": row["general_category_en"],
            },
            number,
        )
    if left_out:
        warnings.warn(
            f"{file}: {left_out} questions in {language!r} have no picture, or options that are pictures: left out."
        )


def _read(file: Path) -> pandas.DataFrame:
    columns = ["language", "question", "options", "answer", "image", "category_en", "general_category_en"]
    try:
        return pandas.read_parquet(file, columns=columns).fillna({"image": ""})
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is not a parquet file with Kaleidoscope's columns {columns}: {reason}") from error


def _read_picture(name: str, folders: Sequence[Path], archive: zipfile.ZipFile | None, place: str) -> bytes:
    """Reads a picture from one of the folders, or from the archive."""
    if ".." not in Path(name).parts:
        for folder in folders:
            if (folder / name).is_file():
                return (folder / name).read_bytes()
        for member in (INSIDE + name, name):
            if archive and member in archive.NameToInfo:
                return archive.read(member)
    raise ValueError(
        f"{place}: there is no picture {name!r} in {folders[-1]} nor in its {PICTURES}. Put the picture or the "
        "archive into this folder."
    )
