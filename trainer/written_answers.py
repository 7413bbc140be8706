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
"""Written answers to open questions: which option they name, in which language, and under other wordings."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from trainer.benchmark_files import Question
from trainer.benchmark_results import share, summarize
from trainer.benchmark_rows import Row, Share, Wordings


def name_pattern(names: Iterable[str]) -> re.Pattern:
    """
    Finds names in a text, of names within names the longest. A name in letters that are written apart from each other,
    as Latin ones are, is no part of a longer word; Chinese words stand without spaces.
    """
    longest_first = sorted({name.casefold() for name in names}, key=lambda name: (-len(name), name))
    edges = {
        name: [r"\b" if re.match(r"[^\W⺀-鿿]", name[place]) else "" for place in (0, -1)] for name in longest_first
    }
    return re.compile("|".join(edges[name][0] + re.escape(name) + edges[name][1] for name in longest_first))


def named_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the only option that an answer names; None if it names none or several."""
    named = set(name_pattern(options.values()).findall(answer.casefold()))
    letters = [letter for letter, text in options.items() if text.casefold() in named]
    return letters[0] if len(letters) == 1 else None


def shares_in_language(rows: Sequence[Row], questions: Iterable[Question]) -> dict[str, dict[str, Share]]:
    """
    The share of answers in the language of their question with its interval, by language and l2-category, and `all`.
    An answer is in the language in which it names an option, of whichever question; of several languages, in which the
    name is longest.
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
        language: {kind: share(*zip(*found, strict=True)) for kind, found in kinds.items()}
        for language, kinds in hits.items()
    }


def compare_wordings(
    own: tuple[Sequence[Row], Mapping[tuple[str, str], Question]],
    other: tuple[Sequence[Row], Mapping[tuple[str, str], Question]],
) -> Wordings:
    """
    Judged answers to the same questions in two wordings.

    Args:
        own: answers to the benchmark's own wording, and the questions.
        other: the same in other words.
    """
    in_language = shares_in_language(other[0], other[1].values())
    return {"own": summarize(*own), "other": summarize(*other), "in_language": in_language}
