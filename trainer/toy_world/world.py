# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of mini-MMMB and the questions about them."""

import random
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from PIL import Image as PILImage

from trainer.toy_world.emoji import (
    POLYGONS,
    RECOGNITION,
    SHADES,
    TABLES,
    Concept,
    Text,
    draw,
    draw_shape,
    fill,
    is_unseen_wording,
    listing,
    load_style,
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
    words, half of the questions miss some, have two in another order, or have words with their letters in another
    order. A model that learns from such questions does not depend on single words and ignores those that it does not
    know, so that it understands wordings that it has not seen. A question that would become a wording that training
    never shows stays as it is.
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
        parts = ["".join(rng.sample(part, len(part))) if rng.random() < 0.15 else part for part in parts]
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
