# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from trainer.evaluation.benchmark_files import Question
from trainer.evaluation.benchmark_results import report, summarize
from trainer.evaluation.written_answers import compare_wordings, named_letter, shares_in_language


def question(language: str, index: str, options: dict[str, str], answer: str = "A") -> Question:
    return Question(index, language, "", "?", options, answer, "animals", "recognition")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("dog", "A"),
        ("The picture shows: Dog.", "A"),
        ("hot dog", "B"),  # does not count as "dog"
        ("a dog and a cat", None),
        ("doghouse", None),
        ("A", None),
        ("", None),
    ],
)
def test_an_answer_counts_for_the_only_option_that_it_names(answer: str, letter: str | None) -> None:
    assert named_letter(answer, {"A": "dog", "B": "hot dog", "C": "cat"}) == letter


def test_chinese_words_stand_without_spaces() -> None:
    assert named_letter("图中显示：这是狗。", {"A": "狗", "B": "猫"}) == "A"
    assert named_letter("سيارة كبيرة", {"A": "سيارة", "B": "قطة"}) == "A"


def test_an_answer_is_in_the_language_in_which_it_names_an_option() -> None:
    questions = [
        question("en", "0", {"A": "pizza", "B": "dog"}),
        question("tr", "0", {"A": "pizza dilimi", "B": "köpek"}),
    ]
    answers = ["pizza", "köpek", "dog", "umbrella"]
    rows = [
        {"language": language, "l2-category": "recognition", "picture": text, "prediction": text}
        for language in ("en", "tr")
        for text in answers
    ]
    shares = shares_in_language(rows, questions)
    for kind in ("all", "recognition"):
        assert [shares[language][kind]["accuracy"] for language in ("en", "tr")] == [0.5, 0.25]
    rows = [{"language": "en", "l2-category": "recognition", "picture": "0", "prediction": "pizza dilimi"}]
    assert shares_in_language(rows, questions)["en"]["all"]["accuracy"] == 0


def test_equal_answers_about_one_picture_count_once() -> None:
    questions = [question("en", "0", {"A": "pizza", "B": "dog"})]
    rows = [
        {"language": "en", "l2-category": "recognition", "picture": str(number), "prediction": text}
        for number in range(20)
        for text in [("dog", "köpek")[number % 2]] * 3
    ]
    together, once = (shares_in_language(answers, questions)["en"]["all"] for answers in (rows, rows[::3]))
    assert (together["low"], together["high"]) == pytest.approx((once["low"], once["high"]), abs=0.005)


def test_the_table_shows_both_wordings_and_the_share_in_the_language() -> None:
    questions = {("en", str(index)): question("en", str(index), {"A": "dog", "B": "cat"}) for index in range(4)}

    def rows(*letters: str) -> list[dict[str, object]]:
        return [
            {
                "language": "en",
                "index": str(index),
                "picture": str(index),
                "category": "animals",
                "l2-category": "recognition",
                "prediction": {"A": "dog", "B": "cat"}.get(letter, "?"),
                "letter": letter,
                "letter_multilingual": letter,
                "hit": letter == "A",
                "hit_multilingual": letter == "A",
            }
            for index, letter in enumerate(letters)
        ]

    wordings = compare_wordings((rows("A", "A", "A", "B"), questions), (rows("A", "B", "B", ""), questions))
    table = report({"model": summarize(rows("A", "A", "A", "A"), questions)}, None, wordings)
    lines = ("| model | 100.0 |", "| written answers | 75.0 |", "| written answers, other wordings | 25.0 |")
    assert "\n".join([*lines, "| other wordings, answered in the question's language | 75.0 |"]) in table
