# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
import csv
import itertools
import json
import random
import re
import shlex
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset, load_dataset
from PIL import Image as PILImage

from trainer.benchmark import read_command_line
from trainer.common.command_line import parse_arguments
from trainer.evaluation.answerers import PixelNeighbors
from trainer.evaluation.benchmark_files import find_benchmark, read_benchmark
from trainer.languages import MMMB, languages, sentences
from trainer.mini_mmmb import MiniMMMBArguments
from trainer.toy_world.data_set import benchmark_pictures, build, languages_in_turn, read_language_shares
from trainer.toy_world.emoji import (
    LANGUAGES,
    RECOGNITION,
    TABLES,
    TEST_STYLES,
    TRAIN_STYLES,
    all_concepts,
    draw,
    is_unseen_wording,
    select_concepts,
    use_languages,
    wordings,
    words,
)
from trainer.toy_world.world import CATEGORIES, World, as_typed, is_held_out


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> MiniMMMBArguments:
    folder = tmp_path_factory.mktemp("mini")
    sizes = {"align_views": 1, "train": 120, "validation": 12, "test_per_category": 8}
    arguments = MiniMMMBArguments(str(folder), concepts=50, image_size=48, **sizes)
    build(arguments)
    return arguments


def test_the_card_has_the_command_that_builds_the_same_data_and_loads_and_measures_them(
    arguments: MiniMMMBArguments,
) -> None:
    folder = Path(arguments.output)
    card = (folder / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in card.replace("\\\n", " ").splitlines() if "python -m" in line]
    assert parse_arguments(MiniMMMBArguments, "", commands[0][3:]) == arguments
    verb, to_measure = read_command_line(commands[1][3:])
    assert verb == "run"
    assert find_benchmark(to_measure.benchmark, to_measure.languages, "main").keys() == set(MMMB)
    assert f'load_dataset("{folder}", "instruct", split="train")' in card
    for name in re.findall(r"^\| `(.+?)` \|", card, re.M):
        assert any(folder.glob(name.replace("<language>", "*"))), name
    assert "captions/" not in card


@pytest.fixture
def _six_languages_again() -> Iterator[None]:
    yield
    use_languages(MMMB)


def load(arguments: MiniMMMBArguments, name: str, split: str, cache: Path) -> Dataset:
    return load_dataset(arguments.output, name=name, split=split, cache_dir=str(cache))


def benchmark(arguments: MiniMMMBArguments, language: str, name: str = "mini_mmmb") -> list[dict[str, str]]:
    with (Path(arguments.output) / f"{name}_{language}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.usefixtures("_six_languages_again")
def test_every_language_has_every_word_and_sentence_in_its_own_script() -> None:
    scripts = {"zh": ("\u4e00", "\u9fff"), "ar": ("\u0600", "\u06ff"), "ru": ("\u0400", "\u04ff")}

    def structure(table: object) -> object:
        if isinstance(table, dict):
            return {key: structure(value) for key, value in table.items() if key != "held_out"}
        return {text.count("{}") for text in table} if isinstance(table, list) else table.count("{}")

    use_languages([language for language in languages() if sentences(language)])
    assert len(LANGUAGES) == 20
    for language in LANGUAGES:
        assert structure(TABLES[language]) == structure(TABLES["en"]), language
        for name in ("colors", "shapes", "groups", "corners"):  # the words of each are options of the same question
            assert len(set(TABLES[language][name].values())) == len(TABLES[language][name]), (language, name)
        if language in scripts:
            low, high = scripts[language]
            names = TABLES[language]["names"].values()
            foreign = {name for name in names if not any(low <= letter <= high for letter in name)}
            assert foreign <= {"DNA", "DVD", "CD"}, language


def test_a_kind_of_question_without_wordings_for_training_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES["tr"]["questions"]["count"], "trained", [])
    with pytest.raises(ValueError, match=r"tr\.json has no wordings in 'questions\.count\.trained': add one"):
        wordings(("count",))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_has_many_wordings_and_training_has_none_of_the_held_out_ones(language: str) -> None:
    questions = TABLES[language]["questions"]
    kinds = {name: kind for name, kind in questions.items() if name != "recognition"} | questions["recognition"]
    trained = [text for kind in kinds.values() for text in kind["trained"]]
    held_out = [text for kind in kinds.values() for text in kind["held_out"]]
    assert len(set(trained + held_out)) == len(trained + held_out)
    assert len([*questions["name"]["trained"], *questions["describe"]["trained"]]) >= 20
    assert len([*questions["name"]["held_out"], *questions["describe"]["held_out"]]) >= 8
    for kind in kinds.values():
        assert len(kind["trained"]) >= 3 and kind["held_out"]
        assert len({text.count("{}") for text in kind["trained"] + kind["held_out"]}) == 1

    def plain(text: str) -> str:
        return re.sub(r"\W", "", text.casefold())

    assert not set(map(plain, trained)) & set(map(plain, held_out))
    introduction = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "trainer" / "ask.py").read_text("utf-8")
    assert any(text in introduction for text in trained) or language in ("pt", "ar")
    assert not any(text in introduction for text in held_out)


def test_a_word_that_a_language_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES["tr"], "colors", {})
    with pytest.raises(ValueError, match=r"tr\.json has no 'colors\.red'"):
        words("colors", "red")


@pytest.mark.usefixtures("_six_languages_again")
def test_the_benchmark_is_drawn_in_any_language_that_unicode_has_names_in(tmp_path: Path) -> None:
    """
    Kaleidoscope's languages have their own sentences. Zulu and Luxembourgish have English sentences. Luxembourgish
    also lacks some names.
    """
    languages = ["bn", "hr", "nl", "fr", "de", "hi", "hu", "lt", "ne", "fa", "sr", "es", "te", "uk", "zu", "lb"]
    sizes = {"concepts": 50, "image_size": 16, "align_views": 1, "train": 16, "validation": 16}
    with pytest.warns(
        UserWarning,
        match=r"There are names in 'lb', but no sentences in .*/lb\.json: its questions are asked in English",
    ):
        build(MiniMMMBArguments(output=str(tmp_path), languages=languages, test_per_category=2, **sizes))
    rows = {language: read_benchmark(tmp_path / f"mini_mmmb_{language}.tsv", language) for language in languages}
    assert not (tmp_path / "mini_mmmb_en.tsv").exists()
    for language, questions in rows.items():
        assert [question.answer for question in questions] == [question.answer for question in rows["bn"]]
        assert all(len(set(question.options.values())) == 4 for question in questions)
        others = rows["zu" if language != "zu" else "lb"]
        animals = [question for question in questions if question.category == "animals"]
        names = set(TABLES[language]["names"].values())
        assert {text for question in animals for text in question.options.values()} <= names
        has_sentences = language not in ("zu", "lb")
        for question, other in zip(questions[:2], others, strict=False):
            assert (question.text != other.text) == has_sentences
    assert "কোন প্রাণী" in rows["bn"][0].text


@pytest.mark.usefixtures("_six_languages_again")
def test_over_a_hundred_languages_have_names_and_one_without_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There are no names in 'xx': choose from af, ak, am") as error:
        build(MiniMMMBArguments(output=str(tmp_path), languages=["xx"]))
    languages = str(error.value).rpartition("choose from ")[2].rstrip(".").split(", ")
    assert len(languages) > 100
    for language in languages:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use_languages([language])
        assert len(select_concepts(50)) == 50


def test_conversations_are_about_one_picture_in_one_language(arguments: MiniMMMBArguments, tmp_path: Path) -> None:
    rows = load(arguments, "instruct", "train", tmp_path)
    assert Counter(rows["language"]) == dict.fromkeys(LANGUAGES, 20)
    assert set(rows["category"]) == set(CATEGORIES)
    assert max(len(row["messages"]) for row in rows) > 2
    for row in rows:
        assert row["images"][0].size == (48, 48)
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
        if row["language"] == "zh":
            assert any("\u4e00" <= letter <= "\u9fff" for letter in row["messages"][0]["content"])


def test_align_shows_every_concept_in_every_style_with_english_captions(
    arguments: MiniMMMBArguments, tmp_path: Path
) -> None:
    rows = load(arguments, "align", "train", tmp_path)
    assert len(rows) == 50 * len(TRAIN_STYLES)
    assert len(set(zip(rows["concept"], rows["style"], strict=True))) == len(rows)
    assert all(row["concept"] in row["messages"][1]["content"] for row in rows)


def test_the_benchmark_is_parallel_and_its_letters_are_balanced(arguments: MiniMMMBArguments) -> None:
    english = benchmark(arguments, "en")
    assert Counter(row["category"] for row in english) == dict.fromkeys(CATEGORIES, 8)
    assert Counter(row["answer"] for row in english) == dict.fromkeys("ABCD", len(english) // 4)
    for language in LANGUAGES:
        rows = benchmark(arguments, language)
        for name in ("index", "image", "answer", "category", "l2-category", "split"):
            assert [row[name] for row in rows] == [row[name] for row in english]
        assert all(len({row[letter].casefold() for letter in "ABCD"}) == 4 for row in rows)
    names = {concept.names["en"]: concept.names for concept in all_concepts()}
    for row, russian in zip(english[:80], benchmark(arguments, "ru"), strict=False):
        assert [names[row[letter]]["ru"] for letter in "ABCD"] == [russian[letter] for letter in "ABCD"]


def test_training_shows_neither_the_styles_nor_the_compositions_of_the_benchmark(
    arguments: MiniMMMBArguments, tmp_path: Path, pasted: list
) -> None:
    for name in ("align", "instruct"):
        assert set(load(arguments, name, "train", tmp_path)["style"]) == set(TRAIN_STYLES)
    world = World(select_concepts(50), ["noto"], 16, is_test=False)
    arts = {id(draw(concept.code, "noto", 16)): concept.code for concept in world.concepts}
    world._art = lambda _rng, concept, style: draw(concept.code, style, 16)  # in its own colours, to be recognised
    shown_pairs = set()
    for category in ("counting", "position", "existence", "grouping"):
        for seed in range(40):
            pasted.clear()
            world.picture(category, random.Random(seed))
            together = {arts[id(art)] for art, _ in pasted}
            shown_pairs |= {tuple(sorted(pair)) for pair in itertools.combinations(together, 2)}
    test = World(world.concepts, TEST_STYLES[:1], 16, is_test=True)
    asked_pairs = {
        tuple(sorted(test.picture(category, random.Random(seed)).questions[0].binding))
        for category in ("counting", "position", "existence")
        for seed in range(40)
    }
    assert len(shown_pairs) > 100 and len(asked_pairs) > 20
    assert not shown_pairs & asked_pairs


def test_training_never_shows_the_color_that_the_benchmark_asks_for_and_the_shape_does_not_reveal_it() -> None:
    train = World(select_concepts(50), ["twemoji"], 16, is_test=False)
    trained = {
        question.binding for seed in range(120) for question in train.picture("color", random.Random(seed)).questions
    }
    world = World(select_concepts(50), TEST_STYLES[:1], 16, is_test=True)
    answers = defaultdict(Counter)
    for seed in range(600):
        (question,) = world.picture("color", random.Random(seed)).questions
        options = tuple(sorted(text["en"] for text in (question.answer, *question.others)))
        answers[question.about["en"], options][question.answer["en"]] += 1
        assert question.binding not in trained
    things = {("heart", "red"), ("diamond", "red"), ("star", "yellow")}  # ♥, ♦, ⭐: training shows them as things
    assert not any(itertools.starmap(is_held_out, things))
    assert len(trained) > 20
    assert len(answers) == len({text for text, _ in answers}) == 6  # shapes, each with the same four options
    for (_, options), counts in answers.items():
        assert set(counts) == set(options)
        assert max(counts.values()) / counts.total() < 0.4


def test_the_order_of_the_wrong_options_does_not_reveal_the_answer() -> None:
    world = World(select_concepts(50), TEST_STYLES[:1], 16, is_test=True)
    ascending = [
        (values := [int(other["en"]) for other in world.picture("counting", random.Random(seed)).questions[0].others])
        == sorted(values)
        for seed in range(120)
    ]
    assert 0.05 < sum(ascending) / len(ascending) < 0.35  # by chance, 1 of 6 orders is ascending


@pytest.fixture
def pasted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PILImage.Image, tuple[float, float]]]:
    """The art that the world pastes, with its centre as a fraction of the picture's side."""
    pastes = []
    paste = World._paste

    def spy(
        world: World, canvas: PILImage.Image, art: PILImage.Image, place: tuple[float, float], *rest: float
    ) -> None:
        pastes.append((art, place))
        paste(world, canvas, art, place, *rest)

    monkeypatch.setattr(World, "_paste", spy)
    return pastes


def test_counted_things_are_as_many_as_the_answer_says(pasted: list) -> None:
    world = World(select_concepts(50), ["noto"], 48, is_test=True)
    for seed in range(20):
        picture = world.picture("counting", random.Random(seed))
        answers = sorted(int(question.answer["en"]) for question in picture.questions)
        arts = [id(art) for art, _ in pasted[-sum(answers) :]]  # Earlier tries had no allowed question.
        assert sorted(Counter(arts).values()) == answers


def test_things_lie_where_the_answer_says(pasted: list) -> None:
    concepts = {concept.names["en"]: concept for concept in select_concepts(50)}
    world = World(list(concepts.values()), ["noto"], 48, is_test=True)
    seen = Counter()
    for seed in range(40):
        picture = world.picture("position", random.Random(seed))

        def place(name: str) -> tuple[float, float]:
            art = draw(concepts[name].code, "noto", 48)
            return next(centre for pasted_art, centre in reversed(pasted) if pasted_art is art)

        for question in picture.questions:
            (kind,), answer = question.kind, question.answer["en"]
            x, y = place(question.about["en"])
            if kind == "where":
                assert answer == ("top", "bottom")[y > 0.5] + " " + ("left", "right")[x > 0.5]
            else:
                other_x, other_y = place(answer)
                is_true = {"left": other_x < x - 0.2, "right": other_x > x + 0.2}
                is_true |= {"above": other_y < y - 0.2, "below": other_y > y + 0.2}
                assert is_true[kind]
            seen[answer if kind == "where" else kind] += 1
    assert len(seen) == 8


def test_training_asks_in_many_wordings_but_in_none_of_the_held_out_ones(
    arguments: MiniMMMBArguments, tmp_path: Path
) -> None:
    rows = load(arguments, "instruct", "train", tmp_path)
    questions = {turn["content"] for row in rows for turn in row["messages"][::2]}
    assert len(questions) > 200
    assert any(text[0].islower() and text[-1] not in "?." for text in questions)  # as people type
    own = {row["index"]: row for row in benchmark(arguments, "en")}
    other = benchmark(arguments, "en", "mini_mmmb_wordings")
    assert len(other) == len(own) / 2
    assert Counter(row["answer"] for row in other) == dict.fromkeys("ABCD", len(other) // 4)
    for row in other:
        assert row["question"] not in questions and row["question"] != own[row["index"]]["question"]
        assert all(row[name] == own[row["index"]][name] for name in ("image", "answer", *"ABCD"))
    assert len({row["question"] for row in other if row["category"] in RECOGNITION}) > 8


@pytest.mark.usefixtures("_six_languages_again")
def test_languages_without_held_out_wordings_have_no_file_of_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = {"align_views": 1, "train": 2, "validation": 2, "test_per_category": 4}
    for languages_in_use in (["de"], ["de", "tr"]):
        folder = tmp_path / "-".join(languages_in_use)
        arguments = MiniMMMBArguments(str(folder), concepts=50, image_size=16, languages=languages_in_use, **sizes)
        build(arguments)
        assert "no held-out wordings in de:" in capfd.readouterr().out
        files = {file.name for file in folder.glob("mini_mmmb_wordings_*.tsv")}
        assert files == {f"mini_mmmb_wordings_{language}.tsv" for language in languages_in_use if language != "de"}
        assert len(benchmark(arguments, "de", "mini_mmmb_openmoji")) == 4 * len(CATEGORIES)
    rows = benchmark(arguments, "tr", "mini_mmmb_wordings")
    assert Counter(row["category"] for row in rows) == dict.fromkeys(CATEGORIES, 4)


def test_a_model_that_always_gives_one_answer_to_a_question_reaches_only_chance(tmp_path: Path) -> None:
    world = World(select_concepts(50), TEST_STYLES[:1], 16, is_test=True)
    pictures = [(category, picture.questions[0]) for category, picture in benchmark_pictures(world, 48, 0)]
    for category, kind in (("color", "color_of"), ("counting", "count"), ("position", "where")):
        answers = defaultdict(Counter)
        for asked_category, question in pictures:
            if asked_category == category and question.kind == (kind,):
                options = frozenset(text["en"] for text in question.options(0))
                answers[options][question.answer["en"]] += 1
        number = sum(counts.total() for counts in answers.values())
        most = sum(max(counts.values()) for counts in answers.values())
        assert number > 8 and most / number < 0.34, (category, answers)


def test_a_seed_decides_every_byte(arguments: MiniMMMBArguments, tmp_path: Path) -> None:
    build(replace(arguments, output=str(tmp_path / "same")))
    build(replace(arguments, output=str(tmp_path / "other"), seed=1))
    for file in ("instruct/train-00000-of-00001.parquet", "mini_mmmb_ar.tsv"):
        content = (Path(arguments.output) / file).read_bytes()
        assert content == (tmp_path / "same" / file).read_bytes()
        assert content != (tmp_path / "other" / file).read_bytes()


def test_the_same_settings_are_not_built_again(arguments: MiniMMMBArguments, capsys: pytest.CaptureFixture) -> None:
    file = Path(arguments.output) / "instruct" / "train-00000-of-00001.parquet"
    before = file.stat().st_mtime_ns
    build(arguments)
    assert file.stat().st_mtime_ns == before
    assert "reused" in capsys.readouterr().out
    sources = json.loads((Path(arguments.output) / "settings.json").read_text())["sources"]
    files = {"mini_mmmb.py", "toy_world/data_set.py", "toy_world/card.py", "toy_world/world.py", "toy_world/emoji.py"}
    files |= {"evaluation/benchmark_builder.py"}
    assert files | {"toy_world/emoji_data/table.json", "languages/tr.json"} <= sources.keys()


def test_pixel_neighbors_answer_recognition_better_than_chance_and_alike_in_all_languages(
    arguments: MiniMMMBArguments,
) -> None:
    questions = {
        language: [
            question
            for question in read_benchmark(Path(arguments.output) / f"mini_mmmb_{language}.tsv", language)
            if question.l2_category == "recognition" or question.category == "counting"
        ]
        for language in ("en", "ar")
    }
    answerer = PixelNeighbors(arguments.output, {question.index: question for question in questions["en"]})
    letters = {}
    for language, own_questions in questions.items():
        answers = answerer.answer(own_questions, answerer.encode(own_questions))
        letters[language] = [answer.get("letter") for answer in answers]
        for question, letter in zip(own_questions, letters[language], strict=True):
            assert (letter is None) == (question.category == "counting")
    assert letters["ar"] == letters["en"]
    hits = [
        letter == question.answer for question, letter in zip(questions["en"], letters["en"], strict=True) if letter
    ]
    assert sum(hits) / len(hits) > 0.5
    with PILImage.open(Path(arguments.output) / "sheet.png") as sheet:
        assert sheet.height > 15 * 48


def test_chosen_concepts_are_spread_evenly_and_no_two_are_confusable() -> None:
    concepts = select_concepts(83)
    counts = [sum(concept.category == category for concept in concepts) for category in RECOGNITION]
    assert counts == [9, 9, 9, 8, 8, 8, 8, 8, 8, 8]
    assert not [(a.emoji, b.emoji) for a in concepts for b in concepts if a is not b and a.is_confusable_with(b)]


def test_too_many_concepts_are_an_error_that_names_the_maximum() -> None:
    with pytest.raises(ValueError, match=r"concepts=500 needs 50 concepts of the category 'animals'.*at most \d+"):
        select_concepts(500)


def test_too_few_concepts_for_a_category_are_an_error() -> None:
    world = World(select_concepts(10), TRAIN_STYLES, 16, is_test=False)
    with pytest.raises(ValueError, match="10 concepts are too few for the category 'animals'"):
        world.picture("animals", random.Random(0), world.by_category["animals"][0])
    world = World(select_concepts(40), TRAIN_STYLES, 16, is_test=False)
    with pytest.raises(ValueError, match="40 concepts are too few for the category 'grouping'"):
        for seed in range(20):
            world.picture("grouping", random.Random(seed))


def test_the_share_alike_art_is_in_no_training_style_and_every_source_is_named() -> None:
    assert "openmoji" not in TRAIN_STYLES
    folder = ROOT / "trainer" / "toy_world" / "emoji_data"
    notice = (folder / "NOTICE").read_text()
    for file in folder.glob("*.json*"):
        assert file.name in notice
    assert {row["category"] for row in json.loads((folder / "table.json").read_text())} == {*RECOGNITION, "color"}


def test_languages_have_their_shares_after_any_row_and_equal_shares_by_default() -> None:
    shares = read_language_shares(["en=0.8"])
    assert shares == pytest.approx({"en": 0.8} | dict.fromkeys(LANGUAGES[1:], 0.04))
    turns = list(languages_in_turn(5000, shares))
    assert Counter(turns) == {"en": 4000} | dict.fromkeys(LANGUAGES[1:], 200)
    assert Counter(turns[:50]) == {"en": 40} | dict.fromkeys(LANGUAGES[1:], 2)
    assert list(languages_in_turn(700, read_language_shares([]))) == [LANGUAGES[index % 6] for index in range(700)]
    assert read_language_shares(["tr=1"]) == dict.fromkeys(LANGUAGES, 0.0) | {"tr": 1.0}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["en:0.8"], "'en:0.8'"),
        (["es=0.5"], "'es=0.5'"),
        (["en=nan"], "'en=nan'"),
        (["en=-0.1"], "'en=-0.1'"),
        (["en=0.2", "en=0.3"], "'en=0.3'"),
        (["en=0.8", "zh=0.3"], r"en=0.8 zh=0.3 add up to 1\.1"),
        ([f"{language}=0.1" for language in LANGUAGES], r"add up to 0\.6"),
    ],
)
def test_impossible_shares_are_an_error(pairs: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_language_shares(pairs)


def test_imbalanced_training_leaves_validation_and_the_validation_benchmark_balanced(
    tmp_path: Path,
) -> None:
    arguments = MiniMMMBArguments(
        str(tmp_path / "world"),
        concepts=50,
        image_size=16,
        align_views=1,
        train=20,
        language_shares=["en=0.5"],
        validation=12,
        test_per_category=1,
        validation_per_category=2,
    )
    build(arguments)
    assert Counter(load(arguments, "instruct", "train", tmp_path)["language"]) == {"en": 10} | dict.fromkeys(
        LANGUAGES[1:], 2
    )
    assert Counter(load(arguments, "instruct", "validation", tmp_path)["language"]) == dict.fromkeys(LANGUAGES, 2)
    english, russian = (benchmark(arguments, language, "mini_mmmb_validation") for language in ("en", "ru"))
    assert Counter(row["category"] for row in english) == dict.fromkeys(CATEGORIES, 2)
    assert [row["answer"] for row in english] == [row["answer"] for row in russian]
    test = {row["image"] for row in benchmark(arguments, "en")}
    assert not test & {row["image"] for row in english}


def test_a_question_that_misses_words_never_becomes_a_wording_that_training_does_not_show() -> None:
    assert is_unseen_wording("ماذا في الصورة") and is_unseen_wording("how many “dogs” can you count?")
    assert not is_unseen_wording("What is this?")
    rng = random.Random(0)
    for kinds in words("questions").values():
        for kind in (kinds["name"], kinds["describe"], *kinds["recognition"].values()):
            for wording in kind["trained"] * 100:
                assert not is_unseen_wording(as_typed(wording, rng, may_miss_words=True))


def test_a_question_as_people_type_it_misses_words_and_has_words_with_their_letters_in_another_order() -> None:
    rng, question = random.Random(0), "Can you tell me what this is?"
    typed = {as_typed(question, rng, may_miss_words=True) for _ in range(300)}
    assert {question, "can you tell me what this is"} < typed
    assert any(len(text.split()) < len(question.split()) for text in typed)
    assert any(sorted(text) == sorted(question) and "tell" not in text for text in typed)
