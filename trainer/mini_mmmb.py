# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""mini-MMMB: a data set and a benchmark of emoji pictures, with questions of 15 categories in many languages.

    python -m trainer.mini_mmmb --output data/mini-mmmb

The command draws emoji, alone and in scenes. It writes a data set that `datasets.load_dataset` reads. The
configuration `align` has pictures with English captions. The configuration `instruct` has conversations about
pictures, each in one language.
The command also writes the benchmark, as TSV files in MMMB's format. Each language has a file, and all files have the
same questions. The pictures of `mini_mmmb_<language>.tsv` are in the Fluent style, those of
`mini_mmmb_openmoji_<language>.tsv` in the harder OpenMoji style. `mini_mmmb_wordings_<language>.tsv` asks half of the
questions about the first pictures in held-out wordings, in the languages that have some.
The training data has neither these two styles nor the compositions (pairs of things, shapes with colours) that the
benchmark asks about. It has all of the benchmark's words. So the benchmark measures how a model handles new styles and
new compositions, not new words.
`sheet.png` shows some pictures of the benchmark, and `example.jpg` is its first. The languages are MMMB's six, unless
`--languages` names others.
"""

import base64
import io
import json
import random
import re
import shlex
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from tqdm.auto import tqdm

from trainer import one_line_errors
from trainer.build_benchmark import build_benchmark
from trainer.common.command_line import parse_arguments
from trainer.evaluation.benchmark_files import Question
from trainer.languages import FOLDER, MMMB
from trainer.toy_world.emoji import (
    DATA,
    LANGUAGES,
    POLYGONS,
    RECOGNITION,
    SHADES,
    TABLES,
    TEST_STYLES,
    TRAIN_STYLES,
    Concept,
    Text,
    draw,
    draw_shape,
    fill,
    is_unseen_wording,
    listing,
    load_style,
    select_concepts,
    use_languages,
    wordings,
    words,
)


SCENES = {
    "counting": "scene",
    "color": "attribute",
    "position": "spatial",
    "existence": "scene",
    "grouping": "reasoning",
}
CATEGORIES = dict.fromkeys(RECOGNITION, "recognition") | SCENES  # category: l2-category
SCENE_CATEGORIES = ("animals", "food_drink", "transport", "objects", "clothing", "leisure")
# `held_out_colors` depends on this order. It may not hold out red hearts, red diamonds and yellow stars, because
# training shows their emoji as things.
SHAPES = ("circle", "heart", *POLYGONS, "square")
# Pairs of groups that overlap: a thing of one group may also belong to the other.
OVERLAPPING_GROUPS = ({"food", "plant"}, {"food", "animal"})
BACKGROUNDS = ("#ffffff", "#f8f8f0", "#ebf4fa", "#faeeee", "#eef8ee", "#f5f0fa", "#fcf6e4", "#e8e8ec")
GRIDS = {
    2: [(0.27, 0.5), (0.73, 0.5)],
    3: [(0.25, 0.27), (0.75, 0.27), (0.5, 0.74)],
    4: [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)],
}
LETTERS = "ABCD"
FEATURES = Features(
    {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "images": List(Image()),
        "language": Value("string"),
        "category": Value("string"),
        "concept": Value("string"),
        "style": Value("string"),
    }
)


@dataclass
class MiniMMMBArguments:
    """What to build, and where."""

    output: str = field(metadata={"help": "Folder to write the data set and the benchmark to."})
    concepts: int | None = field(
        default=None,
        metadata={"help": "Number of things to name, spread evenly over ten categories. By default all 789."},
    )
    image_size: int = field(default=112, metadata={"help": "Side of the pictures in pixels."})
    align_views: int = field(default=8, metadata={"help": "Captioned pictures of each concept in each style."})
    captions: bool = field(
        default=False,
        metadata={
            "help": "Also write a configuration `captions` with pictures of all 789 things, to train a vision tower."
        },
    )
    train: int = field(default=24_000, metadata={"help": "Conversations to train on. Each is about one picture."})
    languages: list[str] = field(
        default_factory=lambda: list(MMMB),
        metadata={
            "help": "Languages of the questions. The languages in trainer/languages have sentences and names. A "
            "hundred others have only names: their questions are in English, their options in the language itself."
        },
    )
    language_shares: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Shares of the languages in the conversations to train on, such as en=0.8 zh=0.04. The other "
            "languages share the rest equally. In validation and benchmark all languages have equal shares."
        },
    )
    scenes: float = field(
        default=0.4, metadata={"help": "Share of conversations about scenes. The others are about one thing."}
    )
    turns: int = field(default=3, metadata={"help": "Maximum number of questions in a conversation."})
    validation: int = field(default=300, metadata={"help": "Conversations to validate on, about other pictures."})
    test_per_category: int = field(default=134, metadata={"help": "Number of benchmark questions in each category."})
    validation_per_category: int = field(
        default=0,
        metadata={
            "help": "Number of questions in each category of a second benchmark, to choose settings with. Its "
            "pictures are in the training styles, its files are mini_mmmb_validation_<language>.tsv."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of all random choices."})


def held_out_colors(shape: str) -> list[str]:
    """
    The four colours that a shape has only in the benchmark. They are the four options of the benchmark's question
    about the shape, so that training excludes no option.
    """
    start = SHAPES.index(shape) * len(SHADES) // len(SHAPES)
    colors = list(SHADES)
    return [colors[(start + 2 * step) % len(colors)] for step in range(len(LETTERS))]


def is_held_out(one: str, other: str) -> bool:
    """Whether a composition (two things, or a shape and a colour) is reserved for the benchmark."""
    if one in SHAPES:
        return other in held_out_colors(one)
    return zlib.crc32(" ".join(sorted((one, other))).encode()) % 4 == 0


@dataclass(frozen=True)
class WorldQuestion:
    """
    A question with its answer and its wrong options.

    Args:
        kind: the kind of its wordings, as in `wordings`.
        about: the words that fill the slot of its wordings. If None, a slot is filled with the list of the options.
        binding: the composition that the question asks about.
    """

    kind: tuple[str, ...]
    answer: Text
    others: list[Text]
    about: Text | None = None
    binding: tuple[str, str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the question asks what the picture shows."""
        return self.kind[0] in ("name", "describe", "recognition")

    def options(self, place: int) -> list[Text]:
        """All options, with the answer at the index `place`."""
        return [*self.others[:place], self.answer, *self.others[place:]]

    def ask(self, place: int, held_out: bool = False, rng: random.Random | None = None) -> Text:
        """The question's text, with the answer at the index `place` of the options. `wordings` chooses the words."""
        sentence = wordings(self.kind, held_out, rng)
        return fill(sentence, self.about) if self.about else fill(sentence, listing(self.options(place)), quoted=False)


def as_typed(question: str, rng: random.Random, may_miss_words: bool = False) -> str:
    """
    A question as people type it: sometimes it begins with a small letter and has no mark at its end. If it may miss
    words, half of the questions miss some or have two in another order. A model that learns from such questions does
    not depend on single words, so that it understands wordings that it has not seen. A question that would become a
    wording that training never shows stays as it is.
    """
    typed = question
    if rng.random() < 0.25:
        typed = question[0].lower()[0] + question[1:].rstrip("?？؟.。")  # "İ".lower() is an i and a dot.
    if may_miss_words and rng.random() < 0.5:
        space = " " if " " in typed else ""  # Chinese has no spaces between words.
        parts = typed.split() if space else list(typed)
        parts = [part for part in parts if rng.random() < 0.8] or [rng.choice(parts)]
        if len(parts) > 1 and rng.random() < 0.3:
            place = rng.randrange(len(parts) - 1)
            parts[place : place + 2] = parts[place + 1], parts[place]
        typed = space.join(parts)
    return question if is_unseen_wording(typed) else typed


@dataclass(frozen=True)
class Picture:
    """
    A picture and the questions that its split may ask about it.

    Args:
        things: the names of all that it shows, in reading order.
    """

    image: PILImage.Image
    style: str
    things: list[Text]
    questions: list[WorldQuestion]


def _in_reading_order(things: Sequence[Any], places: Sequence[tuple[float, float]]) -> list[Any]:
    """The things from top to bottom, and from left to right where they have the same height."""
    return [thing for _, thing in sorted(zip(places, things, strict=True), key=lambda pair: pair[0][::-1])]


def _generic(rng: random.Random, things: Sequence[Text]) -> WorldQuestion:
    """A question that suits every picture: what does it show? The answer is names alone, or a sentence."""
    distinct = [thing for index, thing in enumerate(things) if thing not in things[:index]]
    names = listing(distinct, quoted=False)
    if rng.random() < 0.25:
        captions = {language: texts[1] for language, texts in words("captions").items()}
        return WorldQuestion(("describe",), fill(captions, names, quoted=False), [])
    return WorldQuestion(("name",), names, [])


class World:
    """
    Draws pictures and writes questions about them.

    Args:
        concepts: the concepts that pictures may show and questions may name.
        styles: the styles of the art.
        size: the side of the pictures in pixels.
        is_test: whether to write the benchmark's questions, about compositions that training never shows.
    """

    def __init__(self, concepts: Sequence[Concept], styles: Sequence[str], size: int, is_test: bool) -> None:
        self.concepts, self.styles, self.size, self.is_test = list(concepts), list(styles), size, is_test

    @cached_property
    def by_category(self) -> dict[str, list[Concept]]:
        """The concepts of each recognition category."""
        return {name: [concept for concept in self.concepts if concept.category == name] for name in RECOGNITION}

    @cached_property
    def drawn(self) -> list[tuple[Concept, str]]:
        """Every concept, paired with every style that draws it."""
        return [
            (concept, style) for concept in self.concepts for style in self.styles if concept.code in load_style(style)
        ]

    @cached_property
    def scene_concepts(self) -> list[Concept]:
        """The concepts that scenes show."""
        return [concept for category in SCENE_CATEGORIES for concept in self.by_category[category]]

    @cached_property
    def by_group(self) -> dict[str, list[Concept]]:
        """The concepts of each group that has at least three: a question about the odd one out shows three."""
        groups = defaultdict(list)
        for concept in self.concepts:
            if concept.group:
                groups[concept.group].append(concept)
        return {name: members for name, members in sorted(groups.items()) if len(members) >= 3}

    def picture(self, category: str, rng: random.Random, concept: Concept | None = None) -> Picture:
        """
        Draws a picture for a category. Its questions are those that its split may ask. The first is the one that the
        benchmark asks.

        Args:
            concept: the concept to show, for a recognition category.

        Raises:
            `ValueError`: if there are too few concepts for the category.
        """
        for _ in range(500):
            if concept:
                style = rng.choice([style for style in self.styles if concept.code in load_style(style)])
                picture = self._recognition(rng, style, concept)
            else:
                picture = getattr(self, f"_{category}")(rng, rng.choice(self.styles))
            if picture is None:
                continue
            allowed = [
                question
                for question in picture.questions
                if not question.binding or is_held_out(*question.binding) == self.is_test
            ]
            if allowed:
                if not self.is_test and not concept and rng.random() < 0.25:
                    allowed.insert(0, _generic(rng, picture.things))
                return replace(picture, questions=allowed)
        raise ValueError(f"{len(self.concepts)} concepts are too few for the category {category!r}: raise --concepts.")

    def _choose(
        self,
        rng: random.Random,
        pool: Sequence[Concept],
        number: int,
        style: str | None,
        apart: Sequence[Concept] = (),
    ) -> list[Concept] | None:
        """
        Chooses concepts that are confusable neither with each other nor with those in `apart`. None if the pool has
        too few. With a style, the concepts can be shown in one picture: the style draws all of them, and in training
        no pair of them is reserved for the benchmark.
        """
        chosen: list[Concept] = []
        for concept in rng.sample(pool, len(pool)):
            others = [*chosen, *apart]
            is_allowed = not any(map(concept.is_confusable_with, others))
            if style is not None:
                is_allowed &= concept.code in load_style(style)
                is_allowed &= self.is_test or not any(is_held_out(concept.code, other.code) for other in others)
            if is_allowed:
                chosen.append(concept)
                if len(chosen) == number:
                    return chosen
        return None

    def _paste(
        self, canvas: PILImage.Image, art: PILImage.Image, place: tuple[float, float], side: float, turn: float
    ) -> None:
        """
        Pastes art onto the canvas, with its centre at `place`, its longer side `side`, and rotated by `turn` degrees.
        Place and side are fractions of the canvas's side.
        """
        scale = side * self.size / max(art.size)
        art = art.resize([max(1, round(length * scale)) for length in art.size], PILImage.Resampling.BILINEAR)
        art = art.rotate(turn, expand=True, resample=PILImage.Resampling.BICUBIC)
        left, top = (round(part * self.size - length / 2) for part, length in zip(place, art.size, strict=True))
        canvas.paste(art, (left, top), art)

    def _scene(
        self,
        rng: random.Random,
        style: str,
        concepts: Sequence[Concept],
        places: Sequence[tuple[float, float]],
        side: float,
        questions: list[WorldQuestion],
    ) -> Picture:
        canvas = PILImage.new("RGB", (self.size, self.size), rng.choice(BACKGROUNDS))
        for concept, (x, y) in zip(concepts, places, strict=True):
            place = (x + rng.uniform(-0.025, 0.025), y + rng.uniform(-0.025, 0.025))
            art = self._art(rng, concept, style)
            self._paste(canvas, art, place, side * rng.uniform(0.9, 1.05), rng.uniform(-10, 10))
        return Picture(canvas, style, _in_reading_order([concept.names for concept in concepts], places), questions)

    def _art(self, rng: random.Random, concept: Concept, style: str) -> PILImage.Image:
        """
        Draws a concept. In training, half of the drawings get other colours, because the styles differ more in colour
        than in shape.
        """
        art = draw(concept.code, style, self.size)
        if self.is_test or rng.random() < 0.5:
            return art
        mixing = [[float(row == column) + rng.gauss(0, 0.2) for column in range(3)] for row in range(3)]
        matrix = tuple(part for row in mixing for part in (*(value / max(0.5, sum(row)) for value in row), 0.0))
        tinted = art.convert("RGB").convert("RGB", matrix)
        tinted.putalpha(art.getchannel("A"))
        return tinted

    def single(
        self,
        rng: random.Random,
        concept: Concept,
        style: str,
        questions: list[WorldQuestion],
        art: PILImage.Image | None = None,
    ) -> Picture:
        """A picture of one thing with random size, place, angle and background. It shows `art`, if given."""
        side = rng.uniform(0.65, 0.92)
        room = (1 - side) / 2 * 0.9
        place = (0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room))
        canvas = PILImage.new("RGB", (self.size, self.size), rng.choice(BACKGROUNDS))
        self._paste(canvas, art or self._art(rng, concept, style), place, side, rng.uniform(-10, 10))
        return Picture(canvas, style, [concept.names], questions)

    def _recognition(self, rng: random.Random, style: str, concept: Concept) -> Picture | None:
        others = self._choose(rng, self.by_category[concept.category], 3, None, [concept])
        if others is None or concept.code not in load_style(style):
            return None
        wrong = [other.names for other in others]
        questions = [WorldQuestion(("recognition", concept.category), concept.names, wrong)]
        if not self.is_test:
            questions += [_generic(rng, [concept.names]) for _ in range(3)]
            if concept.group in self.by_group:
                questions.append(self._group_question(rng, concept.group))
            rng.shuffle(questions)
        return self.single(rng, concept, style, questions)

    def _group_question(self, rng: random.Random, group: str) -> WorldQuestion:
        other_groups = [
            other for other in self.by_group if other != group and {other, group} not in OVERLAPPING_GROUPS
        ]
        if len(other_groups) < 3:
            raise ValueError(
                f"{len(self.concepts)} concepts are too few for the category 'grouping': raise --concepts."
            )
        others = [words("groups", other) for other in rng.sample(other_groups, 3)]
        return WorldQuestion(("group_of",), words("groups", group), others)

    def _counting(self, rng: random.Random, style: str) -> Picture | None:
        pair = self._choose(rng, self.scene_concepts, 2, style)
        if pair is None:
            return None
        low = rng.randint(1, 3)
        numbers = [rng.randint(low, low + 3)]
        numbers.append(rng.randint(0, min(3, 9 - numbers[0])))
        cells = [(x, y) for x in (0.19, 0.5, 0.81) for y in (0.19, 0.5, 0.81)]
        rng.shuffle(cells)
        things = [concept for concept, number in zip(pair, numbers, strict=True) for _ in range(number)]
        questions = []
        for concept, number, start in zip(pair, numbers, (low, 1), strict=True):
            if number:
                options = [dict.fromkeys(TABLES, str(other)) for other in range(start, start + 4) if other != number]
                answer = dict.fromkeys(TABLES, str(number))
                rng.shuffle(options)
                binding = (pair[0].code, pair[1].code)
                questions.append(WorldQuestion(("count",), answer, options, concept.names, binding))
        return self._scene(rng, style, things, cells[: len(things)], 0.27, questions)

    def _color(self, rng: random.Random, style: str) -> Picture | None:
        shapes = rng.sample(SHAPES, 4)
        colors = rng.sample(held_out_colors(shapes[0]) if self.is_test else list(SHADES), 4)
        drawn = [draw_shape(shape, color, style, self.size) for shape, color in zip(shapes, colors, strict=True)]
        arts = [art for art in drawn if art is not None]
        is_allowed = self.is_test or not any(map(is_held_out, shapes, colors))
        if not is_allowed or len(arts) < len(drawn):
            return None
        image = PILImage.new("RGB", (self.size, self.size), "#d6dae0")  # a grey on which white and black are visible
        places = rng.sample(GRIDS[4], 4)
        for art, place in zip(arts, places, strict=True):
            self._paste(image, art, place, 0.34 * rng.uniform(0.85, 1.1), 0)
        questions: list[WorldQuestion] = []
        asked_shapes = shapes[:1] if self.is_test else shapes
        for index, (shape, color) in enumerate(zip(asked_shapes, colors, strict=False)):
            shape_name, color_name = words("shapes", shape), words("colors", color)
            if self.is_test or rng.random() < 0.5:
                others = [words("colors", other) for other in colors if other != color]
                question = WorldQuestion(("color_of",), color_name, others, shape_name, (shape, color))
            else:
                others = [words("shapes", other) for other in shapes if other != shape]
                question = WorldQuestion(("of_color",), shape_name, others, color_name, (shape, color))
            questions.insert(rng.randint(0, index), question)
        things = _in_reading_order([words("shapes", shape) for shape in shapes], places)
        return Picture(image, style, things, questions)

    def _position(self, rng: random.Random, style: str) -> Picture | None:
        in_row = rng.random() < 0.6
        things = self._choose(rng, self.scene_concepts, 3 if in_row else 4, style)
        if things is None:
            return None
        questions = []
        if in_row:
            horizontal = rng.random() < 0.5
            places = [(part, 0.5) if horizontal else (0.5, part) for part in (0.19, 0.5, 0.81)]
            absent = self._choose(rng, self.scene_concepts, 2, None, things)
            if absent is None:
                return None
            for end, side in ((0, "left" if horizontal else "above"), (2, "right" if horizontal else "below")):
                others = [concept.names for concept in (things[2 - end], *absent)]
                rng.shuffle(others)
                binding = (things[end].code, things[1].code)
                questions.append(WorldQuestion((side,), things[end].names, others, things[1].names, binding))
        else:
            places = GRIDS[4]
            corners = {corner: words("corners", corner) for corner in TABLES["en"]["corners"]}
            for index, (corner, thing) in enumerate(zip(corners, things, strict=True)):
                others = [text for other, text in corners.items() if other != corner]
                rng.shuffle(others)
                binding = (thing.code, things[(index + 1) % 4].code)
                questions.append(WorldQuestion(("where",), corners[corner], others, thing.names, binding))
        rng.shuffle(questions)
        return self._scene(rng, style, things, places, 0.29 if in_row else 0.36, questions)

    def _existence(self, rng: random.Random, style: str) -> Picture | None:
        number = rng.randint(2, 4)
        things = self._choose(rng, self.scene_concepts, number, style)
        absent = things and self._choose(rng, self.scene_concepts, 3, None, things)
        if not things or not absent:
            return None
        binding = (things[0].code, things[1].code)
        others = [concept.names for concept in absent]
        questions = [WorldQuestion(("present",), things[0].names, others, binding=binding)]
        if number > 2:
            shown = [concept.names for concept in things[:3]]
            questions.append(WorldQuestion(("absent",), absent[0].names, shown, binding=binding))
        rng.shuffle(questions)
        return self._scene(rng, style, things, GRIDS[number], 0.36, questions)

    def _grouping(self, rng: random.Random, style: str) -> Picture | None:
        group, other = rng.sample(list(self.by_group), 2)
        if rng.random() < 0.5:
            chosen = self._choose(rng, self.by_group[group], 1, style)
            if chosen is None:
                return None
            return self.single(rng, chosen[0], style, [self._group_question(rng, group)])
        things = self._choose(rng, self.by_group[group], 3, style)
        odd = None if things is None else self._choose(rng, self.by_group[other], 1, style, things)
        if things is None or odd is None or {group, other} in OVERLAPPING_GROUPS:
            return None
        binding = (things[0].code, odd[0].code)
        question = WorldQuestion(("odd_one_out",), odd[0].names, [thing.names for thing in things], binding=binding)
        return self._scene(rng, style, [*things, *odd], rng.sample(GRIDS[4], 4), 0.36, [question])


def _jpeg(image: PILImage.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def align_rows(number: int, world: World, seed: int) -> Iterator[dict[str, Any]]:
    """
    Captioned pictures of single things, in the art's own colours. Every concept appears once in every style before
    any appears again. The captions are in English, like those of CLIP.
    """
    for index in range(number):
        rng = random.Random(f"{seed} align {index}")
        concept, style = world.drawn[index % len(world.drawn)]
        picture = world.single(rng, concept, style, [], draw(concept.code, style, world.size))
        answer = rng.choice(TABLES["en"]["captions"]).format(concept.names["en"])
        yield {
            "messages": [
                {"role": "user", "content": wordings(("describe",), rng=rng)["en"]},
                {"role": "assistant", "content": answer},
            ],
            "images": [{"bytes": _jpeg(picture.image), "path": None}],
            "language": "en",
            "category": concept.category,
            "concept": concept.names["en"],
            "style": style,
        }


def read_language_shares(pairs: Sequence[str]) -> dict[str, float]:
    """
    The share of each language in the conversations, read from pairs such as `en=0.8`.

    Raises:
        `ValueError`: if a pair is not a language and its share, or if the shares do not add up to 1.
    """
    shares = {}
    for pair in pairs:
        language, _, number = pair.partition("=")
        if language not in LANGUAGES or language in shares or not re.fullmatch(r"0?\.\d+|[01](\.0*)?", number):
            raise ValueError(
                f"language_shares has {pair!r}: write a language and its share from 0 to 1, such as en=0.8. The "
                f"languages are {', '.join(LANGUAGES)}; each may be named once."
            )
        shares[language] = float(number)
    unnamed = [language for language in LANGUAGES if language not in shares]
    remainder = 1 - sum(shares.values())
    if remainder < -1e-9 or (not unnamed and remainder > 1e-9):
        raise ValueError(
            f"language_shares={' '.join(pairs)} add up to {1 - remainder:g}: change them so that they add up to 1, or "
            "leave a language out."
        )
    return {language: shares.get(language, max(0.0, remainder) / max(1, len(unnamed))) for language in LANGUAGES}


def languages_in_turn(number: int, shares: Mapping[str, float]) -> Iterator[str]:
    """The languages of `number` rows. After each row, their counts are as near to the shares as integers can be."""
    counts = dict.fromkeys(shares, 0)
    for index in range(number):
        language = max(counts, key=lambda code: shares[code] * (index + 1) - counts[code])
        counts[language] += 1
        yield language


def instruct_rows(
    number: int, world: World, split: str, shares: Mapping[str, float], arguments: MiniMMMBArguments
) -> Iterator[dict[str, Any]]:
    """Conversations about pictures. The languages alternate, in proportion to their shares."""
    for index, language in enumerate(languages_in_turn(number, shares)):
        rng = random.Random(f"{arguments.seed} {split} {index}")
        if rng.random() < arguments.scenes:
            picture = world.picture(category := rng.choice(list(SCENES)), rng)
        else:
            concept = rng.choice(world.concepts)
            picture = world.picture(category := concept.category, rng, concept)
        messages = []
        for question in picture.questions[: arguments.turns]:
            place = rng.randrange(len(LETTERS))
            messages += [
                {"role": "user", "content": as_typed(question.ask(place, rng=rng)[language], rng, question.is_open)},
                {"role": "assistant", "content": question.answer[language]},
            ]
        yield {
            "messages": messages,
            "images": [{"bytes": _jpeg(picture.image), "path": None}],
            "language": language,
            "category": category,
            "concept": picture.things[0]["en"],
            "style": picture.style,
        }


def benchmark_pictures(
    world: World, per_category: int, seed: int, split: str = "test"
) -> Iterator[tuple[str, Picture]]:
    """
    The benchmark's pictures with their categories. A recognition category shows each of its concepts once before
    it shows any of them again. In questions about scenes, each option is the answer about equally often. So a model
    that always gives the same answer to a question is right about as often as chance.
    """
    for category in tqdm(CATEGORIES, desc=f"benchmark, {', '.join(world.styles)}"):
        counts: Counter[Any] = Counter()
        for index in range(per_category):
            rng = random.Random(f"{seed} {split} {category} {index}")
            if category in RECOGNITION:
                drawn = [other for other in world.by_category[category] if other.code in load_style(world.styles[0])]
                random.Random(f"{seed} {category}").shuffle(drawn)
                yield category, world.picture(category, rng, drawn[index % len(drawn)])
                continue
            pictures = [world.picture(category, rng) for _ in range(8)]
            picture = min(pictures, key=lambda picture: [counts[key] for key in _balanced(picture)])
            counts.update(_balanced(picture))
            yield category, picture


def _balanced(picture: Picture) -> list[Any]:
    """What the benchmark balances in the first question about a scene, the most important first."""
    question = picture.questions[0]
    options = frozenset(text["en"] for text in question.options(0))
    return [question.kind, (options, question.answer["en"]), options, question.answer["en"]]


def questions_about(pictures: list[tuple[str, Picture]], held_out: bool = False) -> list[Question]:
    """
    The first question about each picture, in all languages. In each category the right letters are balanced.

    Args:
        held_out: whether to ask in held-out wordings, in the languages that have some. Then only half of each
            category's questions are asked: the first four, not the next four, and so on. Most questions about single
            things then do not name the category.
    """
    images = [base64.b64encode(_jpeg(picture.image)).decode() for _, picture in pictures]
    entries, counts = [], Counter[str]()
    for index, (category, picture) in enumerate(pictures):
        counts[category] += 1
        if held_out and (counts[category] - 1) // len(LETTERS) % 2:  # so that the right letters stay balanced
            continue
        question, place, rng = picture.questions[0], index % len(LETTERS), random.Random(index)
        if held_out and category in RECOGNITION:
            question = replace(question, kind=rng.choice([("name",), ("name",), ("describe",), question.kind]))
        texts = question.ask(place, held_out, rng if held_out else None)
        for language in [code for code in LANGUAGES if code in texts]:
            entries.append(
                Question(
                    index=str(index),
                    language=language,
                    image=images[index],
                    text=texts[language],
                    options=dict(zip(LETTERS, (text[language] for text in question.options(place)), strict=True)),
                    answer=LETTERS[place],
                    category=category,
                    l2_category=CATEGORIES[category],
                )
            )
    return entries


def draw_sheet(pictures: list[tuple[str, Picture]], columns: int = 12) -> PILImage.Image:
    """Some pictures of each category, with one row for each category."""
    by_category = defaultdict(list)
    for category, picture in pictures:
        by_category[category].append(picture.image)
    size = pictures[0][1].image.width
    sheet = PILImage.new("RGB", (columns * (size + 4), len(by_category) * (size + 4)), "#808080")
    for row, images in enumerate(by_category.values()):
        for column, image in enumerate(images[:columns]):
            sheet.paste(image, (column * (size + 4) + 2, row * (size + 4) + 2))
    return sheet


CARD = """---
license: other
license_name: mixed-see-notice
license_link: NOTICE
configs:
- config_name: instruct
  default: true
  data_files:
  - {split: train, path: instruct/train-*.parquet}
  - {split: validation, path: instruct/validation-*.parquet}
- config_name: align
  data_files:
  - {split: train, path: align/train-*.parquet}
"""
CARD_END = """---
# mini-MMMB

Emoji, alone and in scenes, with captions, conversations and a multiple-choice benchmark, in these languages:
{languages}. This command made the folder; the same version of the project makes the same data again:

    python -m trainer.mini_mmmb {command}

| files | content | styles of the art |
|---|---|---|
{files}

The sentences are machine-written; no native speaker has reviewed them. The benchmark's compositions (pairs of things,
shapes with colours) are not in the training data; all its words are. `sheet.png` shows some of its pictures.

## Use

`load_dataset` reads the configurations; the default is `instruct`. A row has `messages` (roles with text), `images`,
`language`, and the `category`, `concept` and `style` of its picture.

```python
from datasets import load_dataset

conversations = load_dataset("{output}", "instruct", split="train")
```

The TSV files have MMMB's columns: `index`, `image` (base64), `question`, `A` to `D`, `answer`, `category`,
`l2-category` and `split`. Rows with the same `index` are the same question in each language. Each `*_report.md` says
what was checked in its files. This command measures a Parrot:

    python -m trainer.benchmark run --model MODEL --output RESULTS \\
        --benchmark {benchmark} --languages {languages}

## Licences

`NOTICE` names sources, versions and licences. Art: Noto (Apache-2.0), Twemoji and EmojiOne (CC-BY-4.0), Fluent (MIT),
OpenMoji (CC-BY-SA-4.0, share-alike, only in `mini_mmmb_openmoji_*.tsv`). Names: Unicode License v3.
"""
CAPTIONS_CARD = """- config_name: captions
  data_files:
  - {split: train, path: captions/train-*.parquet}
"""


def write_card(arguments: MiniMMMBArguments) -> None:
    """Writes README.md, the card of the data set. `load_dataset` reads the configurations from its first lines."""
    output = Path(arguments.output)
    words = ["--output", arguments.output]
    for name, value in asdict(arguments).items():
        if value != getattr(MiniMMMBArguments(""), name) and name != "output":
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
    train, fluent, openmoji = (", ".join(styles) for styles in (TRAIN_STYLES, TEST_STYLES[:1], TEST_STYLES[1:]))
    files = {
        "instruct/": (f"{arguments.train} conversations, each about one picture and in one language", train),
        "align/": ("pictures of one thing, with English captions", train),
        "captions/": ("the same, for all things that have a name, to train a vision tower", train),
        "mini_mmmb_<language>.tsv": ("the benchmark: multiple-choice questions, one file for each language", fluent),
        "mini_mmmb_openmoji_<language>.tsv": ("the same benchmark in a harder style", openmoji),
        "mini_mmmb_wordings_<language>.tsv": (
            "half of the benchmark's questions, in wordings that training never has",
            fluent,
        ),
        "mini_mmmb_validation_<language>.tsv": ("a second benchmark, to choose settings with", train),
    }
    rows = [
        f"| `{name}` | {what} | {styles} |"
        for name, (what, styles) in files.items()
        if any(output.glob(name.replace("<language>", "*")))
    ]
    text = CARD_END.format(
        languages=" ".join(LANGUAGES),
        command=shlex.join(words),
        files="\n".join(rows),
        output=arguments.output,
        benchmark=shlex.quote(f"{arguments.output}/mini_mmmb_{{language}}.tsv"),
    )
    (output / "README.md").write_text(CARD + CAPTIONS_CARD * arguments.captions + text, encoding="utf-8")


def build(arguments: MiniMMMBArguments) -> None:
    """Writes the data set and the benchmark, unless the folder already holds them."""
    use_languages(arguments.languages)
    output = Path(arguments.output)
    settings = {name: value for name, value in asdict(arguments).items() if name != "output"}
    here = Path(__file__).parent
    sources = [here / name for name in ("mini_mmmb.py", "toy_world/emoji.py", "build_benchmark.py")]
    sources += [*DATA.rglob("*.json*"), *FOLDER.glob("*.json")]
    settings["sources"] = {str(file.relative_to(here)): zlib.crc32(file.read_bytes()) for file in sorted(sources)}
    shares, balanced = map(read_language_shares, (arguments.language_shares, ()))
    settings_file = output / "settings.json"
    if settings_file.exists() and json.loads(settings_file.read_text()) == settings:
        print(f"{output} already holds this data set: it is reused.")
        return
    concepts = select_concepts(arguments.concepts, arguments.seed)
    settings_file.unlink(missing_ok=True)

    train = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=False)
    captioned = {"align": train}
    if arguments.captions:
        captioned["captions"] = World(select_concepts(), TRAIN_STYLES, arguments.image_size, is_test=False)
    jobs: dict[str, tuple[Callable[..., Iterator[dict[str, Any]]], int, dict[str, Any]]] = {
        f"{name}/train": (
            align_rows,
            len(world.drawn) * arguments.align_views,
            {"seed": arguments.seed, "world": world},
        )
        for name, world in captioned.items()
    }
    jobs |= {
        "instruct/train": (
            instruct_rows,
            arguments.train,
            {"split": "train", "shares": shares, "arguments": arguments},
        ),
        "instruct/validation": (
            instruct_rows,
            arguments.validation,
            {"split": "validation", "shares": balanced, "arguments": arguments},
        ),
    }
    for name, (rows, number, options) in jobs.items():
        with TemporaryDirectory() as cache:
            dataset = Dataset.from_generator(
                rows,
                features=FEATURES,
                cache_dir=cache,
                gen_kwargs={"number": number, "world": train, **options},
            )
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            dataset.to_parquet(output / f"{name}-00000-of-00001.parquet")
        print(f"{output / name}: {len(dataset)} pictures.")
    for style in TEST_STYLES:
        world = World(concepts, [style], arguments.image_size, is_test=True)
        pictures = list(benchmark_pictures(world, arguments.test_per_category, arguments.seed))
        name = "mini_mmmb" if style == TEST_STYLES[0] else f"mini_mmmb_{style}"
        build_benchmark(questions_about(pictures), output, name)
        print(f"{output / name}_*.tsv: {len(pictures)} questions in each of {len(LANGUAGES)} languages.")
        if style == TEST_STYLES[0]:
            if entries := questions_about(pictures, held_out=True):
                build_benchmark(entries, output, f"{name}_wordings")
                print(f"{output / name}_wordings_*.tsv: half of them, in held-out wordings.")
            if missing := sorted(set(LANGUAGES) - {entry.language for entry in entries}):
                print(f"There are no held-out wordings in {', '.join(missing)}: no such file in these languages.")
            draw_sheet(pictures).save(output / "sheet.png")
            (output / "example.jpg").write_bytes(_jpeg(pictures[0][1].image))
    if arguments.validation_per_category:
        world = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=True)
        pictures = list(benchmark_pictures(world, arguments.validation_per_category, arguments.seed, "validation"))
        build_benchmark(questions_about(pictures), output, "mini_mmmb_validation")
    write_card(arguments)
    shutil.copy(DATA / "NOTICE", output / "NOTICE")
    settings_file.write_text(json.dumps(settings, indent=2) + "\n")  # last, so that an interrupted build is not reused


if __name__ == "__main__":
    with one_line_errors():
        build(parse_arguments(MiniMMMBArguments, __doc__))
