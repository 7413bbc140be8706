# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts, accuracies, tables, intervals and tests."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from statsmodels.api import OLS

from trainer.evaluation.benchmark_files import Question
from trainer.evaluation.benchmark_results import (
    compare,
    design_effect,
    introduction,
    is_circular,
    judge,
    measure,
    read_out_languages,
    report,
    share,
    summarize,
)


OPTIONS = {"A": "cat", "B": "dog"}


def ask(index: int | str, answer: str = "A", language: str = "en", category: str = "objects") -> Question:
    """A question with two options and without a picture."""
    return Question(
        str(index), language, "", "?", OPTIONS, answer, category=category, l2_category="l2", matched_options=OPTIONS
    )


def by_key(*questions: Question) -> dict[tuple[str, str], Question]:
    return {question.key: question for question in questions}


def answers(*predictions: tuple[int, str], language: str = "en") -> list[dict[str, str]]:
    """Written answers, each with its index."""
    return [{"index": str(index), "language": language, "prediction": text} for index, text in predictions]


def test_each_answer_gets_both_verdicts() -> None:
    rows = judge(answers((1, "A."), (2, "答案是A。"), (3, "a dog")), by_key(ask(1), ask(2), ask(3, "B")), "2024-01")
    assert [(row["letter"], row["hit"]) for row in rows] == [("A", True), (None, False), ("B", True)]
    assert [(row["letter_multilingual"], row["hit_multilingual"]) for row in rows] == [
        ("A", True),
        ("A", True),
        ("B", True),
    ]
    measured = measure(rows, list(by_key(ask(1), ask(2), ask(3, "B")).values()))
    assert measured["accuracy"] == measured["plain"]["accuracy"] == pytest.approx(2 / 3)
    assert measured["plain_multilingual"]["accuracy"] == 1
    assert (measured["unparsed"], measured["unparsed_multilingual"], measured["chance"]) == (1, 0, 0.5)
    assert "circular" not in measured


def test_a_chosen_letter_is_not_read_from_text() -> None:
    question = Question("1", "en", "", "?", {"A": "x", "C": "None"}, "C", matched_options={"A": "x"})
    (row,) = judge([{"index": "1", "language": "en", "prediction": "C", "letter": "C"}], by_key(question), "2024-01")
    assert row["hit"]


def test_rotations_count_only_together() -> None:
    questions = by_key(ask(1), ask(1_000_001, "B"), ask(2), ask(1_000_002, "B"), ask(3), ask(1_000_003, "B"))
    chosen = answers((1, "A"), (1_000_001, "B"), (2, "A"), (1_000_002, "A"), (3, "B"))
    rows = judge(chosen, questions, "2024-01")
    assert [(row["index"], row["hit"], row["plain_hit"]) for row in rows] == [
        ("1", True, True),
        ("1000001", True, True),
        ("2", False, True),
        ("1000002", False, False),
        ("3", False, False),
    ]
    measured = measure(rows, list(questions.values()))
    assert measured["accuracy"] == measured["circular"]["accuracy"] == pytest.approx(1 / 3)
    assert measured["plain"]["accuracy"] == pytest.approx(2 / 3)
    assert (measured["count"], measured["questions"], measured["rows"]) == (3, 3, 5)
    text = report({"model": summarize(rows, questions)}, None)
    assert "| all (circular) | en |" in text
    assert "| model | 33.3 |" in text
    assert "| plain | 66.7 |" in text


def test_among_rotations_an_index_that_is_not_a_number_is_refused() -> None:
    assert not is_circular([ask("q1"), ask(1)])
    with pytest.raises(ValueError, match=r"the index 'q1' is not a number, but 1000001 is a rotation of 1: number"):
        is_circular([ask(1), ask(1_000_001, "B"), ask("q1")])


def test_large_indices_alone_make_no_rotations(tmp_path: Path) -> None:
    questions = by_key(ask(1_000_001), ask(2_000_001), ask(3))
    rows = judge(answers((1_000_001, "A"), (2_000_001, "B"), (3, "A")), questions, "2024-01")
    measured = measure(rows, list(questions.values()))
    assert (measured["count"], measured["questions"], measured["accuracy"]) == (3, 3, pytest.approx(2 / 3))
    file = write(tmp_path / "one", [(True, True)])
    row = {"index": "1000001", "language": "en", "hit": True, "hit_multilingual": True}
    file.with_name("predictions.jsonl").write_text(json.dumps(row) + "\n")
    assert "| en | 1 | 100.0 | 100.0 |" in compare(file, file)


def test_results_are_given_by_language_and_category() -> None:
    questions = by_key(ask(1), ask(2, category="color"), ask(1, language="tr"))
    rows = judge(answers((1, "A"), (2, "B")) + answers((1, "A"), language="tr"), questions, "2024-01")
    results = summarize(rows, questions)
    assert results["en"]["all"]["accuracy"] == 0.5
    assert results["en"]["category"]["objects"]["accuracy"] == 1
    assert results["en"]["category"]["color"]["accuracy"] == 0
    assert results["tr"]["l2-category"]["l2"]["count"] == 1
    partly = summarize(rows[:1], questions)
    assert partly["tr"]["all"] is None
    text = report({"model": results, "part": partly}, None)
    assert "| part |" not in text  # it did not answer all questions, so it cannot be compared
    nothing = report({"model": {"tr": partly["tr"]}}, None)
    assert "| l2 |" not in nothing  # a table without lines is left out
    assert "| color | 0.0 | – |" in text


def test_intervals_hold_the_accuracy_and_shrink_with_the_count() -> None:
    few, many = share([True, False] * 10), share([True, False] * 1000)
    for shared in (few, many):
        assert shared["low"] < shared["accuracy"] == 0.5 < shared["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * (0.25 / 2000) ** 0.5, rel=0.1)
    assert few["high"] - few["low"] > 5 * (many["high"] - many["low"])


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(40, 40, 0.9124, 1.0), (0, 40, 0.0, 0.0876), (2, 2, 0.3424, 1.0), (1, 1, 0.2065, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_intervals_are_wilson_s_and_have_a_width_at_0_and_1(hits: int, count: int, low: float, high: float) -> None:
    """The last case is Newcombe's (1998) example; the others come from statsmodels' `proportion_confint`."""
    measured = share([True] * hits + [False] * (count - hits))
    assert (measured["low"], measured["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert measured["low"] <= measured["accuracy"] <= measured["high"]


def test_questions_that_share_pictures_count_as_fewer_questions() -> None:
    """Three equal answers about a picture count as one; independent answers count as nearly three."""
    pictures = [str(number) for number in range(40) for _ in range(3)]
    together, alone = [number % 2 == 0 for number in range(40) for _ in range(3)], [True, False] * 60
    assert design_effect(together, pictures) == pytest.approx(3 * 40 / 39 * 119 / 120)
    once = share([number % 2 == 0 for number in range(40)])
    assert share(together, pictures)["low"] == pytest.approx(once["low"], abs=0.002)
    assert design_effect(alone, pictures) == 1  # the ratio itself is less than 1 here
    assert share(alone, pictures) == share(alone) == share(alone, list(map(str, range(120))))
    # Without variance, a picture counts once.
    assert share([True] * 120, pictures)["low"] == pytest.approx(share([True] * 40)["low"])


def test_the_design_effect_agrees_with_statsmodels_clustered_errors() -> None:
    rng = random.Random(0)
    pictures = [rng.randrange(30) for _ in range(200)]
    hits = [float(rng.random() < (0.3, 0.8)[picture % 2]) for picture in pictures]
    fits = [
        OLS(hits, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True})
        for groups in (np.array(pictures), np.arange(200))
    ]
    clustered, alone = (fit.bse[0] ** 2 for fit in fits)
    assert design_effect(hits, list(map(str, pictures))) == pytest.approx(clustered / alone)
    assert clustered > 2 * alone


def test_rows_of_one_picture_have_one_picture_id() -> None:
    image = "iVBORw0KGgo" * 10
    questions = by_key(
        replace(ask(1), image=image), replace(ask(2), image="1"), ask(3), replace(ask(4), image=image[1:])
    )
    rows = judge(answers((1, "A"), (2, "A"), (3, "A"), (4, "A")), questions, "2024-01")
    first, second, none, other = (row["picture"] for row in rows)
    assert first == second
    assert len({first, none, other}) == 3
    measured = measure(rows, list(questions.values()))
    assert (measured["count"], measured["pictures"]) == (4, 3)
    assert "| different pictures | 3 |" in report({"model": summarize(rows, questions)}, None)


def test_the_number_of_questions_with_a_picture_in_training_is_beside_the_accuracy() -> None:
    in_two_languages = [replace(ask(1), in_training="mine"), replace(ask(2), in_training=""), ask(1, language="tr")]
    questions = by_key(*in_two_languages)
    rows = judge(answers((1, "A"), (2, "B")) + answers((1, "A"), language="tr"), questions, "2024-01")
    results = summarize(rows, questions)
    assert (results["en"]["all"]["in_training"], results["en"]["all"]["training_data"]) == (1, "mine")
    assert results["tr"]["all"]["in_training"] is None
    assert "| questions with a picture in training data | 1 of 2 (mine) | – |" in report({"model": results}, None)


@pytest.mark.parametrize(("differs", "low", "high"), [(True, 0.95, 1.0), (False, 0.2, 0.45)])
def test_the_read_out_identifies_a_language_only_if_the_router_differs_between_languages(
    differs: bool, low: float, high: float
) -> None:
    rng = random.Random(0)
    rows = []
    for index in range(200):
        for number, language in enumerate(("en", "tr", "ar")):
            weights = [rng.random() * 0.1 + 0.2 for _ in range(4)]
            weights[number] += 0.2 * differs
            rows.append({"index": str(index), "language": language, "router": [w / sum(weights) for w in weights]})
    read_out = read_out_languages(rows)
    assert low <= read_out["accuracy"] <= high
    assert read_out["count"] == 300
    assert read_out["chance"] == pytest.approx(1 / 3)
    assert sum(read_out["weights"]["tr"]) == pytest.approx(1)


def test_the_read_out_is_tested_on_held_out_questions() -> None:
    """The router's weights are random: only a classifier that is tested on its training data could be right."""
    rng = random.Random(0)
    rows = []
    for index in range(40):
        for language in ("en", "tr"):
            rows.append({"index": str(index), "language": language, "router": [rng.random() for _ in range(39)]})
    assert read_out_languages(rows)["accuracy"] < 0.7


def test_without_a_router_or_with_one_language_there_is_no_read_out() -> None:
    assert read_out_languages([{"index": "1", "language": "en"}]) is None
    assert read_out_languages([{"index": "1", "language": "en", "router": [1.0]}]) is None


def write(
    folder: Path, hits: list[tuple[bool, bool]], sha256: str = "s", language: str = "en", **settings: str
) -> Path:
    """Writes results.json and predictions.jsonl with these verdicts. Returns the path of results.json."""
    folder.mkdir()
    rows = [
        {"index": str(index), "language": language, "hit": hit, "hit_multilingual": multilingual}
        for index, (hit, multilingual) in enumerate(hits)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings |= {"model": folder.name, "benchmark": {language: {"sha256": sha256}}}
    (folder / "results.json").write_text(json.dumps({"settings": settings}))
    return folder / "results.json"


def test_two_results_are_compared_on_the_same_questions(tmp_path: Path) -> None:
    """10 questions that only B got right and 2 that only A did: McNemar's exact p is 2 * (1 + 12 + 66) / 2^12."""
    one = write(tmp_path / "one", [(False, True)] * 10 + [(True, True)] * 2 + [(True, True)] * 8)
    other = write(tmp_path / "other", [(True, True)] * 10 + [(False, True)] * 2 + [(True, True)] * 8 + [(True, True)])
    text = compare(one, other)
    assert "A: one, B: other" in text
    assert re.search(rf"\| en \| 20 \| 50.0 \| 90.0 \| \+40.0 \| \+6.7 to \+66.0 \| {2 * 79 / 2**12:.2g} \|", text)
    assert "| en | 20 | 100.0 | 100.0 | +0.0 | -12.6 to +12.6 | 1 |" in text
    assert compare(one.parent, other.parent) == text
    assert "left out, because only one of two models answered them: 1." in text
    with pytest.raises(ValueError, match=r"the sha256 of their files differs"):
        compare(one, write(tmp_path / "third", [(True, True)], sha256="t"))
    with pytest.raises(ValueError, match=r"There is no .*results.json"):
        compare(one, tmp_path / "absent" / "results.json")


def test_a_table_that_would_say_the_same_again_is_left_out(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [(True, True), (False, False)], answer="text")
    text = compare(one, write(tmp_path / "other", [(True, True), (True, True)], answer="text"))
    assert text.count("| en | 2 |") == 1
    assert "matching" not in text and "| accuracy (%) | questions | A | B |" in text
    text = compare(one, write(tmp_path / "written", [(True, True), (False, True)], answer="text"))
    assert text.count("| en | 2 |") == 2 and "| multilingual matching |" in text

    questions = by_key(ask(1), ask(2))
    chosen = [answer | {"letter": answer["prediction"]} for answer in answers((1, "A"), (2, "B"))]
    assert "matching" not in report({"model": summarize(judge(chosen, questions, "2024-01"), questions)}, None)
    written = answers((1, "A"), (2, "答案是A。"))
    rows = judge(written, questions, "2024-01")
    assert [row["hit_multilingual"] for row in rows] != [row["hit"] for row in rows]
    assert "| multilingual matching |" in report({"model": summarize(rows, questions)}, None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"answer": "text"}, "The model chose the option with the likeliest text."),
        ({"answer": "open"}, "The model wrote its answers to questions without options."),
        ({"answer": "generate", "matching": "2024-01"}, "VLMEvalKit's exact matching of 2024-01 reads the letter"),
        ({"matching": "2026-05", "predictions": {}}, "VLMEvalKit's exact matching of 2026-05 reads the letter"),
    ],
)
def test_results_begin_with_a_title_and_how_the_questions_were_answered(settings: dict[str, Any], says: str) -> None:
    questions = by_key(ask(1), ask(2), ask(1, language="tr"), ask(2, language="tr"))
    results = summarize(judge(answers((1, "A")) + answers((1, "A"), language="tr"), questions, "2024-01"), questions)
    files = {language: {"file": f"bench_{language}.tsv"} for language in ("en", "tr")}
    described = {"model": "models/mine", "benchmark": files} | settings
    title, text = introduction(described, results, {"chance": results}).strip().split("\n\n")
    assert title == "# Accuracy on bench"
    assert text.startswith("Answers from models/mine to 4 questions in 2 languages, from `bench_<language>.tsv`. ")
    assert says in text
    assert ("matching" in text) == ("matching" in settings)
    assert "`chance` chooses at random." in text and "`text-only`" not in text
    assert "An option that is chosen at random is right in 50.0%." in text


def test_differences_about_one_picture_count_together(tmp_path: Path) -> None:
    """Only B is right about six pictures with five questions each: the p-value is that of 6 trials and not of 30."""
    one = write(tmp_path / "one", [(False, False)] * 30 + [(True, True)] * 30)
    other = write(tmp_path / "other", [(True, True)] * 60)
    alone = re.search(r"\| en \| 60 .* \| (\S+) to (\S+) \| (\S+) \| (\S+) \|", compare(one, other)).groups()
    assert float(alone[2]) == pytest.approx(2 / 2**30, rel=0.1)
    file = one.with_name("predictions.jsonl")
    rows = [
        json.loads(line) | {"picture": f"{number // 5}"} for number, line in enumerate(file.read_text().splitlines())
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = re.search(r"\| en \| 60 .* \| (\S+) to (\S+) \| (\S+) \| (\S+) \|", compare(one, other)).groups()
    assert float(shared[2]) == pytest.approx(2 / 2**6, rel=0.1)
    assert float(shared[0]) < float(alone[0]) < 50 < float(alone[1]) < float(shared[1])


def test_p_values_are_corrected_for_the_number_of_languages_and_models(tmp_path: Path) -> None:
    """Holm multiplies the smallest of four p-values by 4, the next by 3; none is less than the one before it."""

    def write_two(name: str, won: tuple[int, int]) -> Path:
        file = write(tmp_path / name, [])
        rows = [
            {"index": str(index), "language": language, "hit": index < right, "hit_multilingual": index < right}
            for language, right in zip(("en", "tr"), won, strict=True)
            for index in range(40)
        ]
        file.with_name("predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"model": name, "benchmark": {"en": {"sha256": "s"}, "tr": {"sha256": "s"}}}
        file.write_text(json.dumps({"settings": settings}))
        return file

    text = compare(write_two("one", (10, 10)), write_two("two", (20, 17)), write_two("three", (16, 10)))
    assert text.startswith("A: one, B: two, C: three\n")
    exact = {"two": (2 / 2**10, 2 / 2**7), "three": (2 / 2**6, 1.0)}
    assert exact["three"][0] == 0.03125
    printed = re.findall(r"\| (?:en|tr) \| 40 .* \| (\S+) \| (\S+) \|", text)
    expected = [(p, h) for p, h in zip((*exact["two"], *exact["three"]), (4 / 512, 3 / 64, 2 / 32, 1.0), strict=True)]
    assert [tuple(map(float, pair)) for pair in printed] == [pytest.approx(pair, rel=0.06) for pair in expected]


def test_the_interval_of_a_difference_is_bonett_and_price_s(tmp_path: Path) -> None:
    """Fagerland, Lydersen and Laake's (2014) example: 1 and 7 of 21 pairs differ; the interval is -50.8 to -1.3."""
    pairs = [(True, True)] * 12 + [(False, False)]
    one = write(tmp_path / "one", pairs + [(True, True)] * 7 + [(False, False)])
    other = write(tmp_path / "other", pairs + [(False, False)] * 7 + [(True, True)])
    assert "-50.8 to -1.3" in compare(one, other)


def test_results_that_cannot_be_compared_are_errors_and_ways_of_answering_are_named(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [(True, True)], answer="generate", matching="2024-01")
    other = write(tmp_path / "other", [(True, True)], answer="letter", matching="2024-01")
    assert compare(one, other).startswith("A: one (generate), B: other (letter)\n")
    with pytest.raises(ValueError, match=r"by the matching '2024-01' and .* by '2026-05': repeat one of the commands"):
        compare(one, write(tmp_path / "later", [(True, True)], matching="2026-05"))
    with pytest.raises(ValueError, match=r"languages \['en'\] and .* has \['tr'\]: give results with a language"):
        compare(one, write(tmp_path / "turkish", [(True, True)], language="tr"))
