# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The art and the words of mini-MMMB: emoji as several vendors draw them, their names, and sentences about them.

`trainer/languages/` has the sentences of 20 languages, and the names in MMMB's six. To add a language, add a file
with the same keys. Each kind of question has wordings for training, and may have held-out wordings, which only the
benchmark uses. The names come from CLDR. A name stands in quotation marks or alone, so that the grammar of a sentence
does not depend on it. `names.json.xz` has the names in 112 other languages. The questions of such a language are in
English until it has sentences.
"""

import io
import json
import lzma
import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from PIL import ImageDraw

from trainer.languages import FOLDER, MMMB, sentences


DATA = Path(__file__).parent / "emoji_data"
LANGUAGES: list[str] = []  # the languages of the questions, set by `use_languages`
TABLES: dict[str, dict[str, Any]] = {}  # the words of these languages, and of English for captions


@cache
def _names() -> dict[str, dict[str, str]]:
    """The names of the emoji, by language and code. A language may lack some names."""
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
        raise ValueError(f"There are no names in {language!r}: choose from {', '.join(sorted({*_names(), *MMMB}))}.")
    if table is None:
        warnings.warn(
            f"There are names in {language!r}, but no sentences in {FOLDER / language}.json: its questions are asked "
            "in English."
        )
        table = _load_table("en")
    return {"names": names} | table


def use_languages(languages: Sequence[str]) -> None:
    """
    Sets the languages of all words, for the whole process. The pictures depend on the languages, because two options
    of a question may not have the same name in any language.

    Raises:
        `ValueError`: if there are no names in one of the languages.
    """
    tables = {language: _load_table(language) for language in ("en", *languages)}
    TABLES.clear()
    TABLES.update(tables)
    LANGUAGES[:] = dict.fromkeys(languages)


use_languages(MMMB)
RECOGNITION = tuple(TABLES["en"]["questions"]["recognition"])
TRAIN_STYLES = ("noto", "twemoji", "notov1", "emojione")
TEST_STYLES = ("fluent", "openmoji")
Text = dict[str, str]  # the same text in each language


@dataclass(frozen=True)
class Concept:
    """Something that pictures show. `confusable` holds the emoji that it could be mistaken for."""

    code: str
    emoji: str
    category: str
    group: str | None
    confusable: frozenset[str]

    @property
    def names(self) -> Text:
        """The name of the concept, by language."""
        return words("names", self.code)

    def is_confusable_with(self, other: "Concept") -> bool:
        """Whether the two concepts could be mistaken for each other, by their pictures or by their names."""
        return (
            self.emoji == other.emoji
            or other.emoji in self.confusable
            or self.emoji in other.confusable
            or any(table["names"][self.code] == table["names"][other.code] for table in TABLES.values())
        )


def words(*path: str) -> Text:
    """An entry of every language's table, such as `words("colors", "red")`."""
    entries = {}
    for language, table in TABLES.items():
        entry: Any = table
        for key in path:
            if key not in entry:
                raise ValueError(f"{FOLDER / language}.json has no {'.'.join(path)!r}: add it.")
            entry = entry[key]
        entries[language] = entry
    return entries


def wordings(kind: tuple[str, ...], held_out: bool = False, rng: random.Random | None = None) -> Text:
    """
    A question in every language that has a wording of it.

    Args:
        kind: its keys in the tables' `questions`, such as `("count",)` or `("recognition", "animals")`.
        held_out: whether to use a wording that training never shows.
        rng: chooses a wording for each language. If None, the question has the first wording, the benchmark's own.

    Raises:
        `ValueError`: if a language has no wording for training.
    """
    choices = words("questions", *kind, "held_out" if held_out else "trained")
    for language, texts in choices.items():
        if not texts and not held_out:
            raise ValueError(
                f"{FOLDER / language}.json has no wordings in 'questions.{'.'.join(kind)}.trained': add one."
            )
    return {language: rng.choice(texts) if rng else texts[0] for language, texts in choices.items() if texts}


def is_unseen_wording(question: str) -> bool:
    """Whether a question has a wording that training never shows, whatever its case and the marks at its end."""
    return bool(_held_out_pattern(tuple(TABLES)).fullmatch(_plain(question)))


def _plain(text: str) -> str:
    return text.casefold().rstrip("?？؟!！.。… ")


@cache
def _held_out_pattern(languages: tuple[str, ...]) -> re.Pattern[str]:
    kinds: list[Any] = [TABLES[language]["questions"] for language in languages]
    texts: list[str] = []
    while kinds:
        kind = kinds.pop()
        if "held_out" in kind:
            texts += kind["held_out"]
        else:
            kinds += kind.values()
    return re.compile("|".join(".+".join(map(re.escape, _plain(text).split("{}"))) for text in texts), re.DOTALL)


def fill(sentence: Text, slot: Text, quoted: bool = True) -> Text:
    """Fills the slot of the sentence in each language with the words in the same language."""
    return {
        language: text.format(TABLES[language]["quote"].format(slot[language]) if quoted else slot[language])
        for language, text in sentence.items()
    }


def listing(texts: Sequence[Text], quoted: bool = True) -> Text:
    """A list of the texts in each language. Texts that may contain the separator are to be quoted."""
    lists = {}
    for language, table in TABLES.items():
        quote = table["quote"] if quoted else "{}"
        lists[language] = table["separator"].join(quote.format(text[language]) for text in texts)
    return lists


@cache
def _table() -> list[dict[str, Any]]:
    return json.loads((DATA / "table.json").read_text(encoding="utf-8"))


def all_concepts() -> tuple[Concept, ...]:
    """Every concept of the ten recognition categories that has a name in all languages in use."""
    return tuple(
        Concept(row["code"], row["emoji"], row["category"], row["group"], frozenset(row["confusable"]))
        for row in _table()
        if row["category"] in RECOGNITION and all(row["code"] in table["names"] for table in TABLES.values())
    )


def select_concepts(number: int | None = None, seed: int = 0) -> list[Concept]:
    """
    Selects concepts, spread evenly over the categories. Every style draws each of them, and no two are confusable.
    Without a number, all concepts are returned.

    Raises:
        `ValueError`: if a category has too few such concepts.
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
                f"concepts={number} needs {quota} concepts of the category {category!r}, and only "
                f"{len(chosen) - start} can be told apart (seed={seed}): ask for at most "
                f"{(len(chosen) - start) * len(RECOGNITION)}."
            )
    return chosen


@cache
def load_style(style: str) -> dict[str, str]:
    """The SVG documents of a style, by code."""
    with lzma.open(DATA / f"{style}.json.xz", "rt", encoding="utf-8") as file:
        pack = json.load(file)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {namespaces} viewBox="0 0 {pack["width"]} {pack["height"]}">'
    return {code: f"{head}{body}</svg>" for code, body in pack["icons"].items()}


@cache
def draw(code: str, style: str, size: int) -> PILImage.Image:
    """An emoji on a transparent background, cropped to its visible part. It is drawn on `size` x `size` pixels."""
    import resvg_py  # noqa: PLC0415  # an extra: without it, one_line_errors says how to install it

    png = resvg_py.svg_to_bytes(svg_string=load_style(style)[code], width=size, height=size, skip_system_fonts=True)
    art = PILImage.open(io.BytesIO(bytes(png))).convert("RGBA")
    return art.crop(art.getchannel("A").getbbox())  # the styles have different margins


# Unicode has circles, squares and hearts in all colours. The other shapes are polygons that we draw, in other shades
# for the test styles.
POLYGONS = {
    "triangle": [(0.5, 0.05), (0.97, 0.92), (0.03, 0.92)],
    "diamond": [(0.5, 0.02), (0.98, 0.5), (0.5, 0.98), (0.02, 0.5)],
    "star": [
        *((0.5, 0.02), (0.62, 0.38), (0.99, 0.38), (0.69, 0.6), (0.8, 0.97)),
        *((0.5, 0.75), (0.2, 0.97), (0.31, 0.6), (0.01, 0.38), (0.38, 0.38)),
    ],
}
SHADES = {  # color: (shade in training, shade in the test styles)
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


@cache
def draw_shape(shape: str, color: str, style: str, size: int) -> PILImage.Image | None:
    """A coloured shape on a transparent background. None if the style lacks the shape in this colour."""
    if shape not in POLYGONS:
        (code,) = (row["code"] for row in _table() if (row.get("shape"), row.get("color")) == (shape, color))
        return draw(code, style, size) if code in load_style(style) else None
    art = PILImage.new("RGBA", (size, size))
    corners = [(x * size, y * size) for x, y in POLYGONS[shape]]
    ImageDraw.Draw(art).polygon(corners, fill=SHADES[color][style in TEST_STYLES])
    return art
