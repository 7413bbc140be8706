# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Each language has one file, such as `tr.json`. To add a language, add a file with these entries:

- `name`: the name of the language in English;
- `place_in_mmmb`: the place in MMMB's order, only for MMMB's six languages;
- `instruction`: the sentence that asks for an option's letter;
- `instruction_source`: the source of that sentence;
- `phrases`: only if `read_letter_multilingual` is to read written answers in this language; see `Phrases` in
  `trainer/multiple_choice_accuracy.py`;
- all other entries: the sentences and words of `trainer/mini_mmmb.py`, only if it is to have this language.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any


FOLDER = Path(__file__).parent
HEAD = ("name", "place_in_mmmb", "instruction", "instruction_source", "phrases")


@cache
def languages() -> dict[str, dict[str, Any]]:
    """The contents of the files by language: MMMB's languages in its order, then others in order of their codes."""
    tables = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}
    return dict(sorted(tables.items(), key=lambda table: table[1].get("place_in_mmmb", len(tables))))


def entries(key: str) -> dict[str, Any]:
    """One entry of the files, such as "instruction", by language, without the languages that do not have it."""
    return {code: table[key] for code, table in languages().items() if key in table}


def sentences(language: str) -> dict[str, Any] | None:
    """The toy world's sentences and words in a language; None if there are none."""
    return {key: value for key, value in languages().get(language, {}).items() if key not in HEAD} or None


MMMB = tuple(entries("place_in_mmmb"))


def open_questions() -> list[dict[str, str]]:
    """Questions about one thing, each by language: first which animal it is, then questions that suit any thing."""
    tables = {code: languages()[code] for code in MMMB}
    which_animal = {code: table["recognition"]["animals"] for code, table in tables.items()}
    generic = [
        {code: table["generic"][number]["question"] for code, table in tables.items()}
        for number in range(len(tables["en"]["generic"]))
    ]
    return [which_animal, *generic]
