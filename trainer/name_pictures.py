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
Asks a Parrot what pictures show, in every language, and counts its right answers:

    python -m trainer.name_pictures --model models/demo-parrot --data data/emoji --output models/demo-parrot/names

The model is loaded as its users load it: by the pipeline, with the code in its own folder. An answer is right if it is
the data set's, word for word; chance is one concept in all. Writes `names.html`, the pictures with their answers.
"""

import base64
import html
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from PIL import Image
from tqdm.auto import tqdm
from transformers import HfArgumentParser, Pipeline, pipeline


@dataclass
class NamePicturesArguments:
    """Arguments of `python -m trainer.name_pictures`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    data: str = field(
        metadata={"help": "Data set with messages, images, language and concept, as trainer.emoji builds."}
    )
    output: str = field(metadata={"help": "Folder for names.html."})
    splits: list[str] = field(
        default_factory=lambda: ["validation", "test"], metadata={"help": "Splits to ask about."}
    )
    pictures: int = field(default=80, metadata={"help": "Pictures of each split; all its languages are asked."})
    batch_size: int = field(default=32, metadata={"help": "Questions that are answered together."})


def choose(rows: Dataset, pictures: int) -> Dataset:
    """
    The rows of the first pictures of every concept in turn, in all languages.

    Raises:
        `ValueError`: if a picture's rows do not stand together, one of each language.
    """
    languages = list(dict.fromkeys(rows["language"]))
    if rows["language"][:] != languages * (len(rows) // len(languages)):
        raise ValueError(f"The rows are not picture by picture in {languages}: sort them so, as trainer.emoji does.")
    seen, turns = Counter(), []
    for start, concept in enumerate(rows["concept"][:: len(languages)]):
        turns.append((seen[concept], start * len(languages)))
        seen[concept] += 1
    starts = [start for _, start in sorted(turns)[:pictures]]
    return rows.select([start + offset for start in starts for offset in range(len(languages))])


def is_right(row: dict[str, Any], given: str) -> bool:
    """Whether an answer is the data set's, word for word."""
    return given.strip() == row["messages"][1]["content"].strip()


def answer(pipe: Pipeline, rows: Dataset, batch_size: int) -> list[str]:
    """The model's answer to the question of each row."""
    answers = []
    for start in tqdm(range(0, len(rows), batch_size), desc="asking"):
        chats = []
        for row in rows.select(range(start, min(start + batch_size, len(rows)))):
            question = {"type": "text", "text": row["messages"][0]["content"]}
            chats.append([{"role": "user", "content": [{"type": "image", "image": row["images"][0]}, question]}])
        generate_kwargs = {"max_new_tokens": 32, "do_sample": False}
        outputs = pipe(text=chats, batch_size=len(chats), return_full_text=False, generate_kwargs=generate_kwargs)
        answers += [output[0]["generated_text"] for output in outputs]
    return answers


def cell(image: Image.Image) -> str:
    """The picture as an HTML image that needs no file."""
    png = io.BytesIO()
    image.save(png, "PNG")
    return f'<img width="64" src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'


def page(title: str, table: list[str], rows: list[str]) -> str:
    """The report as one HTML page; a browser has the fonts of all six scripts."""
    style = (
        "body{font:15px sans-serif}td{padding:4px 10px;border-bottom:1px solid #ddd}.no{color:#b00}.yes{color:#070}"
    )
    return (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{style}</style>"
        f"<h1>{html.escape(title)}</h1><pre>{html.escape(chr(10).join(table))}</pre><table>{''.join(rows)}</table>"
    )


def main(args: NamePicturesArguments) -> None:
    """Asks, counts, prints and writes the page."""
    pipe = pipeline("image-text-to-text", model=args.model, trust_remote_code=True)
    data = load_dataset(args.data)
    table, report = [], []
    for split in args.splits:
        rows = choose(data[split], args.pictures)
        answers = answer(pipe, rows, args.batch_size)
        right = [is_right(row, given) for given, row in zip(answers, rows, strict=True)]
        languages = list(dict.fromkeys(rows["language"]))
        asked, hits = Counter(rows["language"]), Counter()
        for row, hit in zip(rows, right, strict=True):
            hits[row["language"]] += hit
        concepts = len(set(data[split]["concept"]))
        if not table:
            table.append(
                f"{'split':12} {'styles':34} " + " ".join(f"{language:>7}" for language in languages) + "  chance"
            )
        counts = " ".join(f"{hits[language]:>3}/{asked[language]:<3}" for language in languages)
        table.append(f"{split:12} {', '.join(sorted(set(rows['style']))):34} {counts}  1/{concepts}")
        for start in range(0, len(rows), len(languages)):
            cells = [
                f'<td dir="auto" class="{"yes" if hit else "no"}">{html.escape(given)}</td>'
                for given, hit in zip(answers[start:][: len(languages)], right[start:], strict=False)
            ]
            report.append(f"<tr><td>{cell(rows[start]['images'][0])}<td>{split}{''.join(cells)}</tr>")
    print("\n".join(table))
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "names.html").write_text(page(f"What {args.model} sees", table, report), encoding="utf-8")
    print(f"Pictures and answers: {output / 'names.html'}")


if __name__ == "__main__":
    main(HfArgumentParser(NamePicturesArguments, description=__doc__).parse_args_into_dataclasses()[0])
