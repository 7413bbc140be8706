# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Turns LLaVA-style conversation files into a data set, for `python -m trainer.convert_llava`."""

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from datasets import Dataset, Features, Value

from trainer.common.pictures import open_picture
from trainer.common.sources import check_output
from trainer.convert_llava import ConvertArguments
from trainer.training.training_rows import SCHEMA


ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
IMAGE_MARK = "<image>"
UNREAD = ("images", "video", "videos", "audio", "audios")  # Keys that are not read: a row that has one is an error.
FEATURES = Features({"id": Value("string")} | {name: SCHEMA[name] for name in ("messages", "images", "language")})


def stream_array(file: TextIO, chunk: int = 1 << 16) -> Iterator[Any]:
    """
    Yields the elements of a JSON array. Only one element and a chunk of the file are in memory. ijson is not used for
    this, because its default back end silently replaces a lone surrogate (half of a character) by "?", and silently
    gives no rows if the file holds an object instead of an array.

    Raises:
        `ValueError`: if the file holds anything but one JSON array in UTF-8.
    """
    decoder, text, index = json.JSONDecoder(), _read(file, chunk).lstrip("\ufeff \t\r\n"), 0
    if not text.startswith("["):
        raise ValueError(
            f"{file.name} does not begin with '[': give a file with one JSON array of rows. Put JSON lines into one."
        )
    text = text[1:]
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]"):
            break
        try:
            value, end = decoder.raw_decode(text)
            if text[end:].lstrip(" \t\r\n")[:1] not in (",", "]"):
                raise ValueError(f"no comma after {text[max(0, end - 20) : end]!r}")  # or it is not read yet
        except (ValueError, RecursionError) as error:
            more = _read(file, max(chunk, len(text)))
            if not more:
                raise ValueError(f"{file.name}, row {index}: not JSON ({error}). Repair the file.") from error
            text += more
            continue
        yield value
        text, index = text[end:], index + 1
    text = text[1:]
    while not text.strip(" \t\r\n"):
        text = _read(file, chunk)
        if not text:
            return
    raise ValueError(
        f"{file.name}: after the array of {index} rows comes {text.strip()[:20]!r}. Give each array as a file of its "
        "own: --json a.json b.json."
    )


def _read(file: TextIO, size: int) -> str:
    try:
        return file.read(size)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name} is not in UTF-8 ({error}). Save it in UTF-8.") from error


def split_marks(value: str) -> list[dict[str, str | None]]:
    """
    Splits the text of a turn into parts: the images first, then the text without its marks. A text with marks is also
    stripped at its ends, as in the reference code (parrot/train/data.py); a line break at a mark within it stays.
    """
    images = value.count(IMAGE_MARK)
    text = value.replace(IMAGE_MARK, "").strip() if images else value
    return [{"type": "image", "text": None}] * images + [{"type": "text", "text": text}]


def convert_row(row: Any, find: Callable[[str], Path], language: str, copy_images: bool) -> dict[str, Any]:
    """
    Converts a row to the features of the data set.

    Args:
        find: gives the path of an image by its name in the row, see `find_image`.

    Raises:
        `ValueError`: if the row cannot be used; the message says why.
    """
    if not isinstance(row, dict) or not isinstance(row.get("conversations"), list) or not row["conversations"]:
        raise ValueError("it has no list of conversations")
    if unread := [name for name in UNREAD if row.get(name)]:
        raise ValueError(f"it has {unread[0]!r}, but only 'image' is read")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds half of a character, {error.object[error.start : error.end]!r}") from error
    messages: list[dict[str, Any]] = []
    expected: tuple[str, ...] = ("system", "user")
    for number, turn in enumerate(row["conversations"]):
        name = turn.get("from") if isinstance(turn, dict) else None
        role = ROLES.get(name) if isinstance(name, str) else None
        if role not in expected or not isinstance(turn.get("value"), str):
            raise ValueError(f"turn {number} is {turn!r:.200}, not text from {' or '.join(expected)}")
        content = split_marks(turn["value"])
        if role == "assistant" and (len(content) > 1 or not (content[0]["text"] or "").strip()):
            raise ValueError(f"turn {number} is an answer that is empty or shows an image")
        messages.append({"role": role, "content": content})
        expected = ("assistant",) if role == "user" else ("user",)
    if expected != ("user",):
        raise ValueError("it does not end with an answer")

    names = row.get("image") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its image {names!r:.200} is neither a path nor a list of paths")
    marks = sum(part["type"] == "image" for message in messages for part in message["content"])
    if marks != len(names):
        raise ValueError(f"it has {marks} {IMAGE_MARK} marks and {len(names)} images")
    images = [
        {"bytes": find(name).read_bytes(), "path": name} if copy_images else {"bytes": None, "path": str(find(name))}
        for name in names
    ]
    return {"id": str(row.get("id", "")), "messages": messages, "images": images, "language": language}


def find_image(name: str, image_dir: Path) -> Path:
    """
    The path of a row's picture. Symbolic links are followed, because image folders are often made of them.

    Raises:
        `ValueError`: if the name leads out of the folder, or if it is not the name of a readable picture.
    """
    normalized = os.path.normpath(name)
    if os.path.isabs(normalized) or normalized.split(os.sep)[0] == os.pardir:
        raise ValueError(f"its image {name!r} lies outside {image_dir}")
    path = image_dir.absolute() / normalized  # os.path.abspath would resolve a `..` after a symbolic link wrongly
    if not os.path.isfile(path):  # Path.is_file would raise an OSError for a name that is too long
        raise ValueError(f"its image {name!r} is not in {image_dir}: there is no such file")
    open_picture(path, f"its image {name!r}")
    return path


def convert_files(args: ConvertArguments) -> Iterator[dict[str, Any]]:
    """
    The rows of all files, one at a time.

    Raises:
        `ValueError`: for the first unusable row, unless `bad_rows` is set.
    """

    @cache  # in LLaVA's data, each picture is in two rows
    def find(name: str) -> Path:
        return find_image(name, Path(args.image_dir))

    # backslashreplace writes a lone surrogate as JSON escapes it.
    with Path(args.bad_rows or os.devnull).open("w", encoding="utf-8", errors="backslashreplace") as aside:
        for name, language in zip(args.json, args.languages(), strict=True):
            with Path(name).open(encoding="utf-8") as file:
                for index, row in enumerate(stream_array(file)):
                    try:
                        yield convert_row(row, find, language, args.copy_images)
                    except ValueError as error:
                        if not args.bad_rows:
                            raise ValueError(
                                f"{name}, row {index}: {str(error).rstrip('.')}. Repair it, or set such rows aside "
                                "with --bad_rows FILE."
                            ) from error
                        bad = {"file": name, "index": index, "error": str(error), "row": row}
                        aside.write(json.dumps(bad, ensure_ascii=False) + "\n")


def main(args: ConvertArguments) -> None:
    """Converts the files and prints the number of rows."""
    check_output(args.output, "--output")
    with TemporaryDirectory() as cache_dir:
        dataset = Dataset.from_generator(
            convert_files, features=FEATURES, cache_dir=cache_dir, gen_kwargs={"args": args}, writer_batch_size=256
        )
        output = Path(args.output) / "data"
        output.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(output / "train-00000-of-00001.parquet", batch_size=256)
    print(f"{args.output}: {len(dataset):,} rows.")
    if args.bad_rows:
        with Path(args.bad_rows).open(encoding="utf-8") as file:
            print(f"{args.bad_rows}: {sum(1 for _ in file):,} rows set aside.")
