# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Judges written answers to open questions: the option that they name, their language, and other wordings."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from trainer.evaluation.benchmark_files import Question
from trainer.evaluation.benchmark_results import share, summarize
from trainer.evaluation.result_types import Row, Share, Wordings


def name_pattern(names: Iterable[str]) -> re.Pattern:
    """
    A pattern that finds names in a text. Where a name contains another name, it finds the longer one. It finds names
    only as whole words, except in Chinese, which has no spaces between words.
    """
    longest_first = sorted({name.casefold() for name in names}, key=lambda name: (-len(name), name))
    edges = {
        name: [r"\b" if re.match(r"[^\W⺀-鿿]", name[index]) else "" for index in (0, -1)] for name in longest_first
    }
    return re.compile("|".join(edges[name][0] + re.escape(name) + edges[name][1] for name in longest_first))


def named_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the only option that an answer names; None if it names none or several."""
    names = set(name_pattern(options.values()).findall(answer.casefold()))
    letters = [letter for letter, text in options.items() if text.casefold() in names]
    return letters[0] if len(letters) == 1 else None


def shares_in_language(rows: Sequence[Row], questions: Iterable[Question]) -> dict[str, dict[str, Share]]:
    """
    The share of answers that are in the language of their question, with its interval, by language and l2-category,
    and over `all`. The language of an answer is the one in which it names an option of any question. If it names
    options in several languages, the longest name decides.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        names[question.language].update(question.options.values())
    patterns = {language: name_pattern(texts) for language, texts in names.items()}
    hits: dict[str, dict[str, list[tuple[bool, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        answer = row["prediction"].casefold()
        longest = {
            language: max(map(len, pattern.findall(answer)), default=0) for language, pattern in patterns.items()
        }
        is_in_language = 0 < longest[row["language"]] == max(longest.values())
        for kind in ("all", row["l2-category"]):
            hits[row["language"]][kind].append((is_in_language, row["picture"]))
    return {
        language: {kind: share(*zip(*pairs, strict=True)) for kind, pairs in kinds.items()}
        for language, kinds in hits.items()
    }


def compare_wordings(
    own: tuple[Sequence[Row], Mapping[tuple[str, str], Question]],
    other: tuple[Sequence[Row], Mapping[tuple[str, str], Question]],
) -> Wordings:
    """
    Summarizes judged answers to the same questions in two wordings.

    Args:
        own: the answers to the benchmark's own wording, and the questions in this wording.
        other: the answers to another wording, and the questions in that wording.
    """
    in_language = shares_in_language(other[0], other[1].values())
    return {"own": summarize(*own), "other": summarize(*other), "in_language": in_language}
