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
"""Pictures with parallel questions and answers in six languages, from emoji art: a small world for demos and tests.

    python -m trainer.emoji --output data/emoji

Builds a data set that `datasets.load_dataset` reads back: each picture once per language, the same question in each.
The art of `train` and `validation` (other views) is of four styles; `test` is of a fifth that training never shows, so
that what is measured is recognition, not memory of pixels. The words are the same in all splits. Needs `resvg-py`.
"""

import io
import json
import lzma
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import resvg_py
from datasets import Dataset, Features, Image, List, Value
from datasets.utils import tqdm
from PIL import Image as PILImage
from transformers import HfArgumentParser


DATA = Path(__file__).parent / "emoji_data"
# One table per language: its questions, its way to answer them and its captions. A language needs its names, too.
TEMPLATES: dict[str, dict[str, Any]] = json.loads((DATA / "templates.json").read_text(encoding="utf-8"))
LANGUAGES = tuple(TEMPLATES)
CATEGORIES = tuple(TEMPLATES["en"]["categories"])
QUESTIONS = len(TEMPLATES["en"]["generic"]) + 1  # of a concept: the generic ones and its category's
TRAIN_STYLES = ("noto", "twemoji", "notov1", "emojione")
TEST_STYLES = ("fluent",)
FEATURES = Features(
    {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "images": List(Image()),
        "language": Value("string"),
        "concept": Value("string"),
        "category": Value("string"),
        "style": Value("string"),
    }
)


@dataclass
class EmojiArguments:
    """What to build, and where."""

    output: str = field(metadata={"help": "Folder of the data set."})
    concepts: int = field(default=80, metadata={"help": "Things to name, spread evenly over ten categories."})
    image_size: int = field(default=64, metadata={"help": "Side of the pictures, in pixels."})
    views: int = field(default=4, metadata={"help": "Renders of each concept in each style of train and test."})
    seed: int = field(default=0, metadata={"help": "Decides the concepts, their views and their questions."})


@dataclass(frozen=True)
class Concept:
    """Something that pictures show. `names` is by language, `confusable` holds the emoji it could be taken for."""

    code: str
    emoji: str
    category: str
    names: dict[str, str]
    confusable: frozenset[str]

    @property
    def name(self) -> str:
        """The English name, by which the data set knows the concept."""
        return self.names["en"]

    def is_confusable_with(self, other: "Concept") -> bool:
        """Whether one could be taken for the other, by picture or by name."""
        return (
            other.emoji in self.confusable
            or self.emoji in other.confusable
            or any(self.names[language].casefold() == other.names[language].casefold() for language in LANGUAGES)
        )


def _load(name: str) -> Any:
    with lzma.open(DATA / f"{name}.json.xz", "rt", encoding="utf-8") as file:
        return json.load(file)


@cache
def all_concepts() -> tuple[Concept, ...]:
    """Every concept of the ten categories."""
    return tuple(
        Concept(row["k"], row["e"], row["cat"], row["n"], frozenset(row["conf"]))
        for row in _load("table")
        if row["cat"] in CATEGORIES
    )


@cache
def load_style(style: str) -> dict[str, str]:
    """SVG documents of a style, by code."""
    pack = _load(style)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {namespaces} viewBox="0 0 {pack["width"]} {pack["height"]}">'
    return {code: f"{head}{body}</svg>" for code, body in pack["icons"].items()}


def select_concepts(number: int, seed: int = 0) -> list[Concept]:
    """
    Concepts that every style draws and of which no two are confusable, spread evenly over the categories.

    Raises:
        `ValueError`: if a category has not as many.
    """
    styles = [load_style(style) for style in (*TRAIN_STYLES, *TEST_STYLES)]
    pool = [concept for concept in all_concepts() if all(concept.code in style for style in styles)]
    random.Random(seed).shuffle(pool)
    chosen: list[Concept] = []
    for index, category in enumerate(CATEGORIES):
        quota = number // len(CATEGORIES) + (index < number % len(CATEGORIES))
        start = len(chosen)
        for concept in pool:
            if len(chosen) - start == quota:
                break
            if concept.category == category and not any(map(concept.is_confusable_with, chosen)):
                chosen.append(concept)
        if len(chosen) - start < quota:
            raise ValueError(
                f"concepts={number} asks for {quota} of the category {category!r}, of which {len(chosen) - start} can "
                f"be told apart (seed={seed}): ask for at most {(len(chosen) - start) * len(CATEGORIES)}."
            )
    return chosen


def draw(concept: Concept, style: str, size: int) -> PILImage.Image:
    """The art of a concept, on nothing: cropped to what is visible, its longer side near `size`."""
    png = resvg_py.svg_to_bytes(
        svg_string=load_style(style)[concept.code], width=size, height=size, skip_system_fonts=True
    )
    art = PILImage.open(io.BytesIO(bytes(png))).convert("RGBA")
    return art.crop(art.getchannel("A").getbbox())  # the styles' margins differ


def view(art: PILImage.Image, size: int, rng: random.Random) -> PILImage.Image:
    """A picture of the art: its scale, place, rotation and pale background are the generator's."""
    background = tuple(rng.randint(220, 255) for _ in range(3))
    art = art.rotate(rng.uniform(-8, 8), expand=True, resample=PILImage.Resampling.BICUBIC)
    scale = size * rng.uniform(0.8, 1) / max(art.size)
    art = art.resize([max(1, round(side * scale)) for side in art.size], PILImage.Resampling.LANCZOS)
    place = [rng.randint(0, size - side) for side in art.size]
    picture = PILImage.new("RGB", (size, size), background)
    picture.paste(art, place, art)
    return picture


def conversation(concept: Concept, language: str, kind: int) -> list[dict[str, str]]:
    """A question and its answer. `kind` counts the generic questions; the last is the category's own."""
    template = TEMPLATES[language]
    turns = [*template["generic"], {"question": template["categories"][concept.category], "answer": "{name}"}][kind]
    return [
        {"role": "user", "content": turns["question"]},
        {"role": "assistant", "content": turns["answer"].format(name=concept.names[language])},
    ]


def captions(concept: Concept, language: str) -> list[str]:
    """What a picture of the concept could be called."""
    return [template.format(name=concept.names[language]) for template in TEMPLATES[language]["captions"]]


def english_captions() -> dict[str, list[str]]:
    """English captions of every concept, by its English name."""
    return {concept.name: captions(concept, "en") for concept in all_concepts()}


def text_corpus(languages: Sequence[str] = LANGUAGES, concepts: Sequence[Concept] | None = None) -> list[str]:
    """Short sentences about the concepts (all, if none are given), for a language model to begin with."""
    concepts = all_concepts() if concepts is None else concepts
    return [text for concept in concepts for language in languages for text in captions(concept, language)]


def rows(concepts: list[Concept], split: str, arguments: EmojiArguments) -> list[dict[str, Any]]:
    """The rows of a split. Each picture stands in all languages, with the same question."""
    styles = TEST_STYLES if split == "test" else TRAIN_STYLES
    views = 1 if split == "validation" else arguments.views
    found = []
    for concept in tqdm(concepts, desc=split):
        for style in styles:
            art = draw(concept, style, 2 * arguments.image_size)
            for index in range(views):
                rng = random.Random(f"{arguments.seed} {split} {style} {concept.code} {index}")
                png = io.BytesIO()
                view(art, arguments.image_size, rng).save(png, "PNG")
                kind = rng.randrange(QUESTIONS)
                found += [
                    {
                        "messages": conversation(concept, language, kind),
                        "images": [{"bytes": png.getvalue(), "path": None}],
                        "language": language,
                        "concept": concept.name,
                        "category": concept.category,
                        "style": style,
                    }
                    for language in LANGUAGES
                ]
    return found


def build(arguments: EmojiArguments) -> None:
    """Writes the data set, unless the folder holds it already."""
    output = Path(arguments.output)
    settings = {name: value for name, value in asdict(arguments).items() if name != "output"}
    settings_file = output / "settings.json"
    if settings_file.exists() and json.loads(settings_file.read_text()) == settings:
        print(f"{output} holds this data set already: reused.")
        return
    concepts = select_concepts(arguments.concepts, arguments.seed)
    settings_file.unlink(missing_ok=True)
    for split in ("train", "validation", "test"):
        dataset = Dataset.from_list(rows(concepts, split, arguments), features=FEATURES)
        file = output / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(file)
        print(f"{file}: {len(dataset)} rows, {len(dataset) // len(LANGUAGES)} pictures.")
    settings_file.write_text(json.dumps(settings, indent=2) + "\n")  # last: a build that was cut short is not reused


if __name__ == "__main__":
    build(HfArgumentParser(EmojiArguments, description=__doc__).parse_args_into_dataclasses()[0])
