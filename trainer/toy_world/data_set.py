# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Writes mini-MMMB: the data set that `datasets.load_dataset` reads, and the benchmark."""

import base64
import io
import json
import random
import re
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from tqdm.auto import tqdm

from trainer.evaluation.benchmark_builder import build_benchmark
from trainer.evaluation.benchmark_files import Question
from trainer.languages import FOLDER
from trainer.mini_mmmb import MiniMMMBArguments
from trainer.toy_world.card import write_data_card
from trainer.toy_world.emoji import (
    DATA,
    LANGUAGES,
    RECOGNITION,
    TABLES,
    TEST_STYLES,
    TRAIN_STYLES,
    draw,
    load_style,
    select_concepts,
    use_languages,
    wordings,
)
from trainer.toy_world.world import CATEGORIES, LETTERS, SCENES, Picture, World, as_typed


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
# The number of things in `captions`. A small tower that learns more of them learns each less well in the same time.
CAPTIONED = 300
# A change to one of these files may change the data set. An earlier data set is then built again.
SOURCES = (
    *("mini_mmmb.py", "toy_world/data_set.py", "toy_world/card.py", "toy_world/world.py", "toy_world/emoji.py"),
    "evaluation/benchmark_builder.py",
)


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
                style = load_style(world.styles[0])
                drawn = [concept for concept in world.by_category[category] if concept.code in style]
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


def build(arguments: MiniMMMBArguments) -> None:
    """Writes the data set and the benchmark, unless the folder already holds them."""
    use_languages(arguments.languages)
    output = Path(arguments.output)
    settings = {name: value for name, value in asdict(arguments).items() if name != "output"}
    here = Path(__file__).parents[1]
    sources = [here / name for name in SOURCES] + [*DATA.rglob("*.json*"), *FOLDER.glob("*.json")]
    settings["sources"] = {str(file.relative_to(here)): zlib.crc32(file.read_bytes()) for file in sorted(sources)}
    shares, balanced = read_language_shares(arguments.language_shares), read_language_shares(())
    settings_file = output / "settings.json"
    if settings_file.exists() and json.loads(settings_file.read_text()) == settings:
        print(f"{output} already holds this data set: it is reused.")
        return
    concepts = select_concepts(arguments.concepts, arguments.seed)
    settings_file.unlink(missing_ok=True)

    train = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=False)
    captioned = {"align": train}
    if arguments.captions:
        others = [concept for concept in select_concepts() if concept not in concepts]
        random.Random(arguments.seed).shuffle(others)
        captions = [*concepts, *others][: max(CAPTIONED, len(concepts))]
        captioned["captions"] = World(captions, TRAIN_STYLES, arguments.image_size, is_test=False)
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        f"{name}/train": partial(align_rows, len(world.drawn) * arguments.align_views, world, arguments.seed)
        for name, world in captioned.items()
    }
    parts["instruct/train"] = partial(instruct_rows, arguments.train, train, "train", shares, arguments)
    parts["instruct/validation"] = partial(
        instruct_rows, arguments.validation, train, "validation", balanced, arguments
    )
    for name, rows in parts.items():
        with TemporaryDirectory() as cache:
            dataset = Dataset.from_generator(rows, features=FEATURES, cache_dir=cache)
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
            if questions := questions_about(pictures, held_out=True):
                build_benchmark(questions, output, f"{name}_wordings")
                print(f"{output / name}_wordings_*.tsv: half of them, in held-out wordings.")
            if missing := sorted(set(LANGUAGES) - {question.language for question in questions}):
                print(f"There are no held-out wordings in {', '.join(missing)}: no such file in these languages.")
            draw_sheet(pictures).save(output / "sheet.png")
            (output / "example.jpg").write_bytes(_jpeg(pictures[0][1].image))
    if arguments.validation_per_category:
        world = World(concepts, TRAIN_STYLES, arguments.image_size, is_test=True)
        pictures = list(benchmark_pictures(world, arguments.validation_per_category, arguments.seed, "validation"))
        build_benchmark(questions_about(pictures), output, "mini_mmmb_validation")
    write_data_card(arguments)
    shutil.copy(DATA / "NOTICE", output / "NOTICE")
    settings_file.write_text(json.dumps(settings, indent=2) + "\n")  # last, so that an interrupted build is not reused
