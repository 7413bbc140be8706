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
- all other entries: the sentences and words of mini-MMMB (`trainer/toy_world/emoji.py`), only if it is to have this
  language. Each kind of question has `trained` wordings and `held_out` wordings. The benchmark uses the first of the
  `trained` ones. Training never shows the `held_out` ones; their list may be empty.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any


FOLDER = Path(__file__).parent
# The two-letter codes of ISO 639: https://www.loc.gov/standards/iso639-2/php/code_list.php
CODES = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka
kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng
nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su
sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
# At the end of a file's name, a language with a region such as _pt-BR, or a language alone such as _en, -en or .en.
ENDINGS = (r"(?:^|[_.])([a-z]{2})[-_][A-Z]{2}$", r"[_.]([a-z]{2})-[a-z]{2}$", r"(?:^|[_.-])([A-Za-z]{2})$")
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
    kinds = ("animals", "name", "describe")
    return [
        {
            code: (table["questions"] | table["questions"]["recognition"])[kind]["trained"][0]
            for code, table in tables.items()
        }
        for kind in kinds
    ]


def language_in_name(file: str | Path) -> str | None:
    """The language at the end of a file's name, as in bench_v2_sw.tsv; None if there is none. `cn` means Chinese."""
    for pattern in ENDINGS:
        if match := re.search(pattern, Path(file).stem):
            code = match[1].lower().replace("cn", "zh")
            if code in CODES.split():
                return code
    return None


def check_language_in_name(file: str | Path, language: str, argument: str) -> None:
    """
    Checks that a file is not named for another language than it is read as.

    Args:
        file: the file.
        language: the language that it is read as, or "und" if it is undetermined.
        argument: the name of the user's argument that sets the language, for the error.

    Raises:
        `ValueError`: if the name ends with another language.
    """
    named = language_in_name(file)
    if named and language != "und" and named != language.lower().partition("-")[0]:
        raise ValueError(
            f"The name of {file} ends with the language {named!r}, but it would be read as {language!r}: correct "
            f"{argument}, or rename the file."
        )
