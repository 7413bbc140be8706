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
"""What answers to a benchmark are worth: verdicts by row, accuracies by language and category, tables and pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas
import torch
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from torch import nn
from torch.nn import functional as F

from trainer.benchmark_files import ROTATION, Question, base_index, picture_ids
from trainer.benchmark_rows import Answer, Measured, Results, Router, Row, Settings, Share, Wordings
from trainer.multiple_choice_accuracy import Release, circular_hits, read_letter, read_letter_multilingual


Rows = dict[tuple[str, str], Row]  # by language and index
Pairs = tuple[list[tuple[bool, bool]], list[str]]  # the verdicts on two answers to each question, and its picture
Verdict = Literal["hit", "hit_multilingual", "plain_hit", "plain_hit_multilingual"]
Z = stats.norm.ppf(0.975)  # of intervals of 95%
PERMUTATIONS = 9_999


def judge(answers: Sequence[Answer], questions: Mapping[tuple[str, str], Question], release: Release) -> list[Row]:
    """
    Judges answers, in the order of the questions.

    Args:
        release: of VLMEvalKit, see `read_letter`.
    """
    given = {(answer["language"], answer["index"]): answer for answer in answers}
    pictures = picture_ids(list(questions.values()))
    rows = []
    for key, question in questions.items():
        if key not in given:
            continue
        answer = given[key]
        letter, multilingual = answer.get("letter"), answer.get("letter")
        if "letter" not in answer:
            letter = read_letter(answer["prediction"], question.matched_options, release)
            multilingual = read_letter_multilingual(answer["prediction"], question.options)
        row = cast(
            Row,
            {
                "index": question.index,
                "language": question.language,
                "category": question.category,
                "l2-category": question.l2_category,
                "picture": pictures[key],
                **{name: value for name, value in answer.items() if name in ("prompt", "prediction")},
                "answer": question.answer,
                "letter": letter,
                "hit": letter == question.answer,
                "letter_multilingual": multilingual,
                "hit_multilingual": multilingual == question.answer,
                **{name: value for name, value in answer.items() if name in ("scores", "router")},
            },
        )
        rows.append(row)
    for language in {question.language for question in questions.values()}:
        if is_circular([question for question in questions.values() if question.language == language]):
            _judge_rotations([row for row in rows if row["language"] == language])
    return rows


def is_circular(questions: Sequence[Question]) -> bool:
    """
    Whether questions of one language hold rotations, whose index is another's and a multiple of `ROTATION`.

    Raises:
        `ValueError`: if there are rotations, and an index that is not of digits alone.
    """
    indices = dict.fromkeys(question.index for question in questions)
    rotations = [index for index in indices if base_index(index) != index and base_index(index) in indices]
    for question in questions:
        if rotations and not question.index.isdecimal():
            raise ValueError(
                f"{question.place or question.key}: the index {question.index!r} is not of digits alone, and "
                f"{rotations[0]} is a rotation of {base_index(rotations[0])}: number all questions, or none."
            )
    return bool(rotations)


def _judge_rotations(rows: list[Row]) -> None:
    indices = [int(row["index"]) for row in rows]
    hits = circular_hits(indices, [row["hit"] for row in rows])
    hits_multilingual = circular_hits(indices, [row["hit_multilingual"] for row in rows])
    for row, index in zip(rows, indices, strict=True):
        row["plain_hit"], row["hit"] = row["hit"], hits.get(index % ROTATION, False)
        row["plain_hit_multilingual"] = row["hit_multilingual"]
        row["hit_multilingual"] = hits_multilingual.get(index % ROTATION, False)


def design_effect(values: Sequence[float] | np.ndarray, pictures: Sequence[str]) -> float:
    """
    How many times larger the variance of a mean is because values about the same picture go together (Kish, 1965): the
    variance over clusters (Liang and Zeger, 1986, as lmms-eval and inspect-ai have it) by that of independent values.
    It is 1 where no picture is shared, and never less.
    """
    codes = pandas.factorize(np.asarray(pictures))[0]
    count, clusters = len(values), codes.max() + 1
    residuals = np.asarray(values, dtype=float) - np.mean(values)
    if not residuals.any() or clusters == 1:  # as if all questions about a picture were one
        return count / clusters
    ratio = (np.bincount(codes, residuals) ** 2).sum() / (residuals**2).sum()
    return max(1.0, ratio * clusters / (clusters - 1) * (count - 1) / count)


def share(hits: Sequence[bool], pictures: Sequence[str] | None = None) -> Share:
    """
    The share of hits with its 95% interval: Wilson's, which has a width for none and for all, too. Questions that
    share `pictures` count as so many independent ones as they are worth (Korn and Graubard, 1998).
    """
    found = sum(hits) / len(hits)
    count = len(hits) / (design_effect(hits, pictures) if pictures else 1)
    low, high = proportion_confint(found * count, count, method="wilson")
    return {"accuracy": found, "low": min(found, float(low)), "high": max(found, float(high))}  # rounded at 0 and 1


def measure(rows: Sequence[Row], questions: Sequence[Question]) -> Measured | None:
    """What the answers to some questions of one language are worth; None without answers."""
    bases = list(filter(is_counted, rows))
    if not bases:
        return None
    is_circular = "plain_hit" in bases[0]
    asked = {base_index(question.index) if is_circular else question.index: question for question in questions}
    searched = [question.in_training for question in asked.values() if question.in_training is not None]
    pictures = [row["picture"] for row in bases]
    kinds: dict[str, Verdict] = {"plain": "hit", "plain_multilingual": "hit_multilingual"}
    if is_circular:
        kinds = {
            "plain": "plain_hit",
            "circular": "hit",
            "plain_multilingual": "plain_hit_multilingual",
            "circular_multilingual": "hit_multilingual",
        }
    shares = {kind: share([row[verdict] for row in bases], pictures) for kind, verdict in kinds.items()}
    measured = {
        **shares.get("circular", shares["plain"]),
        **shares,
        "count": len(bases),
        "questions": len(asked),
        "pictures": len(set(pictures)),
        "in_training": sum(map(bool, searched)) if searched else None,
        "training_data": max(searched, default=None) or None,
        "rows": len(rows),
        "unparsed": sum(row["letter"] is None for row in rows),
        "unparsed_multilingual": sum(row["letter_multilingual"] is None for row in rows),
        "chance": float(np.mean([1 / len(question.options) for question in questions])),
    }
    return cast(Measured, measured)


def is_counted(row: Row) -> bool:
    """A rotation counts with its question; a large index alone makes none."""
    return "plain_hit" not in row or row["index"] == base_index(row["index"])


def summarize(rows: Sequence[Row], questions: Mapping[tuple[str, str], Question]) -> Results:
    """`measure` by language: of `all`, and by `category` and `l2-category`."""
    results: Results = {}
    for language in dict.fromkeys(question.language for question in questions.values()):
        asked = [question for question in questions.values() if question.language == language]
        answered = [row for row in rows if row["language"] == language]
        results[language] = {
            "all": measure(answered, asked),
            "category": _measure_by(lambda question: question.category, answered, asked),
            "l2-category": _measure_by(lambda question: question.l2_category, answered, asked),
        }
    return results


def _measure_by(
    name_of: Callable[[Question], str], rows: Sequence[Row], questions: Sequence[Question]
) -> dict[str, Measured | None]:
    names = {question.key: name_of(question) for question in questions}
    return {
        name: measure(
            [row for row in rows if names[row["language"], row["index"]] == name],
            [question for question in questions if names[question.key] == name],
        )
        for name in dict.fromkeys(names.values())
        if name
    }


def read_out_languages(rows: Sequence[Row]) -> Router | None:
    """
    How well the router alone tells the languages apart.

    A linear classifier is fitted on the router's probabilities (eq. 3) of half of the questions and read out on the
    other half; the halves share no question, whatever its language or rotation.

    Returns:
        None if there is no router or one language; the weights alone if there is one question.
    """
    routed = [row for row in rows if "router" in row]
    languages = list(dict.fromkeys(row["language"] for row in routed))
    if len(languages) < 2:
        return None
    probabilities = torch.tensor([row["router"] for row in routed], dtype=torch.float64)  # (R, E)
    labels = torch.tensor([languages.index(row["language"]) for row in routed])
    number_of = {name: number for number, name in enumerate(dict.fromkeys(base_index(row["index"]) for row in routed))}
    is_held_out = torch.tensor([number_of[base_index(row["index"])] % 2 == 1 for row in routed])
    result: Router = {
        "weights": {
            language: probabilities[labels == number].mean(dim=0).tolist() for number, language in enumerate(languages)
        }
    }
    if len(number_of) > 1:
        guessed = _fit_linear(probabilities[~is_held_out], labels[~is_held_out], len(languages))(
            probabilities[is_held_out]
        )
        result |= {
            "accuracy": (guessed == labels[is_held_out]).double().mean().item(),
            "count": int(is_held_out.sum()),
            "chance": labels[is_held_out].bincount().max().item() / int(is_held_out.sum()),
        }
    return result


def _fit_linear(inputs: torch.Tensor, labels: torch.Tensor, classes: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Multinomial logistic regression on standardised inputs, lightly regularised so that it has an optimum."""
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-12)
    linear = nn.Linear(inputs.shape[1], classes, dtype=inputs.dtype)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(linear((inputs - mean) / deviation), labels) + 1e-4 * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return lambda seen: linear((seen - mean) / deviation).argmax(dim=-1)


def _percent(measured: Share | None) -> str:
    return f"{100 * measured['accuracy']:.1f}" if measured else "–"


def _percent_of_whole(measured: Measured | None) -> str:
    """A dash if not all questions are answered, too: such an accuracy compares with no other."""
    return _percent(measured if measured and measured["count"] == measured["questions"] else None)


def _in_training(measured: Measured | None) -> str:
    if not measured or measured.get("in_training") is None:
        return "–"
    name = f" ({measured['training_data']})" * bool(measured["training_data"])
    return f"{measured['in_training']} of {measured['questions']}{name}"


def _written(wordings: Wordings | None, what: str, languages: Sequence[str]) -> dict[str, list[str]]:
    """Lines of a table: written answers to the questions of an l2-category, in the benchmark's wording and others."""
    if not wordings:
        return {}
    return {
        **{
            name: [_percent(results[language]["l2-category"].get(what)) for language in languages]
            for name, results in (
                ("written answers", wordings["own"]),
                ("written, other wordings", wordings["other"]),
            )
        },
        "… in the question's language": [
            _percent(wordings["in_language"].get(language, {}).get(what)) for language in languages
        ],
    }


def _table(head: str, languages: Sequence[str], lines: Mapping[str, Sequence[str]]) -> list[str]:
    says_nothing = {"–", "0; 0"}
    rows = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items() if set(cells) - says_nothing]
    if not rows:
        return []
    return [f"| {head} | " + " | ".join(languages) + " |", "|---" * (len(languages) + 1) + "|", *rows, ""]


def report(results: Mapping[str, Results], router: Router | None, wordings: Wordings | None = None) -> str:
    """
    The results in Markdown, in percent.

    Args:
        results: of `summarize`, by answerer, the model first.
        router: of `read_out_languages`.
        wordings: of `trainer.written_answers.compare_wordings`.
    """
    model = next(iter(results.values()))
    languages = list(model)
    is_circular = any("circular" in (model[language]["all"] or {}) for language in languages)
    details: dict[str, Callable[[Measured | None], str]] = {
        "plain": lambda found: _percent(found["plain"]) if found and is_circular else "–",
        "multilingual matching": lambda found: (
            _percent(found.get("circular_multilingual", found["plain_multilingual"])) if found else "–"
        ),
        "95% interval": lambda found: f"{100 * found['low']:.1f}–{100 * found['high']:.1f}" if found else "–",
        "questions answered": lambda found: f"{found['count']} of {found['questions']}" if found else "–",
        "about so many pictures": lambda found: (
            str(found["pictures"]) if found and found["pictures"] < found["count"] else "–"
        ),
        "their pictures in training data": _in_training,
        "unparsed; by multilingual matching": lambda found: (
            f"{found['unparsed']}; {found['unparsed_multilingual']}" if found else "–"
        ),
    }

    def percent_of(found: Results) -> Callable[[Measured | None], str]:
        return _percent if found is model else _percent_of_whole

    lines = _table(
        "all (circular)" if is_circular else "all",
        languages,
        {
            name: [percent_of(found)(found[language]["all"]) for language in languages]
            for name, found in results.items()
        }
        | {name: [cell(model[language]["all"]) for language in languages] for name, cell in details.items()},
    )
    for what in dict.fromkeys(name for language in languages for name in model[language]["l2-category"]):
        lines += _table(
            what,
            languages,
            {
                name: [percent_of(found)(found[language]["l2-category"].get(what)) for language in languages]
                for name, found in results.items()
            }
            | _written(wordings, what, languages),
        )
    categories = dict.fromkeys(name for language in languages for name in model[language]["category"])
    cells = {name: [_percent(model[language]["category"].get(name)) for language in languages] for name in categories}
    lines += _table("category", languages, cells)
    if router and "accuracy" in router:
        lines.append(
            f"From the router's probabilities alone a linear read-out tells the language of {router['count']} "
            f"held-out questions with an accuracy of {100 * router['accuracy']:.1f} "
            f"(chance {100 * router['chance']:.1f})."
        )
    return "\n".join(lines).rstrip() + "\n"


def compare(first: Path, *others: Path) -> str:
    """
    Results on the same questions, in Markdown, each against the first: both verdicts by language, the difference in
    points with its 95% interval (Bonett and Price's), and the p-value of McNemar's exact test, which reads the
    questions that only one got right. Where questions share pictures, the interval is that of as many independent ones
    as they are worth, and the test turns the differences of a picture over together. Of the lines of a verdict some
    would be small by chance: "p (Holm)" is corrected for their number.

    Args:
        first, others: folders that benchmark.py wrote, or their results.json.

    Raises:
        `ValueError`: if a file is missing, or the benchmarks' files or the matching are others.
    """
    settings, rows = _read_results(first)
    results = {chr(ord("B") + number): _read_results(other) for number, other in enumerate(others)}
    languages = {
        name: _languages_of_both(first, settings, other, results[name][0])
        for name, other in zip(results, others, strict=True)
    }
    whose = {"A": settings} | {name: other_settings for name, (other_settings, _) in results.items()}
    lines = [", ".join(f"{name}: {_who(one)}" for name, one in whose.items()), ""]
    verdicts: dict[Verdict, str] = {"hit": "exact matching", "hit_multilingual": "multilingual matching"}
    for verdict, title in verdicts.items():
        pairs = {
            (name, language): _pairs(rows, results[name][1], language, verdict)
            for name in results
            for language in languages[name]
        }
        p_values = _p_values(pairs)
        for name in results:
            lines += [
                f"| {title} | questions | A | {name} | {name} − A | 95% interval | p | p (Holm) |",
                "|---" * 8 + "|",
                *(
                    _compared_line(language, *pairs[name, language], *p_values[name, language])
                    for language in languages[name]
                ),
                "",
            ]
    left_out = sum(key[0] in languages[name] for name in results for key in rows.keys() ^ results[name][1].keys())
    if left_out:
        lines.append(f"Left out are {left_out} questions that only one of two answered.")
    return "\n".join(lines).rstrip() + "\n"


def _languages_of_both(first: Path, settings: Settings, second: Path, other_settings: Settings) -> list[str]:
    """The languages that two results have in common."""
    names = [name for name in settings["benchmark"] if name in other_settings["benchmark"]]
    if not names:
        raise ValueError(
            f"{first} has the languages {list(settings['benchmark'])} and {second} has "
            f"{list(other_settings['benchmark'])}: give results with a language in common."
        )
    matchings = settings.get("matching"), other_settings.get("matching")
    if len(set(matchings)) > 1:
        raise ValueError(
            f"{first} was read by the matching {matchings[0]!r} and {second} by {matchings[1]!r}: give one of the "
            "commands again with the other's --matching."
        )
    for language in names:
        if settings["benchmark"][language]["sha256"] != other_settings["benchmark"][language]["sha256"]:
            raise ValueError(f"{first} and {second} have other questions in {language!r}: their files' sha256 differ.")
    return names


def _pairs(rows: Rows, other_rows: Rows, language: str, verdict: Verdict) -> Pairs:
    """What two results say of the questions of a language that both answered, and the questions' pictures."""
    both = [key for key in rows if key[0] == language and key in other_rows]
    pictures = [rows[key].get("picture", key[1]) for key in both]  # earlier versions wrote none
    return [(rows[key][verdict], other_rows[key][verdict]) for key in both], pictures


def _who(settings: Settings) -> str:
    """The model, and how it answered: the same may be compared under two ways."""
    return settings["model"] + (f" ({settings['answer']})" if "answer" in settings else "")


def _p_values(pairs: Mapping[tuple[str, str], Pairs]) -> dict[tuple[str, str], tuple[float, float]]:
    """By model and language the p-value, and the same corrected for the number of all (Holm, 1979)."""
    found = {key: _p_value(*both) for key, both in pairs.items() if both[0]}
    corrected = multipletests(list(found.values()), method="holm")[1] if found else []
    tested = dict(zip(found, zip(found.values(), corrected, strict=True), strict=True))
    return dict.fromkeys(pairs, (1.0, 1.0)) | tested


def _p_value(pairs: Sequence[tuple[bool, bool]], pictures: Sequence[str]) -> float:
    """
    Of the hypothesis that two are equally often right: how often the difference would be as large if, picture by
    picture, a coin had said whose answers are whose. With one question a picture this is McNemar's exact test.
    """
    differences = np.diff(np.array(pairs, dtype=int), axis=1)[:, 0]
    sums = np.bincount(pandas.factorize(np.asarray(pictures))[0], differences)
    sums = sums[sums != 0]
    if len(sums) < 2:
        return 1.0
    if (np.abs(sums) == 1).all():
        return stats.binomtest(int((sums > 0).sum()), len(sums)).pvalue
    test = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", vectorized=True, n_resamples=PERMUTATIONS, rng=0
    )
    return float(test.pvalue)


def _compared_line(
    language: str, pairs: Sequence[tuple[bool, bool]], pictures: Sequence[str], p_value: float, corrected: float
) -> str:
    if not pairs:
        return f"| {language} | 0 | – | – | – | – | – | – |"
    hits = np.array(pairs, dtype=float)  # (Q, 2)
    one, other = 100 * hits.mean(axis=0)
    low, high = _difference_interval(hits[:, 1] - hits[:, 0], pictures)
    return (
        f"| {language} | {len(pairs)} | {one:.1f} | {other:.1f} | {other - one:+.1f} | "
        f"{100 * low:+.1f} to {100 * high:+.1f} | {p_value:.2g} | {corrected:.2g} |"
    )


def _difference_interval(differences: np.ndarray, pictures: Sequence[str]) -> tuple[float, float]:
    """
    95% interval of a difference between two shares of the same questions. It has a width where nothing differs, too:
    Bonett and Price (2012), recommended by Fagerland, Lydersen and Laake (2014).
    """
    effect = design_effect(differences, pictures)
    count, lost, won = len(differences) / effect, (differences < 0).sum() / effect, (differences > 0).sum() / effect
    less, more = (lost + 1) / (count + 2), (won + 1) / (count + 2)
    reach = Z * ((less + more - (more - less) ** 2) / (count + 2)) ** 0.5
    return max(-1.0, more - less - reach), min(1.0, more - less + reach)


def _read_results(file: Path) -> tuple[Settings, Rows]:
    file = file / "results.json" if file.is_dir() else file
    predictions = file.with_name("predictions.jsonl")
    for needed in (file, predictions):
        if not needed.is_file():
            raise ValueError(f"There is no {needed}: give the results.json of a folder that benchmark.py wrote.")
    rows = map(json.loads, predictions.read_text(encoding="utf-8").rstrip().split("\n"))
    found = {(row["language"], row["index"]): row for row in filter(is_counted, rows)}
    return json.loads(file.read_text(encoding="utf-8"))["settings"], found
