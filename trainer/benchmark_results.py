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
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot
from torch import nn
from torch.nn import functional as F

from trainer.benchmark_files import ROTATION, Question, base_index
from trainer.multiple_choice_accuracy import circular_hits, read_letter, read_letter_multilingual


Row = dict[str, Any]
Z = NormalDist().inv_cdf(0.975)  # of intervals of 95%


def judge(answers: Sequence[Row], questions: Mapping[tuple[str, str], Question], release: str) -> list[Row]:
    """
    Judges answers, in the order of the questions.

    Args:
        answers: with `index`, `language` and `prediction`, and the `letter` where the answerer chose among the options
            and there is nothing to read.
        release: of VLMEvalKit, see `read_letter`.

    Returns:
        rows with what the answers hold and `category`, `l2-category`, `answer`, `letter`, `hit` (VLMEvalKit's exact
        matching), `letter_multilingual` and `hit_multilingual`. Of a question with rotations `hit` says whether all of
        them were right, for each of them, and `plain_hit` whether the row itself was.
    """
    given = {(answer["language"], answer["index"]): answer for answer in answers}
    rows = []
    for key, question in questions.items():
        if key not in given:
            continue
        answer = given[key]
        letter, multilingual = answer.get("letter"), answer.get("letter")
        if letter is None:
            letter = read_letter(answer["prediction"], question.matched_options, release)
            multilingual = read_letter_multilingual(answer["prediction"], question.options)
        rows.append(
            {
                "index": question.index,
                "language": question.language,
                "category": question.category,
                "l2-category": question.l2_category,
                **{name: answer[name] for name in ("prompt", "prediction") if name in answer},
                "answer": question.answer,
                "letter": letter,
                "hit": letter == question.answer,
                "letter_multilingual": multilingual,
                "hit_multilingual": multilingual == question.answer,
                **{name: answer[name] for name in ("scores", "router") if name in answer},
            }
        )
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
    for name in ("hit", "hit_multilingual"):
        hits = circular_hits(indices, [row[name] for row in rows])
        for row, index in zip(rows, indices, strict=True):
            row[f"plain_{name}"] = row[name]
            row[name] = hits.get(index % ROTATION, False)


def share(hits: Sequence[bool]) -> dict[str, float]:
    """
    The share of hits with its 95% interval: Wilson's (1927), which has a width for none and for all, too. The formula
    is that of Brown, Cai and DasGupta (2001), section 3.1.1.
    """
    count = len(hits)
    found = sum(hits) / count
    middle = (found + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * (found * (1 - found) / count + Z**2 / (4 * count**2)) ** 0.5
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return {"accuracy": found, "low": min(found, low), "high": max(found, high)}  # whatever 0 and 1 were rounded to


def measure(rows: Sequence[Row], questions: Sequence[Question]) -> Row | None:
    """
    What the answers to some questions of one language are worth.

    Returns:
        `accuracy` with its interval, the benchmark's own: circular where there are rotations, else plain; `plain`,
        `circular` and their `_multilingual` twins, each as `share` gives them, a rotation counted with its question;
        `count` of questions answered, of `questions` asked, `rows` with rotations, `unparsed` and
        `unparsed_multilingual` answers and what `chance` would reach in a row; `in_training`, how many questions have
        a picture that `training_data` has, None if nobody has looked. None without answers.
    """
    bases = list(filter(_is_counted, rows))
    if not bases:
        return None
    is_circular = "plain_hit" in bases[0]
    asked = {base_index(question.index) if is_circular else question.index: question for question in questions}
    searched = [question.in_training for question in asked.values() if question.in_training is not None]
    shares = {}
    for suffix in ("", "_multilingual"):
        if is_circular:
            shares[f"plain{suffix}"] = share([row[f"plain_hit{suffix}"] for row in bases])
            shares[f"circular{suffix}"] = share([row[f"hit{suffix}"] for row in bases])
        else:
            shares[f"plain{suffix}"] = share([row[f"hit{suffix}"] for row in bases])
    return {
        **shares.get("circular", shares["plain"]),
        **shares,
        "count": len(bases),
        "questions": len(asked),
        "in_training": sum(map(bool, searched)) if searched else None,
        "training_data": max(searched, default=None) or None,
        "rows": len(rows),
        "unparsed": sum(row["letter"] is None for row in rows),
        "unparsed_multilingual": sum(row["letter_multilingual"] is None for row in rows),
        "chance": float(np.mean([1 / len(question.options) for question in questions])),
    }


def _is_counted(row: Row) -> bool:
    """A rotation counts with its question; a large index alone makes none."""
    return "plain_hit" not in row or row["index"] == base_index(row["index"])


def summarize(rows: Sequence[Row], questions: Mapping[tuple[str, str], Question]) -> dict[str, Any]:
    """`measure` by language: of `all`, and by `category` and `l2-category`."""
    kinds: dict[str, Callable[[Question], str]] = {
        "category": lambda question: question.category,
        "l2-category": lambda question: question.l2_category,
    }
    results: dict[str, Any] = {}
    for language in dict.fromkeys(question.language for question in questions.values()):
        asked = [question for question in questions.values() if question.language == language]
        answered = [row for row in rows if row["language"] == language]
        results[language] = {"all": measure(answered, asked)}
        for kind, name_of in kinds.items():
            results[language][kind] = {
                name: measure(
                    [row for row in answered if row[kind] == name],
                    [question for question in asked if name_of(question) == name],
                )
                for name in dict.fromkeys(map(name_of, asked))
                if name
            }
    return results


def read_out_languages(rows: Sequence[Row]) -> dict[str, Any] | None:
    """
    How well the router alone tells the languages apart.

    A linear classifier is fitted on the router's probabilities (eq. 3) of half of the questions and read out on the
    other half; the halves share no question, whatever its language or rotation.

    Returns:
        `weights`, the mean probabilities by language; `accuracy` on the held-out half and its `count`, `chance` (the
        share of the most frequent language). None if there is no router or one language.
    """
    routed = [row for row in rows if "router" in row]
    languages = list(dict.fromkeys(row["language"] for row in routed))
    if len(languages) < 2:
        return None
    probabilities = torch.tensor([row["router"] for row in routed], dtype=torch.float64)  # (R, E)
    labels = torch.tensor([languages.index(row["language"]) for row in routed])
    number_of = {name: number for number, name in enumerate(dict.fromkeys(base_index(row["index"]) for row in routed))}
    is_held_out = torch.tensor([number_of[base_index(row["index"])] % 2 == 1 for row in routed])
    result = {
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


def _percent(measured: Row | None, of: str = "accuracy", whole: bool = False) -> str:
    """In percent; a dash without answers, or if all questions must be answered and are not."""
    if not measured or (whole and measured["count"] < measured["questions"]):
        return "–"
    found = measured[of] if isinstance(measured[of], dict) else measured
    return f"{100 * found['accuracy']:.1f}"


def _in_training(measured: Row | None) -> str:
    if not measured or measured.get("in_training") is None:
        return "–"
    name = f" ({measured['training_data']})" * bool(measured["training_data"])
    return f"{measured['in_training']} of {measured['questions']}{name}"


def _table(head: str, languages: Sequence[str], lines: Mapping[str, Sequence[str]]) -> list[str]:
    rows = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items() if set(cells) != {"–"}]
    if not rows:
        return []
    return [f"| {head} | " + " | ".join(languages) + " |", "|---" * (len(languages) + 1) + "|", *rows, ""]


def report(results: Mapping[str, Any], router: Row | None) -> str:
    """
    The results in Markdown, in percent.

    Args:
        results: of `summarize`, by answerer, the model first.
        router: of `read_out_languages`.
    """
    model = next(iter(results.values()))
    languages = list(model)
    first = next((model[language]["all"] for language in languages if model[language]["all"]), None)
    is_circular = bool(first) and "circular" in first
    details: dict[str, Callable[[Row | None], str]] = {
        "plain": lambda found: _percent(found, "plain") if is_circular else "–",
        "multilingual matching": lambda found: _percent(
            found, "circular_multilingual" if is_circular else "plain_multilingual"
        ),
        "95% interval": lambda found: f"{100 * found['low']:.1f}–{100 * found['high']:.1f}" if found else "–",
        "questions answered": lambda found: f"{found['count']} of {found['questions']}" if found else "–",
        "their pictures in training data": _in_training,
        "unparsed; by multilingual matching": lambda found: (
            f"{found['unparsed']}; {found['unparsed_multilingual']}" if found else "–"
        ),
    }
    lines = _table(
        "all (circular)" if is_circular else "all",
        languages,
        {
            name: [_percent(found[language]["all"], whole=found is not model) for language in languages]
            for name, found in results.items()
        }
        | {name: [cell(model[language]["all"]) for language in languages] for name, cell in details.items()},
    )
    for what in dict.fromkeys(name for language in languages for name in model[language]["l2-category"]):
        lines += _table(
            what,
            languages,
            {
                name: [
                    _percent(found[language]["l2-category"].get(what), whole=found is not model)
                    for language in languages
                ]
                for name, found in results.items()
            },
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


def draw(results: Mapping[str, Any], file: Path) -> None:
    """Draws the accuracy of each language with its interval over the baselines, and of each category and language."""
    model = next(iter(results.values()))
    languages = list(model)
    categories = list(dict.fromkeys(name for language in languages for name in model[language]["category"]))
    height = max(4, 0.35 * len(categories) + 1)
    figure, (bars, heat) = pyplot.subplots(1, 2, figsize=(12, height), layout="constrained")
    bars_of = {
        name: {
            place: found[language]["all"]
            for place, language in enumerate(languages)
            if _percent(found[language]["all"], whole=found is not model) != "–"
        }
        for name, found in results.items()
    }
    bars_of = {name: drawn for name, drawn in bars_of.items() if drawn}
    width = 0.8 / max(1, len(bars_of))
    for number, (name, drawn) in enumerate(bars_of.items()):
        places = [place + (number - (len(bars_of) - 1) / 2) * width for place in drawn]
        shares, low, high = np.array([[one["accuracy"], one["low"], one["high"]] for one in drawn.values()]).T
        bars.bar(places, shares, width, label=name, yerr=[shares - low, high - shares])
    bars.set_xticks(range(len(languages)), languages)
    bars.set(ylim=(0, 1), ylabel="accuracy")
    bars.legend()
    shares = [
        [(model[language]["category"].get(name) or {"accuracy": np.nan})["accuracy"] for language in languages]
        for name in categories
    ]
    heat.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    heat.set_xticks(range(len(languages)), languages)
    heat.set_yticks(range(len(categories)), categories)
    for row, found in enumerate(shares):
        for column, one in enumerate(found):
            color = "black" if one > 0.6 else "white"
            heat.text(column, row, f"{100 * one:.0f}", ha="center", va="center", color=color)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def compare(first: Path, second: Path) -> str:
    """
    Two results on the same questions, in Markdown: both verdicts by language, the difference in points with its 95%
    interval (Bonett and Price's), and the p-value of McNemar's exact test, which reads the questions that only one
    got right.

    Args:
        first, second: folders that benchmark.py wrote, or their results.json.

    Raises:
        `ValueError`: if a file is missing, or the benchmarks' files or the matching are others.
    """
    (settings, rows), (other_settings, other_rows) = map(_read_results, (first, second))
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
    lines = [f"A: {_who(settings)}, B: {_who(other_settings)}", ""]
    for verdict, title in (("hit", "exact matching"), ("hit_multilingual", "multilingual matching")):
        lines += [
            f"| {title} | questions | A | B | B − A | 95% interval | p |",
            "|---" * 7 + "|",
        ]
        for language in names:
            pairs = [
                (row[verdict], other_rows[key][verdict])
                for key, row in rows.items()
                if key[0] == language and key in other_rows
            ]
            lines.append(_compare_pairs(language, pairs))
        lines.append("")
    left_out = [key for key in rows.keys() ^ other_rows.keys() if key[0] in names]
    if left_out:
        lines.append(f"Left out are {len(left_out)} questions that only one of them answered.")
    return "\n".join(lines).rstrip() + "\n"


def _who(settings: Row) -> str:
    """The model, and how it answered: the same may be compared under two ways."""
    return settings["model"] + (f" ({settings['answer']})" if "answer" in settings else "")


def _compare_pairs(language: str, pairs: Sequence[tuple[bool, bool]]) -> str:
    if not pairs:
        return f"| {language} | 0 | – | – | – | – | – |"
    hits = np.array(pairs, dtype=float)  # (Q, 2)
    differences = hits[:, 1] - hits[:, 0]
    lost, won = int((differences < 0).sum()), int((differences > 0).sum())
    p_value = min(1.0, 2 * sum(math.comb(lost + won, k) for k in range(min(lost, won) + 1)) / 2 ** (lost + won))
    one, other = 100 * hits.mean(axis=0)
    low, high = _difference_interval(lost, won, len(pairs))
    return (
        f"| {language} | {len(pairs)} | {one:.1f} | {other:.1f} | {other - one:+.1f} | "
        f"{100 * low:+.1f} to {100 * high:+.1f} | {p_value:.2g} |"
    )


def _difference_interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """
    95% interval of a difference between two shares of the same questions. It has a width where nothing differs, too:
    Bonett and Price (2012), recommended by Fagerland, Lydersen and Laake (2014).
    """
    less, more = (lost + 1) / (count + 2), (won + 1) / (count + 2)
    reach = Z * ((less + more - (more - less) ** 2) / (count + 2)) ** 0.5
    return max(-1.0, more - less - reach), min(1.0, more - less + reach)


def _read_results(file: Path) -> tuple[Row, dict[tuple[str, str], Row]]:
    file = file / "results.json" if file.is_dir() else file
    predictions = file.with_name("predictions.jsonl")
    for needed in (file, predictions):
        if not needed.is_file():
            raise ValueError(f"There is no {needed}: give the results.json of a folder that benchmark.py wrote.")
    rows = map(json.loads, predictions.read_text(encoding="utf-8").rstrip().split("\n"))
    found = {(row["language"], row["index"]): row for row in filter(_is_counted, rows)}
    return json.loads(file.read_text(encoding="utf-8"))["settings"], found
