# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Multiple-choice accuracy of written answers, as an `evaluate` metric:

    accuracy = evaluate.load("trainer/multiple_choice_accuracy.py")
    accuracy.compute(predictions=["B. dog", "答案是A。"], references=["B", "A"], options=[["cat", "dog"]] * 2)

Each answer is read twice: `read_letter` gives VLMEvalKit's verdicts, and `read_letter_multilingual` understands more
answers in six languages. The metric can be used in training with a trainer that generates (`predict_with_generate`).
Such a trainer pads with -100, and the sequences of a decoder-only model begin with `prompt_length` tokens of the
prompt:

    def compute_metrics(output):
        ids = output.predictions[:, prompt_length:]
        ids = numpy.where(ids < 0, tokenizer.pad_token_id, ids)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return accuracy.compute(predictions=texts, references=letters, options=options)
"""

import itertools
import json
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import datasets
import evaluate


# Copies of the constants in trainer/evaluation/benchmark_files.py: evaluate loads only this file.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ROTATION = 1_000_000
Release = Literal["2024-01", "2025-07", "2026-05"]
RELEASES = get_args(Release)

# The constants of VLMEvalKit's exact matching.
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
        release: the release of VLMEvalKit. "2024-01" made the paper's figures. "2025-07" (from pull request 1175 on)
            reads a letter only near the end, and no text in a long answer. "2026-05" (from pull request 1552 on) also
            reads "answer is B".

    Returns:
        the letter, "Z" for a refusal, or None if no letter can be read; then the answer counts as wrong.
    """
    if release not in RELEASES:
        raise ValueError(f"There is no release {release!r}: give one of {', '.join(RELEASES)}.")
    if API_FAILURE not in prediction:
        if any(refusal in prediction for refusal in REFUSALS):
            return REFUSED
        tokens = prediction.translate(SPACED).split()
        letters = [letter for letter in options if letter in tokens]
        if len(letters) == 1 and (release == "2024-01" or tokens.index(letters[0]) > len(tokens) - 5):
            return letters[0]
        if not letters and REFUSED in tokens:
            return REFUSED
        declaration = DECLARED.search(prediction) if release == "2026-05" else None
        if declaration and declaration[1].upper() in options:
            return declaration[1].upper()
    if release != "2024-01" and len(prediction.lower()) > 2 * sum(map(len, options.values())):
        return None
    letters = [letter for letter, text in options.items() if text.lower() in prediction.lower()]
    return letters[0] if len(letters) == 1 else None


class Phrases(NamedTuple):
    """Regular expressions for the words with which answers in a language choose an option."""

    cues: str  # before a letter: "the correct option is"
    fillers: str  # between a cue and the letter
    verdicts: str  # after a letter: "B is correct"
    nouns: str  # beside a letter that is the whole answer: "B şıkkı"
    joins: str  # between letters of which none is chosen: "A or B"
    reasons: str  # after a letter that could otherwise be an article or a preposition: "A because"
    negations: str  # before or after a denied letter: "not A", "A is not"
    rejections: str  # only after a denied letter: "A is wrong"
    spaced: bool = True  # whether the language puts spaces between words


def _languages_folder() -> Path:
    """The folder of the language files. It lies beside this file, but evaluate runs a copy of this file alone."""
    file = Path(__file__)
    if (note := file.with_suffix(".json")).exists():  # evaluate writes it beside its copy
        file = Path(json.loads(note.read_text(encoding="utf-8"))["original file path"])
    # The checkout with this path may have been deleted since, and another one may be on Python's path.
    folders = [file.resolve().parent / "languages", *(Path(entry, "trainer", "languages") for entry in sys.path)]
    for folder in folders:
        if (folder / "en.json").is_file():
            return folder
    raise ValueError(
        f"There is no {folders[0]}, the folder with the phrases of answers: give evaluate.load the absolute path of "
        "trainer/multiple_choice_accuracy.py in its checkout, and download_mode='force_redownload'."
    )


def _load_phrases() -> dict[str, Phrases]:
    files = sorted(_languages_folder().glob("*.json"))
    tables = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    in_order = sorted(tables.items(), key=lambda table: table[1].get("place_in_mmmb", len(tables)))
    return {language: Phrases(**table["phrases"]) for language, table in in_order if "phrases" in table}


PHRASES = _load_phrases()
# Options have Latin letters. A letter of another script stands for the Latin letter that looks alike. If none does, it
# stands for the letter at the same place of the alphabet (in Arabic, of the abjad order) or with the same sound.
LATIN = (
    {letter: letter for letter in LETTERS}
    | dict(zip("АВСЕНКМОРТХ", "ABCEHKMOPTX", strict=True))
    | {"Б": "B", "Г": "D", "Д": "D"}
    | dict(zip("ابجدهوزحطي", "ABCDEFGHIJ", strict=True))
)
PUNCTUATION = "\"'`*_~“”„«»‘’「」『』【】《》<>()[]{}.,:;!?-–—=。、،؛؟…|/\\$"
CJK = "\u3040-\u30ff\u3400-\u9fff"


def _any_of(name: str) -> str:
    """A pattern for one kind of phrase in all languages; in languages with spaces, it matches whole words only."""
    spaced = "|".join(getattr(phrases, name) for phrases in PHRASES.values() if phrases.spaced)
    others = "".join(f"|{getattr(phrases, name)}" for phrases in PHRASES.values() if not phrases.spaced)
    return rf"(?:(?<![^\W{CJK}])(?:{spaced})(?![^\W{CJK}]){others})"


GAP = rf"[\s{re.escape(PUNCTUATION)}]*"
LETTER = re.compile(rf"(?<![^\W_{CJK}])[{''.join(LATIN)}{''.join(LATIN).lower()}](?![^\W_{CJK}])")
LISTED = re.compile(rf"{LETTER.pattern}[.):]")
CUED = re.compile(rf"{_any_of('cues')}(?:{GAP}{_any_of('fillers')})*{GAP}$", re.I)
TIE = r"[\s\"'*_”’»」』】)\]:—–-]*"  # characters that do not end a clause
JUDGED = re.compile(rf"(?:['’]\w+)?{TIE}{_any_of('verdicts')}", re.I)
JOIN = re.compile(rf"{GAP}(?:{_any_of('joins')}|[,、،/&+]){GAP}", re.I)
NOUN = re.compile(rf"(?:['’]\w+)?{GAP}{_any_of('nouns')}?{GAP}", re.I)
REASON = re.compile(rf"{GAP}{_any_of('reasons')}", re.I)
NEGATED = re.compile(f"{_any_of('negations')}|{_any_of('rejections')}", re.I)
CAPITAL = rf"(?<![^\W_{CJK}])[{''.join(LATIN)}](?![^\W_{CJK}])"
# The repetition is bounded, because some models loop: "A or A or A or".
CAPITALS = rf"{CAPITAL}(?:(?i:{JOIN.pattern}){CAPITAL}){{,{len(LETTERS)}}}"
LINKED = rf"(?:{TIE}(?i:{_any_of('cues')}|{_any_of('fillers')}|{_any_of('nouns')})){{,6}}[\s\"'*]*"
DENIED = re.compile(  # "not A", "B and C are wrong"; "A not B" is for A
    rf"(?i:{_any_of('negations')}){LINKED}{CAPITALS}"
    rf"|{CAPITALS}{LINKED}(?i:{_any_of('rejections')}|{_any_of('negations')}(?!\s*(?-i:{CAPITAL})))"
)
DECLARATION = re.compile(rf"^.*{_any_of('cues')}(?:{GAP}{_any_of('fillers')})*{GAP}", re.I)
WORD_AFTER = re.compile(r"\s+[^\W\d_]")


def _plain(text: str) -> str:
    """Normalises full-width and circled letters, digits, alefs and spaces, and drops invisible characters."""
    text = "".join(mark for mark in unicodedata.normalize("NFKC", text) if unicodedata.category(mark) != "Cf")
    text = "".join(str(unicodedata.decimal(mark, mark)) for mark in text)
    text = re.sub("[\u0640\u064b-\u0652\u0670]", "", text)  # tatweel and vowel signs
    return " ".join(re.sub("[أإآٱ]", "ا", text).split())


def _words(text: str) -> str:
    """The words of a text, each between spaces, in one case, without accents. A Chinese character is one word."""
    text = unicodedata.normalize("NFD", _plain(text).replace("İ", "i").casefold().replace("ı", "i"))
    text = "".join(mark for mark in text if not unicodedata.combining(mark))
    text = re.sub(rf"([{CJK}])", r" \1 ", text)
    text = re.sub(r"\bو(?=\w{3})", "و ", text)  # Arabic "and"
    text = re.sub(r"\bال(?=\w{3})", "", text)  # the Arabic article
    words = re.findall(r"\d+(?:[.,]\d+)+|[^\W_]+", text)
    return f" {' '.join(words)} "


def read_letter_multilingual(prediction: str, options: Mapping[str, str]) -> str | None:
    """
    The letter that a careful reader of Arabic, Chinese, English, Portuguese, Russian and Turkish reads in an answer.
    The letter may be full-width or of another script, in a phrase or before a text; or the answer may be an option's
    text.

    Args:
        prediction: an answer.
        options: letters and texts.

    Returns:
        the letter; None if the answer chooses no option, or if a reader could doubt its choice.
    """
    letters = {_read_whole(_plain(line)) for line in prediction.splitlines()} & options.keys()  # a line with only "B"
    if letters:
        return _only(letters)
    text = _plain(prediction.strip().replace("\n", " | "))  # an "A" before a line break is not an article
    by_text = _read_text(text, options)
    text = DENIED.sub("|", text)
    matches = [match for match in LETTER.finditer(text) if LATIN[match[0].upper()] in options]
    if any(_are_joined(text, first, second) for first, second in itertools.pairwise(matches)):
        return None
    for reads in (_is_declared, _is_heading):
        letters = {LATIN[match[0].upper()] for match in matches if reads(text, match)}
        if letters:
            return _only(letters)
    letters = {LATIN[match[0].upper()] for match in matches if _is_set_apart(text, match)}
    if not letters or NEGATED.search(text):
        return by_text
    # No phrase says that these letters are the answer, so all other letters and the text must agree with them.
    letters |= {LATIN[match[0].upper()] for match in matches if _is_named(text, match)}
    return _only(letters | ({by_text} if by_text else set()))


def _only(letters: Set[str | None]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _read_whole(line: str) -> str | None:
    """The letter of a line that holds nothing else, except perhaps a noun: "b)", "B şıkkı"."""
    match = re.match(rf"{GAP}({LETTER.pattern})", line)
    return LATIN[match[1].upper()] if match and NOUN.fullmatch(line, match.end()) else None


def _are_joined(text: str, first: re.Match, second: re.Match) -> bool:
    """Whether two letters are joined as in "A or B", but not as in "A, a cat"."""
    is_alike = first[0].islower() == second[0].islower()
    return is_alike and bool(JOIN.fullmatch(text[first.end() : second.start()]))


def _is_word(text: str, match: re.Match) -> bool:
    """Whether a capital may be an article, a conjunction or a preposition: "A cat"."""
    after = text[match.end() :]
    return match[0] in "AEIOАВСКО" and bool(WORD_AFTER.match(after)) and not REASON.match(after)


def _is_named(text: str, match: re.Match) -> bool:
    """Whether a letter is a capital, and not a word at the beginning of a sentence: "A imagem"."""
    begins = text[: match.start()].rstrip()[-1:] in (*".!?:", "")
    return match[0].isupper() and not (begins and _is_word(text, match))


def _is_declared(text: str, match: re.Match) -> bool:
    """Whether the text says that the letter is the answer."""
    before, after = text[max(0, match.start() - 80) : match.start()], text[match.end() :]
    if match[0].islower() and match[0] != match[0].upper():
        return bool(CUED.search(before)) and not after.strip(PUNCTUATION + " ")
    if JUDGED.match(after):
        return True
    return bool(CUED.search(before)) and not _is_word(text, match)


def _is_heading(text: str, match: re.Match) -> bool:
    """Whether the answer begins with the letter and a mark or a reason, and lists no other letter: "B. dog"."""
    before, after = text[: match.start()], text[match.end() :]
    is_marked = before.strip()[-1:] in tuple("([{*\"'「【")
    is_marked = is_marked or bool(re.match(r"\s*[*\"']*[.):、,)\-–—\]]", after))
    is_marked = is_marked or bool(match[0].isupper() and REASON.match(after))
    return is_marked and not before.strip(PUNCTUATION + " ") and not LISTED.search(after)


def _is_set_apart(text: str, match: re.Match) -> bool:
    """Whether a capital is in brackets or bold, or at the end of the answer."""
    if match[0] != match[0].upper() or not (match[0].isupper() or match[0] in "ابجد"):
        return False
    around = text[: match.start()][-1:] + text[match.end() :][:1]
    return around in ("()", "[]", "**", "「」", "【】") or bool(NOUN.fullmatch(text, match.end()))


def _read_text(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose text is the answer, or the only one in it; a text within a longer option does not count."""
    answer, texts = _words(text), {letter: _words(option) for letter, option in options.items()}
    clause = _words(re.split(r"[;:،。，、：；]|[.,](?!\d)", text)[0])  # "No, it is not"
    declared = _words(DECLARATION.sub("", text))  # "The answer is no"
    equal = [letter for letter, option in texts.items() if option.strip() and option in (answer, clause, declared)]
    if equal:
        return equal[0] if len(equal) == 1 else None
    if NEGATED.search(text):
        return None
    contained = {letter: option for letter, option in texts.items() if option.strip() and option in answer}
    longest = [
        letter
        for letter, option in contained.items()
        if option in _without(answer, [text for text in contained.values() if option in text and option != text])
    ]
    return longest[0] if len(longest) == 1 else None


def _without(answer: str, texts: Sequence[str]) -> str:
    for text in sorted(texts, key=len, reverse=True):
        answer = answer.replace(text, " | ")
    return answer


def circular_hits(indices: Sequence[int], hits: Sequence[bool]) -> dict[int, bool]:
    """
    Whether a question and all its rotations were answered right. The index of a rotation is the question's index plus
    a multiple of `ROTATION`.

    Returns:
        by the question's index. Questions that are there only as rotations are left out, as in VLMEvalKit.
    """
    groups: dict[int, list[bool]] = defaultdict(list)
    for index, hit in zip(indices, hits, strict=True):
        groups[index % ROTATION].append(hit)
    all_indices = set(indices)
    return {index: all(group) for index, group in groups.items() if index in all_indices}


class MultipleChoiceAccuracy(evaluate.Metric):
    """`compute(predictions=, references=, options=, indices=None, release="2024-01")`, see `MetricInfo`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy of written answers to multiple-choice questions, by VLMEvalKit's exact matching and "
            "by a matching that reads six languages; plain, and circular where there are rotations.",
            citation="Sun et al., Parrot: Multilingual Visual Instruction Tuning, ICML 2025, arXiv 2406.02539. "
            "Duan et al., VLMEvalKit, 2024, arXiv 2407.11691.",
            inputs_description="predictions: answers. references: letters. options: texts of A, B, ... of each "
            "question. indices: the index of a rotation is its question's plus a multiple of 1,000,000. release: see "
            "`read_letter`. Returns accuracy and accuracy_multilingual (of the questions, without rotations), "
            "circular_accuracy and circular_accuracy_multilingual (only if there are rotations), unparsed, "
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
        # A benchmark's own indices may be as large: an index is a rotation's only if its question is there, too.
        all_indices = set(indices)
        is_rotated = any(index >= ROTATION and index % ROTATION in all_indices for index in indices)
        options_by_letter = [dict(zip(LETTERS, texts, strict=False)) for texts in options]
        pairs = list(zip(predictions, options_by_letter, strict=True))
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
                f"Row {row}: the reference {reference!r} is not a letter of its {len(texts)} options {list(texts)}; "
                f"give one of A to {LETTERS[len(texts) - 1]}."
            )
        if first.setdefault(index, row) != row:
            raise ValueError(f"Row {row}: row {first[index]} has the index {index}, too; give each row its own index.")
