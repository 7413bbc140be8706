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
Turns LLaVA-style conversation files, as the paper's data are, into a data set that trainer/sft.py reads:

    python -m trainer.convert_llava --json llava_v1_5_mix665k.json sharegpt4v_zh.json --language en zh \
        --image_dir images --output data/instruct

Each file is one JSON array of rows with `conversations` (`from`: human, gpt or system; `value`) and, where pictures
are shown, `image` (a path below --image_dir, or a list of them) and as many `<image>` marks. Files are streamed, so
their size does not matter; pictures are referred to, not copied, unless asked. A row that cannot be used stops the run
with its file and index, or, with --bad_rows FILE, is set aside there, one JSON line each with what is wrong.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from datasets import Dataset, Features, Image, List, Value
from transformers import HfArgumentParser

from trainer import HelpFormatter


ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
IMAGE_MARK = "<image>"
FEATURES = Features(
    {
        "id": Value("string"),
        "messages": List(
            {"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}
        ),
        "images": List(Image()),
        "language": Value("string"),
    }
)


@dataclass
class ConvertArguments:
    """Arguments of `python -m trainer.convert_llava`."""

    json: list[str] = field(metadata={"help": "Conversation files, each one JSON array."})
    image_dir: str = field(metadata={"help": "Folder that the rows' image paths start from."})
    output: str = field(metadata={"help": "Folder of the data set; parquet files in its data folder."})
    language: list[str] = field(
        default_factory=lambda: ["en"], metadata={"help": "Language of each file, or one for all: en, zh, pt, ..."}
    )
    copy_images: bool = field(default=False, metadata={"help": "Put the pictures into the data set."})
    bad_rows: str | None = field(
        default=None, metadata={"help": "File to set unusable rows aside in; else they stop."}
    )


def stream_array(file: TextIO, chunk: int = 1 << 16) -> Iterator[Any]:
    """
    The elements of a JSON array, one at a time, in the memory of the longest.

    Raises:
        `ValueError`: if the file is not one array of JSON values.
    """
    decoder, text, index = json.JSONDecoder(), file.read(chunk).lstrip("\ufeff \t\r\n"), 0
    if not text.startswith("["):
        raise ValueError(f"{file.name} does not begin with '[': give a file with one JSON array of rows.")
    text = text[1:]
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(text)
            if text[end:].lstrip(" \t\r\n")[:1] not in (",", "]"):
                raise ValueError(f"no comma after {text[max(0, end - 20) : end]!r}")  # or not read yet
        except ValueError as error:
            more = file.read(max(chunk, len(text)))
            if not more:
                raise ValueError(f"{file.name}, row {index}: not JSON ({error}). Repair the file.") from error
            text += more
            continue
        yield value
        text, index = text[end:], index + 1


def split_marks(value: str) -> list[dict[str, str | None]]:
    """A turn's text as parts; images first, each mark with the newline beside it taken out, as the reference does."""
    images = value.count(IMAGE_MARK)
    text = value.replace(IMAGE_MARK + "\n", "").replace("\n" + IMAGE_MARK, "").replace(IMAGE_MARK, "").strip()
    return [{"type": "image", "text": None}] * images + [{"type": "text", "text": text}]


def convert_row(row: Any, image_dir: Path, language: str, copy_images: bool) -> dict[str, Any]:
    """
    A row in the data set's shape.

    Raises:
        `ValueError`: saying what is wrong with it.
    """
    if not isinstance(row, dict) or not isinstance(row.get("conversations"), list) or not row["conversations"]:
        raise ValueError("it has no list of conversations")
    messages, expected = [], ("system", "user")
    for number, turn in enumerate(row["conversations"]):
        role = ROLES.get(turn.get("from")) if isinstance(turn, dict) else None
        if role not in expected or not isinstance(turn.get("value"), str):
            raise ValueError(f"turn {number} is {turn!r:.200}, not text from {' or '.join(expected)}")
        content = split_marks(turn["value"])
        if role == "assistant" and (len(content) > 1 or not content[0]["text"]):
            raise ValueError(f"turn {number} is an answer that is empty or shows an image")
        messages.append({"role": role, "content": content})
        expected = ("assistant",) if role == "user" else ("user",)
    if expected != ("user",):
        raise ValueError("it does not end with an answer")

    names = row.get("image") or []
    names = [names] if isinstance(names, str) else names
    marks = sum(part["type"] == "image" for message in messages for part in message["content"])
    if marks != len(names):
        raise ValueError(f"it has {marks} {IMAGE_MARK} marks and {len(names)} images")
    images = []
    for name in names:
        path = (image_dir / name).resolve()
        if not (path.is_relative_to(image_dir.resolve()) and path.is_file()):
            raise ValueError(f"its image {name!r} is not in {image_dir}")
        images.append(
            {"bytes": path.read_bytes(), "path": name} if copy_images else {"bytes": None, "path": str(path)}
        )
    return {"id": str(row.get("id", "")), "messages": messages, "images": images, "language": language}


def convert_files(args: ConvertArguments) -> Iterator[dict[str, Any]]:
    """
    The rows of all files, one at a time.

    Raises:
        `ValueError`: for the first unusable row, unless they are set aside, and if languages and files do not match.
    """
    languages = args.language * len(args.json) if len(args.language) == 1 else args.language
    if len(languages) != len(args.json):
        raise ValueError(
            f"{len(args.json)} files and {len(args.language)} languages: give one for each, or one for all."
        )
    with Path(args.bad_rows or os.devnull).open("w", encoding="utf-8") as aside:
        for name, language in zip(args.json, languages, strict=True):
            with Path(name).open(encoding="utf-8") as file:
                for index, row in enumerate(stream_array(file)):
                    try:
                        yield convert_row(row, Path(args.image_dir), language, args.copy_images)
                    except ValueError as error:
                        if not args.bad_rows:
                            raise ValueError(
                                f"{name}, row {index}: {error}. Repair it, or set such rows aside by --bad_rows FILE."
                            ) from error
                        bad = {"file": name, "index": index, "error": str(error), "row": row}
                        aside.write(json.dumps(bad, ensure_ascii=False) + "\n")


def main(args: ConvertArguments) -> None:
    """Converts, and says how much."""
    with TemporaryDirectory() as cache:
        dataset = Dataset.from_generator(
            convert_files, features=FEATURES, cache_dir=cache, gen_kwargs={"args": args}, writer_batch_size=256
        )
        output = Path(args.output) / "data"
        output.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(output / "train-00000-of-00001.parquet", batch_size=256)
    print(f"{args.output}: {len(dataset):,} rows.")
    if args.bad_rows:
        with Path(args.bad_rows).open(encoding="utf-8") as file:
            print(f"{args.bad_rows}: {sum(1 for _ in file):,} rows set aside.")


if __name__ == "__main__":
    main(
        HfArgumentParser(
            ConvertArguments, description=__doc__, formatter_class=HelpFormatter
        ).parse_args_into_dataclasses()[0]
    )
