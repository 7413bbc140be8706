# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Emoji as several vendors draw them, and what they are called: the art and the words of mini-MMMB.

`trainer/languages/` has a table for each of 20 languages, with all the sentences; the names are CLDR's, always
quoted or alone, so that no grammar is needed around them. A further language is one more file there, with the same
keys. `names.json.xz` has the names in a hundred more, which are asked in English until they have a table.
"""

import io
import json
import lzma
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image as PILImage
from PIL import ImageDraw

from trainer.languages import FOLDER, MMMB, sentences


DATA = Path(__file__).parent / "emoji_data"
LANGUAGES: list[str] = []  # in which pictures are asked about; see `use_languages`
TABLES: dict[str, dict[str, Any]] = {}  # the words of these and, for captions and labels, of English


@cache
def _names() -> dict[str, dict[str, str]]:
    """What emoji are called, by language and code. A language may lack some."""
    with lzma.open(DATA / "names.json.xz", "rt", encoding="utf-8") as file:
        pack = json.load(file)
    return {
        language: {code: name for code, name in zip(pack["codes"], names, strict=True) if name}
        for language, names in pack["names"].items()
    }


@cache
def _load_table(language: str) -> dict[str, Any]:
    table, names = sentences(language), _names().get(language)
    if table is None and names is None:
        raise ValueError(f"There are no names in {language!r}: take of {', '.join(sorted(_names()))}.")
    if table is None:
        warnings.warn(
            f"There are names in {language!r}, and {FOLDER / language}.json has no sentences: its questions are asked "
            "in English."
        )
        table = _load_table("en")
    return {"names": names} | table


def use_languages(languages: Sequence[str]) -> None:
    """
    Chooses the languages of all words, for the whole process: what is drawn depends on them, since no two options may
    have the same name in any.

    Raises:
        `ValueError`: if there are no names in one of them.
    """
    tables = {language: _load_table(language) for language in ("en", *languages)}
    TABLES.clear()
    TABLES.update(tables)
    LANGUAGES[:] = dict.fromkeys(languages)


use_languages(MMMB)
RECOGNITION = tuple(TABLES["en"]["recognition"])
TRAIN_STYLES = ("noto", "twemoji", "notov1", "emojione")
TEST_STYLES = ("fluent", "openmoji")
Text = dict[str, str]  # by language


@dataclass(frozen=True)
class Concept:
    """Something that pictures show. `confusable` holds the emoji it could be taken for."""

    code: str
    emoji: str
    category: str
    group: str | None
    confusable: frozenset[str]

    @property
    def names(self) -> Text:
        """What it is called, by language."""
        return words("names", self.code)

    def is_confusable_with(self, other: "Concept") -> bool:
        """Whether one is or could be taken for the other, by picture or by name."""
        return (
            self.emoji == other.emoji
            or other.emoji in self.confusable
            or self.emoji in other.confusable
            or any(table["names"][self.code] == table["names"][other.code] for table in TABLES.values())
        )


def words(*path: str) -> Text:
    """An entry of every language's table, such as `words("colors", "red")`."""
    found = {}
    for language, table in TABLES.items():
        entry: Any = table
        for key in path:
            if key not in entry:
                raise ValueError(f"{FOLDER / language}.json has no {'.'.join(path)!r}: add it.")
            entry = entry[key]
        found[language] = entry
    return found


def fill(sentence: Text, slot: Text, quoted: bool = True) -> Text:
    """Sentences with their slot filled by the word or words of the same language."""
    return {
        language: text.format(TABLES[language]["quote"].format(slot[language]) if quoted else slot[language])
        for language, text in sentence.items()
    }


def listing(texts: Sequence[Text]) -> Text:
    """Several words as each language lists them, quoted, since a name may hold the separator."""
    listed = {}
    for language, table in TABLES.items():
        listed[language] = table["separator"].join(table["quote"].format(text[language]) for text in texts)
    return listed


@cache
def _table() -> list[dict[str, Any]]:
    return json.loads((DATA / "table.json").read_text(encoding="utf-8"))


def all_concepts() -> tuple[Concept, ...]:
    """Every concept of the ten recognition categories that has a name in each language."""
    return tuple(
        Concept(row["code"], row["emoji"], row["category"], row["group"], frozenset(row["confusable"]))
        for row in _table()
        if row["category"] in RECOGNITION and all(row["code"] in table["names"] for table in TABLES.values())
    )


def select_concepts(number: int | None = None, seed: int = 0) -> list[Concept]:
    """
    Concepts that every style draws and of which no two are confusable, spread evenly over the categories; without a
    number, all that there are.

    Raises:
        `ValueError`: if a category has not as many.
    """
    if number is None:
        return list(all_concepts())
    styles = [load_style(style) for style in (*TRAIN_STYLES, *TEST_STYLES)]
    pool = [concept for concept in all_concepts() if all(concept.code in style for style in styles)]
    random.Random(seed).shuffle(pool)
    chosen: list[Concept] = []
    for index, category in enumerate(RECOGNITION):
        quota = number // len(RECOGNITION) + (index < number % len(RECOGNITION))
        start = len(chosen)
        for concept in pool:
            if len(chosen) - start == quota:
                break
            if concept.category == category and not any(map(concept.is_confusable_with, chosen)):
                chosen.append(concept)
        if len(chosen) - start < quota:
            raise ValueError(
                f"concepts={number} asks for {quota} of the category {category!r}, of which {len(chosen) - start} can "
                f"be told apart (seed={seed}): ask for at most {(len(chosen) - start) * len(RECOGNITION)}."
            )
    return chosen


@cache
def load_style(style: str) -> dict[str, str]:
    """SVG documents of a style, by code."""
    with lzma.open(DATA / f"{style}.json.xz", "rt", encoding="utf-8") as file:
        pack = json.load(file)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {namespaces} viewBox="0 0 {pack["width"]} {pack["height"]}">'
    return {code: f"{head}{body}</svg>" for code, body in pack["icons"].items()}


@cache
def draw(code: str, style: str, size: int) -> PILImage.Image:
    """An emoji on nothing, cropped to what is visible, its longer side near `size` pixels."""
    png = resvg_py.svg_to_bytes(svg_string=load_style(style)[code], width=size, height=size, skip_system_fonts=True)
    art = PILImage.open(io.BytesIO(bytes(png))).convert("RGBA")
    return art.crop(art.getchannel("A").getbbox())  # the styles' margins differ


# Unicode has circles, squares and hearts in all colours; the other shapes are drawn, in other shades for the tests.
POLYGONS = {
    "triangle": [(0.5, 0.05), (0.97, 0.92), (0.03, 0.92)],
    "diamond": [(0.5, 0.02), (0.98, 0.5), (0.5, 0.98), (0.02, 0.5)],
    "star": [
        *((0.5, 0.02), (0.62, 0.38), (0.99, 0.38), (0.69, 0.6), (0.8, 0.97)),
        *((0.5, 0.75), (0.2, 0.97), (0.31, 0.6), (0.01, 0.38), (0.38, 0.38)),
    ],
}
SHADES = {
    "red": ("#dd2e44", "#e61e28"),
    "orange": ("#f4900c", "#ff7d14"),
    "yellow": ("#fdcb58", "#ffd728"),
    "green": ("#78b159", "#1eaa46"),
    "blue": ("#55acee", "#1e6edc"),
    "purple": ("#aa8ed6", "#8246c8"),
    "brown": ("#c1694f", "#82502d"),
    "black": ("#31373d", "#141414"),
    "white": ("#f0f0f0", "#fcfcfc"),
}


def draw_shape(shape: str, color: str, style: str, size: int) -> PILImage.Image | None:
    """A coloured shape on nothing; None if the style has none of that colour."""
    if shape not in POLYGONS:
        (code,) = (row["code"] for row in _table() if (row.get("shape"), row.get("color")) == (shape, color))
        return draw(code, style, size) if code in load_style(style) else None
    art = PILImage.new("RGBA", (size, size))
    corners = [(x * size, y * size) for x, y in POLYGONS[shape]]
    ImageDraw.Draw(art).polygon(corners, fill=SHADES[color][style in TEST_STYLES])
    return art
