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
"""
Multiple-choice accuracy of written answers, as an `evaluate` metric:

    accuracy = evaluate.load("trainer/multiple_choice_accuracy.py")
    accuracy.compute(predictions=["B. dog", "答案是A。"], references=["B", "A"], options=[["cat", "dog"]] * 2)

An answer is read twice: by `read_letter`, whose verdicts are VLMEvalKit's, and by `read_letter_multilingual`, which
understands more of six languages. In training, with a trainer that generates (`predict_with_generate`; it fills up
with -100, and a decoder-only model's sequences begin with their prompts, whose `prompt_length` is cut off):

    def compute_metrics(output):
        ids = output.predictions[:, prompt_length:]
        ids = numpy.where(ids < 0, tokenizer.pad_token_id, ids)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return accuracy.compute(predictions=texts, references=letters, options=options)
"""

import itertools
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import datasets
import evaluate


# As in trainer/benchmark_files.py; evaluate loads this file alone.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ROTATION = 1_000_000
Release = Literal["2024-01", "2025-07", "2026-05"]
RELEASES = get_args(Release)

# Of VLMEvalKit's exact matching.
API_FAILURE = "Failed to obtain answer via API"
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
REFUSED = "Z"
SPACED = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
DECLARED = re.compile(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**")


def read_letter(prediction: str, options: Mapping[str, str], release: Release = "2024-01") -> str | None:
    """
    The letter that VLMEvalKit's exact matching reads: first an option's letter, then an option's text.

    Args:
        prediction: an answer.
        options: letters and texts.
        release: VLMEvalKit's of the paper's figures, or since its pull request 1175 (2025-07: the letter near the end,
            and no text in a long answer) or 1552 (2026-05: also "answer is B").

    Returns:
        the letter, "Z" for a refusal, None for an answer that is not read and counts as wrong.
    """
    if release not in RELEASES:
        raise ValueError(f"The release {release!r} is none of {', '.join(RELEASES)}.")
    if API_FAILURE not in prediction:
        if any(refusal in prediction for refusal in REFUSALS):
            return REFUSED
        tokens = prediction.translate(SPACED).split()
        found = [letter for letter in options if letter in tokens]
        if len(found) == 1 and (release == "2024-01" or tokens.index(found[0]) > len(tokens) - 5):
            return found[0]
        if not found and REFUSED in tokens:
            return REFUSED
        declared = DECLARED.search(prediction) if release == "2026-05" else None
        if declared and declared[1].upper() in options:
            return declared[1].upper()
    if release != "2024-01" and len(prediction.lower()) > 2 * sum(map(len, options.values())):
        return None
    named = [letter for letter, text in options.items() if text.lower() in prediction.lower()]
    return named[0] if len(named) == 1 else None


class Phrases(NamedTuple):
    """How a language says which option it takes, in regular expressions."""

    cues: str  # lead to a letter, through `fillers`: "the correct option is"
    fillers: str
    verdicts: str  # follow one: "B is correct"
    nouns: str  # may stand beside a letter that is the whole answer: "B şıkkı"
    joins: str  # leave two letters open: "A or B"
    reasons: str  # follow a letter that might else be an article or a preposition: "A because"
    negations: str  # stand before what they deny, or after it: "not A", "A is not"
    rejections: str  # stand after it alone: "A is wrong"
    spaced: bool = True  # whether words have spaces around them


def _languages_folder() -> Path:
    """Of the languages' files, which lie beside this file."""
    file = Path(__file__)
    # evaluate runs a copy of this file alone, and notes beside the copy which file it is of.
    if (note := file.with_suffix(".json")).exists():
        file = Path(json.loads(note.read_text(encoding="utf-8"))["original file path"])
    folder = file.resolve().parent / "languages"
    if not folder.is_dir():
        raise ValueError(
            f"{folder}, which says how answers are phrased, is not there: give evaluate.load the whole path of "
            "trainer/multiple_choice_accuracy.py in its checkout, and download_mode='force_redownload'."
        )
    return folder


def _load_phrases() -> dict[str, Phrases]:
    files = sorted(_languages_folder().glob("*.json"))
    tables = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    in_order = sorted(tables.items(), key=lambda table: table[1].get("place_in_mmmb", len(tables)))
    return {language: Phrases(**table["phrases"]) for language, table in in_order if "phrases" in table}


PHRASES = _load_phrases()
# Options are shown with Latin letters: a letter of another script is first the one that looks alike, then the one at
# its place (Arabic in the order of abjad) or of its sound.
LATIN = (
    {letter: letter for letter in LETTERS}
    | dict(zip("АВСЕНКМОРТХ", "ABCEHKMOPTX", strict=True))
    | {"Б": "B", "Г": "D", "Д": "D"}
    | dict(zip("ابجدهوزحطي", "ABCDEFGHIJ", strict=True))
)
PUNCTUATION = "\"'`*_~“”„«»‘’「」『』【】《》<>()[]{}.,:;!?-–—=。、،؛؟…|/\\$"
CJK = "\u3040-\u30ff\u3400-\u9fff"


def _any_of(name: str) -> str:
    """A word of any language, with no letter beside it where words have spaces around them."""
    spaced = "|".join(getattr(phrases, name) for phrases in PHRASES.values() if phrases.spaced)
    others = "".join(f"|{getattr(phrases, name)}" for phrases in PHRASES.values() if not phrases.spaced)
    return rf"(?:(?<![^\W{CJK}])(?:{spaced})(?![^\W{CJK}]){others})"


GAP = rf"[\s{re.escape(PUNCTUATION)}]*"
LETTER = re.compile(rf"(?<![^\W_{CJK}])[{''.join(LATIN)}{''.join(LATIN).lower()}](?![^\W_{CJK}])")
LISTED = re.compile(rf"{LETTER.pattern}[.):]")
CUED = re.compile(rf"{_any_of('cues')}(?:{GAP}{_any_of('fillers')})*{GAP}$", re.I)
TIE = r"[\s\"'*_”’»」』】)\]:—–-]*"  # within a clause
JUDGED = re.compile(rf"(?:['’]\w+)?{TIE}{_any_of('verdicts')}", re.I)
JOIN = re.compile(rf"{GAP}(?:{_any_of('joins')}|[,、،/&+]){GAP}", re.I)
NOUN = re.compile(rf"(?:['’]\w+)?{GAP}{_any_of('nouns')}?{GAP}", re.I)
REASON = re.compile(rf"{GAP}{_any_of('reasons')}", re.I)
NEGATED = re.compile(f"{_any_of('negations')}|{_any_of('rejections')}", re.I)
CAPITAL = rf"(?<![^\W_{CJK}])[{''.join(LATIN)}](?![^\W_{CJK}])"
# Bounded, for answers that loop: "A or A or A or".
CAPITALS = rf"{CAPITAL}(?:(?i:{JOIN.pattern}){CAPITAL}){{,{len(LETTERS)}}}"
LINKED = rf"(?:{TIE}(?i:{_any_of('cues')}|{_any_of('fillers')}|{_any_of('nouns')})){{,6}}[\s\"'*]*"
DENIED = re.compile(  # "not A", "B and C are wrong"; "A not B" is for A
    rf"(?i:{_any_of('negations')}){LINKED}{CAPITALS}"
    rf"|{CAPITALS}{LINKED}(?i:{_any_of('rejections')}|{_any_of('negations')}(?!\s*(?-i:{CAPITAL})))"
)
DECLARATION = re.compile(rf"^.*{_any_of('cues')}(?:{GAP}{_any_of('fillers')})*{GAP}", re.I)
WORD_AFTER = re.compile(r"\s+[^\W\d_]")


def _plain(text: str) -> str:
    """One form of what is alike: full-width and circled letters, digits, alefs, spaces; no invisible marks."""
    text = "".join(mark for mark in unicodedata.normalize("NFKC", text) if unicodedata.category(mark) != "Cf")
    text = "".join(str(unicodedata.decimal(mark, mark)) for mark in text)
    text = re.sub("[\u0640\u064b-\u0652\u0670]", "", text)  # tatweel and vowel signs
    return " ".join(re.sub("[أإآٱ]", "ا", text).split())


def _words(text: str) -> str:
    """Words alone, in one case without accents, each between spaces; each character of Chinese is one."""
    text = unicodedata.normalize("NFD", _plain(text).replace("İ", "i").casefold().replace("ı", "i"))
    text = "".join(mark for mark in text if not unicodedata.combining(mark))
    text = re.sub(rf"([{CJK}])", r" \1 ", text)
    text = re.sub(r"\bو(?=\w{3})", "و ", text)  # Arabic "and"
    text = re.sub(r"\bال(?=\w{3})", "", text)  # the Arabic article
    words = re.findall(r"\d+(?:[.,]\d+)+|[^\W_]+", text)
    return f" {' '.join(words)} "


def read_letter_multilingual(prediction: str, options: Mapping[str, str]) -> str | None:
    """
    The letter that a careful reader of Arabic, Chinese, English, Portuguese, Russian and Turkish finds in an answer:
    full width or in another script, in a phrase, before a text, or an option's text alone.

    Args:
        prediction: an answer.
        options: letters and texts.

    Returns:
        the letter; None where the answer decides for none or a reader could doubt it.
    """
    letters = {_read_whole(_plain(line)) for line in prediction.splitlines()} & options.keys()  # "B", and then why
    if letters:
        return _only(letters)
    text = _plain(prediction.strip().replace("\n", " | "))  # "A", and on the next line a word: no article
    by_text = _read_text(text, options)
    text = DENIED.sub("|", text)
    found = [match for match in LETTER.finditer(text) if LATIN[match[0].upper()] in options]
    if any(_are_joined(text, one, other) for one, other in itertools.pairwise(found)):
        return None
    for reads in (_is_declared, _is_heading):
        letters = {LATIN[match[0].upper()] for match in found if reads(text, match)}
        if letters:
            return _only(letters)
    letters = {LATIN[match[0].upper()] for match in found if _is_set_apart(text, match)}
    if not letters or NEGATED.search(text):
        return by_text
    # Letters that no phrase says to be the answer must be of one mind with all else.
    letters |= {LATIN[match[0].upper()] for match in found if _is_named(text, match)}
    return _only(letters | ({by_text} if by_text else set()))


def _only(letters: Set[str | None]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _read_whole(line: str) -> str | None:
    """The letter that is all of a line, but for a noun: "b)", "B şıkkı"."""
    match = re.match(rf"{GAP}({LETTER.pattern})", line)
    return LATIN[match[1].upper()] if match and NOUN.fullmatch(line, match.end()) else None


def _are_joined(text: str, one: re.Match, other: re.Match) -> bool:
    """ "A or B", but not "A, a cat"."""
    is_alike = one[0].islower() == other[0].islower()
    return is_alike and bool(JOIN.fullmatch(text[one.end() : other.start()]))


def _is_word(text: str, match: re.Match) -> bool:
    """A capital that may be an article, a conjunction or a preposition: "A cat"."""
    after = text[match.end() :]
    return match[0] in "AEIOАВСКО" and bool(WORD_AFTER.match(after)) and not REASON.match(after)


def _is_named(text: str, match: re.Match) -> bool:
    """A capital that is no word at a sentence's beginning: "A imagem"."""
    begins = text[: match.start()].rstrip()[-1:] in (*".!?:", "")
    return match[0].isupper() and not (begins and _is_word(text, match))


def _is_declared(text: str, match: re.Match) -> bool:
    """The letter is said to be the answer."""
    before, after = text[max(0, match.start() - 80) : match.start()], text[match.end() :]
    if match[0].islower() and match[0] != match[0].upper():
        return bool(CUED.search(before)) and not after.strip(PUNCTUATION + " ")
    if JUDGED.match(after):
        return True
    return bool(CUED.search(before)) and not _is_word(text, match)


def _is_heading(text: str, match: re.Match) -> bool:
    """The answer begins with the letter and a mark or a reason, and lists no other so: "B. dog"."""
    before, after = text[: match.start()], text[match.end() :]
    is_marked = before.strip()[-1:] in tuple("([{*\"'「【") if before else False
    is_marked = is_marked or bool(re.match(r"\s*[*\"']*[.):、,)\-–—\]]", after))
    is_marked = is_marked or bool(match[0].isupper() and REASON.match(after))
    return is_marked and not before.strip(PUNCTUATION + " ") and not LISTED.search(after)


def _is_set_apart(text: str, match: re.Match) -> bool:
    """A capital in brackets or bold, or at the end of the answer."""
    if match[0] != match[0].upper() or not (match[0].isupper() or match[0] in "ابجد"):
        return False
    around = text[: match.start()][-1:] + text[match.end() :][:1]
    return around in ("()", "[]", "**", "「」", "【】") or bool(NOUN.fullmatch(text, match.end()))


def _read_text(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose text the answer is, or alone holds; within a longer option a shorter one does not count."""
    answer, texts = _words(text), {letter: _words(option) for letter, option in options.items()}
    clause = _words(re.split(r"[;:،。，、：；]|[.,](?!\d)", text)[0])  # "No, it is not"
    declared = _words(DECLARATION.sub("", text))  # "The answer is no"
    same = [letter for letter, option in texts.items() if option.strip() and option in (answer, clause, declared)]
    if same:
        return same[0] if len(same) == 1 else None
    if NEGATED.search(text):
        return None
    held = {letter: option for letter, option in texts.items() if option.strip() and option in answer}
    longest = [
        letter
        for letter, option in held.items()
        if option in _without(answer, [other for other in held.values() if option in other and option != other])
    ]
    return longest[0] if len(longest) == 1 else None


def _without(answer: str, texts: Sequence[str]) -> str:
    for text in sorted(texts, key=len, reverse=True):
        answer = answer.replace(text, " | ")
    return answer


def circular_hits(indices: Sequence[int], hits: Sequence[bool]) -> dict[int, bool]:
    """
    Whether a question and all its rotations, whose indices are its own and multiples of `ROTATION`, were right.

    Returns:
        by the question's index; without questions that are there as rotations alone, which VLMEvalKit leaves out, too.
    """
    groups: dict[int, list[bool]] = defaultdict(list)
    for index, hit in zip(indices, hits, strict=True):
        groups[index % ROTATION].append(hit)
    given = set(indices)
    return {index: all(found) for index, found in groups.items() if index in given}


class MultipleChoiceAccuracy(evaluate.Metric):
    """`compute(predictions=, references=, options=, indices=None, release="2024-01")`, see `MetricInfo`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy of written answers to multiple-choice questions, by VLMEvalKit's exact matching and "
            "by a matching that reads six languages; plain, and circular where there are rotations.",
            citation="Sun et al., Parrot: Multilingual Visual Instruction Tuning, ICML 2025, arXiv 2406.02539. "
            "Duan et al., VLMEvalKit, 2024, arXiv 2407.11691.",
            inputs_description="predictions: answers. references: letters. options: texts of A, B, ... of each "
            "question. indices: a rotation's is its question's and a multiple of 1,000,000. release: see "
            "`read_letter`. Returns accuracy and accuracy_multilingual (of the questions, without rotations), "
            "circular_accuracy and circular_accuracy_multilingual (with rotations alone), unparsed, "
            "unparsed_multilingual and count.",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.Value("string"),
                    "options": datasets.List(datasets.Value("string")),
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        options: Sequence[Sequence[str]],
        indices: Sequence[int] | None = None,
        release: Release = "2024-01",
    ) -> dict[str, Any]:
        indices = range(len(predictions)) if indices is None else list(indices)
        _check(predictions, references, options, indices)
        # A benchmark's own indices may be as large: a rotation is one whose question is there.
        given = set(indices)
        is_rotated = any(index >= ROTATION and index % ROTATION in given for index in indices)
        lettered = [dict(zip(LETTERS, texts, strict=False)) for texts in options]
        pairs = list(zip(predictions, lettered, strict=True))
        verdicts = {
            "": [read_letter(prediction, texts, release) for prediction, texts in pairs],
            "_multilingual": [read_letter_multilingual(prediction, texts) for prediction, texts in pairs],
        }
        results: dict[str, Any] = {"count": len(predictions)}
        for suffix, letters in verdicts.items():
            hits = [letter == reference for letter, reference in zip(letters, references, strict=True)]
            circular = circular_hits(indices, hits)
            plain = [hit for index, hit in zip(indices, hits, strict=True) if not is_rotated or index < ROTATION]
            results[f"accuracy{suffix}"] = sum(plain) / len(plain)
            if is_rotated:
                results[f"circular_accuracy{suffix}"] = sum(circular.values()) / len(circular)
            results[f"unparsed{suffix}"] = letters.count(None)
        return results


def _check(
    predictions: Sequence[str], references: Sequence[str], options: Sequence[Sequence[str]], indices: Sequence[int]
) -> None:
    if not predictions:
        raise ValueError("There are 0 predictions: give one or more.")
    if len(indices) != len(references):
        raise ValueError(f"{len(indices)} indices were given for {len(references)} answers: give one for each.")
    first: dict[int, int] = {}
    for row, (prediction, reference, texts, index) in enumerate(
        zip(predictions, references, options, indices, strict=True)
    ):
        if prediction is None:
            raise ValueError(f"Row {row}: the prediction is None; give a text, an empty one for no answer.")
        if None in texts or not 2 <= len(texts) <= len(LETTERS):
            raise ValueError(f"Row {row}: the options {list(texts)} are not 2 to {len(LETTERS)} texts.")
        if reference not in list(LETTERS[: len(texts)]):
            raise ValueError(
                f"Row {row}: the reference {reference!r} is no letter of its {len(texts)} options {list(texts)}; give "
                f"one of A to {LETTERS[len(texts) - 1]}."
            )
        if first.setdefault(index, row) != row:
            raise ValueError(f"Row {row}: the index {index} is row {first[index]}'s; give each row its own.")
