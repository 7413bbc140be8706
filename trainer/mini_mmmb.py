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
"""mini-MMMB: pictures with questions in many languages and 15 categories, to train on and to measure with.

    python -m trainer.mini_mmmb --output data/mini-mmmb

Draws emoji, alone and in scenes, and writes a data set of two configurations that `datasets.load_dataset` reads:
`align`, pictures with English captions, and `instruct`, conversations about pictures, each in one language. Beside
them lies the benchmark, TSV files of MMMB's shape, one a language and parallel: `mini_mmmb_<language>.tsv` in the
Fluent style, `mini_mmmb_openmoji_<language>.tsv` in the harder OpenMoji style.
Training shows neither of the styles, nor the compositions (pairs of things, shapes with colours) that the benchmark
asks about; the words are the same in both, so what is measured is a new style and a new composition, not a new word.
`sheet.png` shows some of it, `example.jpg` is the benchmark's first picture. It is in six languages unless
`--languages` names others.
"""

import base64
import io
import json
import random
import re
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from tqdm.auto import tqdm

from trainer import benchmark_files
from trainer.build_benchmark import build_benchmark
from trainer.command_line import parse_arguments
from trainer.emoji import (
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
    listing,
    load_style,
    select_concepts,
    use_languages,
    wordings,
    words,
)
from trainer.languages import MMMB


SCENES = {
    "counting": "scene",
    "color": "attribute",
    "position": "spatial",
    "existence": "scene",
    "grouping": "reasoning",
}
CATEGORIES = dict.fromkeys(RECOGNITION, "recognition") | SCENES  # category: l2-category
SCENE_CATEGORIES = ("animals", "food_drink", "transport", "objects", "clothing", "leisure")
# In an order by which `held_out_colors` keeps no red heart or diamond and no yellow star, which are things, too.
SHAPES = ("circle", "heart", *POLYGONS, "square")
# Groups that a thing of the other could be counted to.
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
        "objects": List({"labels": List(Value("string")), "box": List(Value("float32"))}),
    }
)


@dataclass
class MiniMMMBArguments:
    """What to build, and where."""

    output: str = field(metadata={"help": "Folder of the data set."})
    concepts: int | None = field(
        default=None, metadata={"help": "Things to name, spread evenly over ten categories; all 789 if not given."}
    )
    image_size: int = field(default=112, metadata={"help": "Side of the pictures, in pixels."})
    align_views: int = field(default=8, metadata={"help": "Captioned pictures of each concept in each style."})
    align_scenes: int = field(default=0, metadata={"help": "Captioned pictures of scenes, beside them."})
    train: int = field(default=24_000, metadata={"help": "Pictures with conversations, each in one language."})
    languages: list[str] = field(
        default_factory=lambda: list(MMMB),
        metadata={
            "help": "Languages of the questions. Those of trainer/languages have sentences; of a hundred others "
            "there are the names alone, which are then asked for in English."
        },
    )
    language_shares: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Shares of the languages in them, such as en=0.8 zh=0.04; languages that are not named share the "
            "rest alike. Validation and benchmark have as much of each language."
        },
    )
    scenes: float = field(default=0.4, metadata={"help": "Share of scenes among them; the rest show one thing."})
    turns: int = field(default=3, metadata={"help": "Most questions in one conversation."})
    validation: int = field(default=300, metadata={"help": "Conversations about other pictures of the same kind."})
    test_per_category: int = field(default=134, metadata={"help": "The benchmark's questions of each category."})
    validation_per_category: int = field(
        default=0,
        metadata={
            "help": "Also write mini_mmmb_validation_<language>.tsv, a benchmark in the styles of training, to "
            "choose settings by; with so many questions of each category."
        },
    )
    seed: int = field(default=0, metadata={"help": "Decides all of it."})


def held_out_colors(shape: str) -> list[str]:
    """The four colours in which the benchmark asks for a shape: all its options, so that training rules none out."""
    start = SHAPES.index(shape) * len(SHADES) // len(SHAPES)
    colors = list(SHADES)
    return [colors[(start + 2 * step) % len(colors)] for step in range(len(LETTERS))]


def is_held_out(one: str, other: str) -> bool:
    """Whether a composition (two things, or a shape and a colour) is kept for the benchmark."""
    if one in SHAPES:
        return other in held_out_colors(one)
    return zlib.crc32(" ".join(sorted((one, other))).encode()) % 4 == 0


@dataclass(frozen=True)
class Question:
    """
    A question with its answer and wrong options.

    Args:
        kind: of its wordings, see `trainer.emoji.wordings`.
        about: the words that it asks about; without any, the options stand in the question if its wording has a slot.
        binding: the composition that it asks about.
    """

    kind: tuple[str, ...]
    answer: Text
    others: list[Text]
    about: Text | None = None
    binding: tuple[str, str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it asks what the picture shows, in whichever words."""
        return self.kind[0] in ("name", "describe", "recognition")

    def options(self, place: int) -> list[Text]:
        """All options, the answer at its place."""
        return [*self.others[:place], self.answer, *self.others[place:]]

    def ask(self, place: int, held_out: bool = False, rng: random.Random | None = None) -> Text:
        """The question as it is put, its answer at a place among the options; worded as `wordings` does."""
        sentence = wordings(self.kind, held_out, rng)
        return fill(sentence, self.about) if self.about else fill(sentence, listing(self.options(place)), quoted=False)


def as_typed(question: str, rng: random.Random, may_miss_words: bool = False) -> str:
    """
    A question as it is written, or as people type: now and then a small letter first and no mark at the end, and, if
    none of its words decides the answer, half of the time with words that are missing or in another order. Who learned
    to answer these does not hang on single words, and understands other wordings, too.
    """
    if rng.random() < 0.25:
        question = question[0].lower()[0] + question[1:].rstrip("?？؟.。")  # "İ".lower() is an i and a dot
    if may_miss_words and rng.random() < 0.5:
        space = " " if " " in question else ""  # Chinese words stand without spaces
        words = question.split() if space else list(question)
        words = [word for word in words if rng.random() < 0.8] or [rng.choice(words)]
        if len(words) > 1 and rng.random() < 0.3:
            place = rng.randrange(len(words) - 1)
            words[place : place + 2] = words[place + 1], words[place]
        question = space.join(words)
    return question


@dataclass(frozen=True)
class Picture:
    """
    A picture and what can be asked about it.

    Args:
        things: all that it shows, from the left to the right and from the top to the bottom.
        objects: the same, in the order in which they were drawn, each with its English `labels`, a name or a color and
            a shape, and its `box`: left, top, right and bottom as parts of the picture's side.
        caption: of them, in English.
    """

    image: PILImage.Image
    style: str
    things: list[Text]
    objects: list[dict[str, Any]]
    caption: str
    questions: list[Question]


def _in_reading_order(things: Sequence[Any], places: Sequence[tuple[float, float]]) -> list[Any]:
    return [thing for _, thing in sorted(zip(places, things, strict=True), key=lambda pair: pair[0][::-1])]


def _generic(rng: random.Random, things: Sequence[Text]) -> Question:
    """What a picture shows, be it one thing or a scene: in one sentence, or by the names alone."""
    distinct = [thing for index, thing in enumerate(things) if thing not in things[:index]]
    names = listing(distinct, quoted=False)
    if rng.random() < 0.25:
        captions = {language: texts[1] for language, texts in words("captions").items()}
        return Question(("describe",), fill(captions, names, quoted=False), [])
    return Question(("name",), names, [])


class World:
    """
    Draws pictures and asks about them.

    Args:
        concepts: what can be shown and named.
        styles: of the art.
        size: of the pictures, in pixels.
        is_test: whether to ask as the benchmark does, about what training leaves out.
    """

    def __init__(self, concepts: Sequence[Concept], styles: Sequence[str], size: int, is_test: bool) -> None:
        self.concepts, self.styles, self.size, self.is_test = list(concepts), list(styles), size, is_test

    @cached_property
    def by_category(self) -> dict[str, list[Concept]]:
        """The concepts of each recognition category."""
        return {name: [concept for concept in self.concepts if concept.category == name] for name in RECOGNITION}

    @cached_property
    def drawn(self) -> list[tuple[Concept, str]]:
        """Every concept in every style that draws it."""
        return [
            (concept, style) for concept in self.concepts for style in self.styles if concept.code in load_style(style)
        ]

    @cached_property
    def scene_concepts(self) -> list[Concept]:
        """What scenes are made of."""
        return [concept for category in SCENE_CATEGORIES for concept in self.by_category[category]]

    @cached_property
    def by_group(self) -> dict[str, list[Concept]]:
        """The concepts of each group that has enough of them for an odd one out."""
        groups = defaultdict(list)
        for concept in self.concepts:
            if concept.group:
                groups[concept.group].append(concept)
        return {name: members for name, members in sorted(groups.items()) if len(members) >= 3}

    def picture(self, category: str, rng: random.Random, concept: Concept | None = None) -> Picture:
        """
        A picture of a category, for recognition of a concept, with the questions that its split may ask, the
        benchmark's own first.

        Raises:
            `ValueError`: if the concepts are too few for the category.
        """
        for _ in range(500):
            if concept:
                style = rng.choice([style for style in self.styles if concept.code in load_style(style)])
                picture = self._recognition(rng, style, concept)
            else:
                picture = getattr(self, f"_{category}")(rng, rng.choice(self.styles))
            if picture is None:
                continue
            questions = picture.questions
            allowed = [one for one in questions if not one.binding or is_held_out(*one.binding) == self.is_test]
            if allowed:
                if not self.is_test and not concept and rng.random() < 0.25:
                    allowed.insert(0, _generic(rng, picture.things))
                return replace(picture, questions=allowed)
        raise ValueError(f"{len(self.concepts)} concepts are too few for the category {category!r}: take more.")

    def _choose(
        self,
        rng: random.Random,
        pool: Sequence[Concept],
        number: int,
        style: str | None,
        apart: Sequence[Concept] = (),
    ) -> list[Concept] | None:
        """
        Concepts of which none is confusable with another, or with those that they must stay apart from; to be shown,
        if a style is given: a training picture shows no pair that is kept for the benchmark.
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
    ) -> list[float]:
        """Pastes art with its centre at a place, its longer side `side`. These, and the box returned, are in parts."""
        scale = side * self.size / max(art.size)
        art = art.resize([max(1, round(length * scale)) for length in art.size], PILImage.Resampling.BILINEAR)
        art = art.rotate(turn, expand=True, resample=PILImage.Resampling.BICUBIC)
        corner = [round(part * self.size - length / 2) for part, length in zip(place, art.size, strict=True)]
        canvas.paste(art, tuple(corner), art)
        return [pixel / self.size for pixel in (*corner, corner[0] + art.width, corner[1] + art.height)]

    def _scene(
        self,
        rng: random.Random,
        style: str,
        concepts: Sequence[Concept],
        places: Sequence[tuple[float, float]],
        side: float,
        questions: list[Question],
    ) -> Picture:
        canvas = PILImage.new("RGB", (self.size, self.size), rng.choice(BACKGROUNDS))
        objects = []
        for concept, (x, y) in zip(concepts, places, strict=True):
            place = (x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02))
            art = self._art(rng, concept, style)
            box = self._paste(canvas, art, place, side * rng.uniform(0.9, 1.05), rng.uniform(-10, 10))
            objects.append({"labels": [concept.names["en"]], "box": box})
        things = _in_reading_order([concept.names for concept in concepts], places)
        return Picture(canvas, style, things, objects, ", ".join(thing["en"] for thing in things), questions)

    def _art(self, rng: random.Random, concept: Concept, style: str) -> PILImage.Image:
        """A concept drawn; in training, half in other colours, since styles differ in these more than in shape."""
        art = draw(concept.code, style, self.size)
        if self.is_test or rng.random() < 0.5:
            return art
        mixed = [[float(row == column) + rng.gauss(0, 0.2) for column in range(3)] for row in range(3)]
        matrix = [part for row in mixed for part in (*(value / max(0.5, sum(row)) for value in row), 0.0)]
        tinted = art.convert("RGB").convert("RGB", matrix)
        tinted.putalpha(art.getchannel("A"))
        return tinted

    def single(
        self,
        rng: random.Random,
        concept: Concept,
        style: str,
        questions: list[Question],
        art: PILImage.Image | None = None,
    ) -> Picture:
        """A picture of one thing (its art, if given): size, place, turn and background are the generator's."""
        side = rng.uniform(0.65, 0.92)
        room = (1 - side) / 2 * 0.9
        place = (0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room))
        canvas = PILImage.new("RGB", (self.size, self.size), rng.choice(BACKGROUNDS))
        box = self._paste(canvas, art or self._art(rng, concept, style), place, side, rng.uniform(-10, 10))
        name = concept.names["en"]
        return Picture(canvas, style, [concept.names], [{"labels": [name], "box": box}], name, questions)

    def _recognition(self, rng: random.Random, style: str, concept: Concept) -> Picture | None:
        others = self._choose(rng, self.by_category[concept.category], 3, None, [concept])
        if others is None or concept.code not in load_style(style):
            return None
        wrong = [other.names for other in others]
        questions = [Question(("recognition", concept.category), concept.names, wrong)]
        if not self.is_test:
            questions += [_generic(rng, [concept.names]) for _ in range(3)]
            if concept.group in self.by_group:
                questions.append(self._group_question(rng, concept))
            rng.shuffle(questions)
        return self.single(rng, concept, style, questions)

    def _group_question(self, rng: random.Random, concept: Concept) -> Question:
        wrong = [group for group in self.by_group if group != concept.group]
        wrong = [group for group in wrong if {group, concept.group} not in OVERLAPPING_GROUPS]
        others = [words("groups", group) for group in rng.sample(wrong, 3)]
        return Question(("group_of",), words("groups", concept.group), others)

    def _counting(self, rng: random.Random, style: str) -> Picture | None:
        pair = self._choose(rng, self.scene_concepts, 2, style)
        if pair is None:
            return None
        low = rng.randint(1, 3)
        numbers = [rng.randint(low, low + 3)]
        numbers.append(rng.randint(0, min(3, 9 - numbers[0])))
        cells = [(x, y) for x in (0.125, 0.375, 0.625, 0.875) for y in (0.125, 0.375, 0.625, 0.875)]
        rng.shuffle(cells)
        things = [concept for concept, number in zip(pair, numbers, strict=True) for _ in range(number)]
        questions = []
        for concept, number, start in zip(pair, numbers, (low, 1), strict=True):
            if number:
                options = [dict.fromkeys(TABLES, str(other)) for other in range(start, start + 4) if other != number]
                answer = dict.fromkeys(TABLES, str(number))
                rng.shuffle(options)
                binding = (pair[0].code, pair[1].code)
                questions.append(Question(("count",), answer, options, concept.names, binding))
        return self._scene(rng, style, things, cells[: len(things)], 0.22, questions)

    def _color(self, rng: random.Random, style: str) -> Picture | None:
        shapes = rng.sample(SHAPES, 4)
        colors = rng.sample(held_out_colors(shapes[0]) if self.is_test else list(SHADES), 4)
        arts = [draw_shape(shape, color, style, self.size) for shape, color in zip(shapes, colors, strict=True)]
        is_allowed = self.is_test or not any(map(is_held_out, shapes, colors))
        if not is_allowed or any(art is None for art in arts):
            return None
        image = PILImage.new("RGB", (self.size, self.size), "#d6dae0")  # neither white nor black is lost on it
        places = rng.sample(GRIDS[4], 4)
        boxes = [
            self._paste(image, art, place, 0.34 * rng.uniform(0.85, 1.1), 0)
            for art, place in zip(arts, places, strict=True)
        ]
        questions = []
        asked = shapes[:1] if self.is_test else shapes
        for index, (shape, color) in enumerate(zip(asked, colors, strict=False)):
            named, colored = words("shapes", shape), words("colors", color)
            if self.is_test or rng.random() < 0.5:
                others = [words("colors", other) for other in colors if other != color]
                question = Question(("color_of",), colored, others, named, (shape, color))
            else:
                others = [words("shapes", other) for other in shapes if other != shape]
                question = Question(("of_color",), named, others, colored, (shape, color))
            questions.insert(rng.randint(0, index), question)
        things = _in_reading_order([words("shapes", shape) for shape in shapes], places)
        named = _in_reading_order([f"{color} {shape}" for shape, color in zip(shapes, colors, strict=True)], places)
        labels = [[color, shape] for shape, color in zip(shapes, colors, strict=True)]
        objects = [{"labels": words, "box": box} for words, box in zip(labels, boxes, strict=True)]
        return Picture(image, style, things, objects, ", ".join(named), questions)

    def _position(self, rng: random.Random, style: str) -> Picture | None:
        in_row = rng.random() < 0.6
        things = self._choose(rng, self.scene_concepts, 3 if in_row else 4, style)
        if things is None:
            return None
        questions = []
        if in_row:
            horizontal = rng.random() < 0.5
            places = [(part, 0.5) if horizontal else (0.5, part) for part in (0.14, 0.5, 0.86)]
            absent = self._choose(rng, self.scene_concepts, 2, None, things)
            if absent is None:
                return None
            for end, side in ((0, "left" if horizontal else "above"), (2, "right" if horizontal else "below")):
                others = [concept.names for concept in (things[2 - end], *absent)]
                rng.shuffle(others)
                binding = (things[end].code, things[1].code)
                questions.append(Question((side,), things[end].names, others, things[1].names, binding))
        else:
            places = GRIDS[4]
            corners = {corner: words("corners", corner) for corner in TABLES["en"]["corners"]}
            for index, (corner, thing) in enumerate(zip(corners, things, strict=True)):
                others = [text for other, text in corners.items() if other != corner]
                rng.shuffle(others)
                binding = (thing.code, things[(index + 1) % 4].code)
                questions.append(Question(("where",), corners[corner], others, thing.names, binding))
        rng.shuffle(questions)
        return self._scene(rng, style, things, places, 0.27 if in_row else 0.36, questions)

    def _existence(self, rng: random.Random, style: str) -> Picture | None:
        number = rng.randint(2, 4)
        things = self._choose(rng, self.scene_concepts, number, style)
        absent = things and self._choose(rng, self.scene_concepts, 3, None, things)
        if not things or not absent:
            return None
        binding = (things[0].code, things[1].code)
        others = [concept.names for concept in absent]
        questions = [Question(("present",), things[0].names, others, binding=binding)]
        if number > 2:
            shown = [concept.names for concept in things[:3]]
            questions.append(Question(("absent",), absent[0].names, shown, binding=binding))
        rng.shuffle(questions)
        return self._scene(rng, style, things, GRIDS[number], 0.36, questions)

    def _grouping(self, rng: random.Random, style: str) -> Picture | None:
        group, other = rng.sample(list(self.by_group), 2)
        if rng.random() < 0.5:
            chosen = self._choose(rng, self.by_group[group], 1, style)
            if chosen is None:
                return None
            return self.single(rng, chosen[0], style, [self._group_question(rng, chosen[0])])
        things = self._choose(rng, self.by_group[group], 3, style)
        odd = things and self._choose(rng, self.by_group[other], 1, style, things)
        if not odd or {group, other} in OVERLAPPING_GROUPS:
            return None
        binding = (things[0].code, odd[0].code)
        question = Question(("odd_one_out",), odd[0].names, [thing.names for thing in things], binding=binding)
        return self._scene(rng, style, [*things, *odd], rng.sample(GRIDS[4], 4), 0.36, [question])


def _jpeg(image: PILImage.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def align_rows(number: int, scenes: int, world: World, seed: int) -> Iterator[dict[str, Any]]:
    """
    Captioned pictures: first of one thing in the art's own colours, each in every style before any again, then of
    scenes, whose captions name all that they show in reading order. English, as CLIP's are.
    """
    for index in range(number + scenes):
        rng = random.Random(f"{seed} align {index}")
        if index < number:
            concept, style = world.drawn[index % len(world.drawn)]
            category = concept.category
            picture = world.single(rng, concept, style, [], draw(concept.code, style, world.size))
        else:
            picture = world.picture(category := rng.choice(list(SCENES)), rng)
        answer = rng.choice(TABLES["en"]["captions"]).format(picture.caption)
        yield {
            "messages": [
                {"role": "user", "content": wordings(("describe",), rng=rng)["en"]},
                {"role": "assistant", "content": answer},
            ],
            "images": [{"bytes": _jpeg(picture.image), "path": None}],
            "language": "en",
            "category": category,
            "concept": picture.caption,
            "style": picture.style,
            "objects": picture.objects,
        }


def read_language_shares(pairs: Sequence[str]) -> dict[str, float]:
    """
    Each language's share of the conversations, from `en=0.8` and the like.

    Raises:
        `ValueError`: if a pair is no language with a share, or the shares do not add up to 1.
    """
    shares = {}
    for pair in pairs:
        language, _, number = pair.partition("=")
        if language not in LANGUAGES or language in shares or not re.fullmatch(r"0?\.\d+|[01](\.0*)?", number):
            raise ValueError(
                f"language_shares has {pair!r}: name each of {', '.join(LANGUAGES)} at most once, with a share from 0 "
                "to 1, such as en=0.8."
            )
        shares[language] = float(number)
    rest = [language for language in LANGUAGES if language not in shares]
    left = 1 - sum(shares.values())
    if left < -1e-9 or (not rest and left > 1e-9):
        raise ValueError(
            f"language_shares={' '.join(pairs)} add up to {1 - left:g}: make it 1, or leave a language out."
        )
    return {language: shares.get(language, max(0.0, left) / max(1, len(rest))) for language in LANGUAGES}


def languages_in_turn(number: int, shares: Mapping[str, float]) -> Iterator[str]:
    """Languages of so many rows, at any point as near to their shares as whole numbers can be."""
    counts = dict.fromkeys(shares, 0)
    for index in range(number):
        language = max(counts, key=lambda one: shares[one] * (index + 1) - counts[one])
        counts[language] += 1
        yield language


def instruct_rows(
    number: int, world: World, split: str, shares: Mapping[str, float], arguments: MiniMMMBArguments
) -> Iterator[dict[str, Any]]:
    """Conversations about pictures, the languages in turn and by their shares."""
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
            "objects": picture.objects,
        }


def benchmark_pictures(
    world: World, per_category: int, seed: int, split: str = "test"
) -> Iterator[tuple[str, Picture]]:
    """
    The benchmark's pictures. A recognition category shows all its concepts before any again; of a scene's options each
    is the answer as often as any other, so that who always gives the same answer is right by chance alone.
    """
    for category in tqdm(CATEGORIES, desc=f"benchmark, {', '.join(world.styles)}"):
        asked: Counter[Any] = Counter()
        for index in range(per_category):
            rng = random.Random(f"{seed} {split} {category} {index}")
            if category in RECOGNITION:
                drawn = [one for one in world.by_category[category] if one.code in load_style(world.styles[0])]
                random.Random(f"{seed} {category}").shuffle(drawn)
                yield category, world.picture(category, rng, drawn[index % len(drawn)])
                continue
            pictures = [world.picture(category, rng) for _ in range(8)]
            picture = min(pictures, key=lambda picture: [asked[kind] for kind in _answers(picture)])
            asked.update(_answers(picture))
            yield category, picture


def _answers(picture: Picture) -> list[Any]:
    """What of a picture's question is to be as frequent as its like, the most important first."""
    question = picture.questions[0]
    options = frozenset(text["en"] for text in question.options(0))
    return [question.kind, (options, question.answer["en"]), options, question.answer["en"]]


def benchmark_entries(pictures: list[tuple[str, Picture]], held_out: bool = False) -> list[benchmark_files.Question]:
    """
    The pictures' first questions in all languages; the answer's letters are balanced in each category.

    Args:
        held_out: whether to ask half of them alone, and in words that training never shows: what one thing is in any
            words for that.
    """
    images = [base64.b64encode(_jpeg(picture.image)).decode() for _, picture in pictures]
    entries = []
    for index, (category, picture) in enumerate(pictures):
        if held_out and index // len(LETTERS) % 2:  # of each letter as many
            continue
        question, place, rng = picture.questions[0], index % len(LETTERS), random.Random(index)
        if held_out and category in RECOGNITION:
            question = replace(question, kind=rng.choice([("name",), ("name",), ("describe",), question.kind]))
        asked = question.ask(place, held_out, rng if held_out else None)
        for language in [one for one in LANGUAGES if one in asked]:
            entries.append(
                benchmark_files.Question(
                    index=str(index),
                    language=language,
                    image=images[index],
                    text=asked[language],
                    options=dict(zip(LETTERS, (text[language] for text in question.options(place)), strict=True)),
                    answer=LETTERS[place],
                    category=category,
                    l2_category=CATEGORIES[category],
                )
            )
    return entries


def draw_sheet(pictures: list[tuple[str, Picture]], columns: int = 12) -> PILImage.Image:
    """Some pictures of each category, a row each."""
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
---
mini-MMMB. Sources and licences of art and names: NOTICE. The pictures of `mini_mmmb_openmoji_*.tsv` are share-alike.
"""


def build(arguments: MiniMMMBArguments) -> None:
    """Writes the data set and the benchmark, unless the folder holds them already."""
    use_languages(arguments.languages)
    output = Path(arguments.output)
    settings = {name: value for name, value in asdict(arguments).items() if name != "output"}
    here = Path(__file__).parent
    sources = [*(here / name for name in ("mini_mmmb.py", "emoji.py", "build_benchmark.py")), *DATA.rglob("*.json*")]
    settings["sources"] = {str(file.relative_to(here)): zlib.crc32(file.read_bytes()) for file in sorted(sources)}
    shares, balanced = map(read_language_shares, (arguments.language_shares, ()))
    settings_file = output / "settings.json"
    if settings_file.exists() and json.loads(settings_file.read_text()) == settings:
        print(f"{output} holds this data set already: reused.")
        return
    concepts = select_concepts(arguments.concepts, arguments.seed)
    settings_file.unlink(missing_ok=True)

    train = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=False)
    jobs = {
        "align/train": (
            align_rows,
            len(train.drawn) * arguments.align_views,
            {"scenes": arguments.align_scenes, "seed": arguments.seed},
        ),
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
        build_benchmark(benchmark_entries(pictures), output, name)
        print(f"{output / name}_*.tsv: {len(pictures)} questions in each of {len(LANGUAGES)} languages.")
        if style == TEST_STYLES[0]:
            build_benchmark(benchmark_entries(pictures, held_out=True), output, f"{name}_wordings")
            print(f"{output / name}_wordings_*.tsv: the same in other words, that training never shows.")
            draw_sheet(pictures).save(output / "sheet.png")
            (output / "example.jpg").write_bytes(_jpeg(pictures[0][1].image))
    if arguments.validation_per_category:
        world = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=True)
        pictures = list(benchmark_pictures(world, arguments.validation_per_category, arguments.seed, "validation"))
        build_benchmark(benchmark_entries(pictures), output, "mini_mmmb_validation")
    (output / "README.md").write_text(CARD)
    shutil.copy(DATA / "NOTICE", output / "NOTICE")
    settings_file.write_text(json.dumps(settings, indent=2) + "\n")  # last: a build that was cut short is not reused


if __name__ == "__main__":
    build(parse_arguments(MiniMMMBArguments, __doc__))
