# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Judges a benchmark's answers: verdicts by row, accuracies by language and category, tables, significance tests."""

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

from trainer.evaluation.benchmark_files import ROTATION, Question, base_index, picture_ids
from trainer.evaluation.result_types import Answer, Measured, Results, Router, Row, Settings, Share, Wordings
from trainer.multiple_choice_accuracy import Release, circular_hits, read_letter, read_letter_multilingual


Rows = dict[tuple[str, str], Row]  # by language and index
Pairs = tuple[list[tuple[bool, bool]], list[str]]  # each question's verdicts on two answers, and its picture's id
Verdict = Literal["hit", "hit_multilingual", "plain_hit", "plain_hit_multilingual"]
Z = stats.norm.ppf(0.975)  # for 95% intervals
PERMUTATIONS = 9_999


def judge(answers: Sequence[Answer], questions: Mapping[tuple[str, str], Question], release: Release) -> list[Row]:
    """
    Judges answers, in the order of the questions.

    Args:
        release: a release of VLMEvalKit, see `read_letter`.
    """
    by_key = {(answer["language"], answer["index"]): answer for answer in answers}
    pictures = picture_ids(list(questions.values()))
    rows = []
    for key, question in questions.items():
        if key not in by_key:
            continue
        answer = by_key[key]
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
    Whether questions of one language include rotations. A rotation's index is another question's index plus a multiple
    of `ROTATION`.

    Raises:
        `ValueError`: if there are rotations, but an index is not a number.
    """
    indices = dict.fromkeys(question.index for question in questions)
    rotations = [index for index in indices if base_index(index) != index and base_index(index) in indices]
    for question in questions:
        if rotations and not question.index.isdecimal():
            raise ValueError(
                f"{question.place or question.key}: the index {question.index!r} is not a number, but "
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
    Design effect of questions that share pictures (Kish, 1965): the cluster-robust variance of the mean (Liang and
    Zeger, 1986, as in lmms-eval and inspect-ai), divided by its variance for independent values. The effect is 1 if no
    picture is shared, and never less than 1.
    """
    codes = pandas.factorize(np.asarray(pictures))[0]
    count, clusters = len(values), codes.max() + 1
    residuals = np.asarray(values, dtype=float) - np.mean(values)
    if not residuals.any() or clusters == 1:  # the ratio is undefined: count all questions about a picture as one
        return count / clusters
    ratio = (np.bincount(codes, residuals) ** 2).sum() / (residuals**2).sum()
    return max(1.0, ratio * clusters / (clusters - 1) * (count - 1) / count)


def share(hits: Sequence[bool], pictures: Sequence[str] | None = None) -> Share:
    """
    The share of hits with Wilson's 95% interval, which has a width even at 0 and at 1. If questions share `pictures`,
    the interval uses their effective sample size (Korn and Graubard, 1998).
    """
    accuracy = sum(hits) / len(hits)
    count = len(hits) / (design_effect(hits, pictures) if pictures else 1)
    low, high = proportion_confint(accuracy * count, count, method="wilson")
    low, high = min(accuracy, float(low)), max(accuracy, float(high))  # rounding errors at 0 and 1
    return {"accuracy": accuracy, "low": low, "high": high}


def measure(rows: Sequence[Row], questions: Sequence[Question]) -> Measured | None:
    """Measures the answers to some questions of one language; None without answers."""
    bases = list(filter(is_counted, rows))
    if not bases:
        return None
    has_rotations = "plain_hit" in bases[0]
    distinct = {base_index(question.index) if has_rotations else question.index: question for question in questions}
    in_training = [question.in_training for question in distinct.values() if question.in_training is not None]
    pictures = [row["picture"] for row in bases]
    kinds: dict[str, Verdict] = {"plain": "hit", "plain_multilingual": "hit_multilingual"}
    if has_rotations:
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
        "questions": len(distinct),
        "pictures": len(set(pictures)),
        "in_training": sum(map(bool, in_training)) if in_training else None,
        "training_data": max(in_training, default=None) or None,
        "rows": len(rows),
        "unparsed": sum(row["letter"] is None for row in rows),
        "unparsed_multilingual": sum(row["letter_multilingual"] is None for row in rows),
        "chance": float(np.mean([1 / len(question.options) for question in questions])),
    }
    return cast(Measured, measured)


def is_counted(row: Row) -> bool:
    """Whether a row counts. All rows do except rotations; a large index alone does not make a row a rotation."""
    return "plain_hit" not in row or row["index"] == base_index(row["index"])


def summarize(rows: Sequence[Row], questions: Mapping[tuple[str, str], Question]) -> Results:
    """Applies `measure` to each language: to all its questions, and to each `category` and `l2-category`."""
    results: Results = {}
    for language in dict.fromkeys(question.language for question in questions.values()):
        of_language = [question for question in questions.values() if question.language == language]
        answered = [row for row in rows if row["language"] == language]
        results[language] = {
            "all": measure(answered, of_language),
            "category": _measure_by(lambda question: question.category, answered, of_language),
            "l2-category": _measure_by(lambda question: question.l2_category, answered, of_language),
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
    Measures how well the router's probabilities alone identify the language.

    A linear classifier is trained on the router's probabilities (eq. 3) for half of the questions and tested on the
    other half. A question is in the same half in all languages and rotations.

    Returns:
        None if there is no router or only one language; only the weights if there is only one question.
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
        predicted = _fit_linear(probabilities[~is_held_out], labels[~is_held_out], len(languages))(
            probabilities[is_held_out]
        )
        result |= {
            "accuracy": (predicted == labels[is_held_out]).double().mean().item(),
            "count": int(is_held_out.sum()),
            "chance": labels[is_held_out].bincount().max().item() / int(is_held_out.sum()),
        }
    return result


def _fit_linear(inputs: torch.Tensor, labels: torch.Tensor, classes: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Multinomial logistic regression on standardised inputs. Weak regularisation ensures that an optimum exists."""
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
    return lambda values: linear((values - mean) / deviation).argmax(dim=-1)


def _percent(measured: Share | None) -> str:
    return f"{100 * measured['accuracy']:.1f}" if measured else "–"


def _percent_of_whole(measured: Measured | None) -> str:
    """As `_percent`, but a dash if some questions have no answer: such an accuracy cannot be compared."""
    return _percent(measured if measured and measured["count"] == measured["questions"] else None)


def _in_training(measured: Measured | None) -> str:
    if not measured or measured.get("in_training") is None:
        return "–"
    name = f" ({measured['training_data']})" * bool(measured["training_data"])
    return f"{measured['in_training']} of {measured['questions']}{name}"


def _written(wordings: Wordings | None, subject: str, languages: Sequence[str]) -> dict[str, list[str]]:
    """Table lines: written answers to the questions of an l2-category, in the benchmark's and in other wordings."""
    if not wordings:
        return {}
    return {
        **{
            name: [_percent(results[language]["l2-category"].get(subject)) for language in languages]
            for name, results in (
                ("written answers", wordings["own"]),
                ("written answers, other wordings", wordings["other"]),
            )
        },
        "other wordings, answered in the question's language": [
            _percent(wordings["in_language"].get(language, {}).get(subject)) for language in languages
        ],
    }


def _table(head: str, languages: Sequence[str], lines: Mapping[str, Sequence[str]]) -> list[str]:
    empty = {"–", "0; 0"}
    rows = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items() if set(cells) - empty]
    if not rows:
        return []
    return [f"| {head} | " + " | ".join(languages) + " |", "|---" * (len(languages) + 1) + "|", *rows, ""]


HOW_ANSWERED = {
    "generate": "The model wrote its answers to questions with options.",
    "open": "The model wrote its answers to questions without options.",
    "letter": "The model chose the option with the likeliest letter.",
    "text": "The model chose the option with the likeliest text.",
    "pmi": "The model chose the option whose text gains most likelihood from the picture.",
}
BASELINES = {
    "chance": "`chance` chooses at random.",
    "text-only": "`text-only` is the model without the picture.",
    "neighbors": "`neighbors` chooses the option whose training pictures are nearest in raw pixels.",
}


def how_answered(settings: Settings, baselines: Mapping[str, Results]) -> str:
    """Says in sentences how the model and the baselines answered."""
    sentences = [HOW_ANSWERED.get(settings.get("answer", ""), "")]
    sentences += [text for name, text in BASELINES.items() if name in baselines]
    return " ".join(filter(None, sentences))


def introduction(
    settings: Settings, results: Results, baselines: Mapping[str, Results], has_wordings: bool = False
) -> str:
    """The beginning of results.md: a title, and what the tables show."""
    whole = [of_language["all"] for of_language in results.values() if of_language["all"]]
    files = dict.fromkeys(
        file["file"].replace(f"_{language}.", "_<language>.") for language, file in settings["benchmark"].items()
    )
    sentences = [
        f"Answers from {settings['model']} to {sum(measured['questions'] for measured in whole)} questions in "
        f"{len(results)} language{'s' * (len(results) > 1)}, from {', '.join(f'`{file}`' for file in files)}.",
        how_answered(settings, baselines),
    ]
    if settings.get("answer", "generate") == "generate":
        sentences.append(f"VLMEvalKit's exact matching of {settings.get('matching')} reads the letter of an answer.")
    if has_wordings:
        sentences.append("The written answers are to the same questions without options.")
    if any("circular" in measured for measured in whole):
        sentences.append("A question is right if all rotations of its options are answered right.")
    if whole:
        chance = 100 * np.mean([measured["chance"] for measured in whole])
        sentences.append(f"An option that is chosen at random is right in {chance:.1f}%.")
    sentences.append("The tables give accuracy in percent. results.json has the settings and versions of this run.")
    return f"# Accuracy on {benchmark_name(settings)}\n\n{' '.join(filter(None, sentences))}\n"


def benchmark_name(settings: Settings) -> str:
    """The names of a benchmark's files without their languages."""
    names = {Path(file["file"]).stem.removesuffix(f"_{language}") for language, file in settings["benchmark"].items()}
    return ", ".join(sorted(names))


def report(results: Mapping[str, Results], router: Router | None, wordings: Wordings | None = None) -> str:
    """
    Writes the results as Markdown tables, in percent.

    Args:
        results: the result of `summarize` by answerer; the model is first.
        router: the result of `read_out_languages`.
        wordings: the result of `trainer.evaluation.written_answers.compare_wordings`.
    """
    model = next(iter(results.values()))
    languages = list(model)
    has_rotations = any("circular" in (model[language]["all"] or {}) for language in languages)
    # No text is read where a model chooses an option: then both matchings agree.
    has_two_matchings = any(
        measured["plain"] != measured["plain_multilingual"]
        or measured.get("circular") != measured.get("circular_multilingual")
        for language in languages
        if (measured := model[language]["all"])
    )
    details: dict[str, Callable[[Measured | None], str]] = {
        "plain": lambda measured: _percent(measured["plain"]) if measured and has_rotations else "–",
        "multilingual matching": lambda measured: (
            _percent(measured.get("circular_multilingual", measured["plain_multilingual"]))
            if measured and has_two_matchings
            else "–"
        ),
        "95% interval": lambda measured: (
            f"{100 * measured['low']:.1f}–{100 * measured['high']:.1f}" if measured else "–"
        ),
        "questions answered": lambda measured: f"{measured['count']} of {measured['questions']}" if measured else "–",
        "different pictures": lambda measured: (
            str(measured["pictures"]) if measured and measured["pictures"] < measured["count"] else "–"
        ),
        "questions with a picture in training data": _in_training,
        "answers without a letter: exact; multilingual": lambda measured: (
            f"{measured['unparsed']}; {measured['unparsed_multilingual']}" if measured else "–"
        ),
    }

    def percent_of(answerer: Results) -> Callable[[Measured | None], str]:
        return _percent if answerer is model else _percent_of_whole

    lines = _table(
        "all (circular)" if has_rotations else "all",
        languages,
        {
            name: [percent_of(answerer)(answerer[language]["all"]) for language in languages]
            for name, answerer in results.items()
        }
        | {name: [cell(model[language]["all"]) for language in languages] for name, cell in details.items()},
    )
    for subject in dict.fromkeys(name for language in languages for name in model[language]["l2-category"]):
        lines += _table(
            subject,
            languages,
            {
                name: [percent_of(answerer)(answerer[language]["l2-category"].get(subject)) for language in languages]
                for name, answerer in results.items()
            }
            | _written(wordings, subject, languages),
        )
    categories = dict.fromkeys(name for language in languages for name in model[language]["category"])
    cells = {name: [_percent(model[language]["category"].get(name)) for language in languages] for name in categories}
    lines += _table("category", languages, cells)
    if router and "accuracy" in router:
        lines.append(
            "A linear read-out of the router's probabilities identifies the language: it is right in "
            f"{100 * router['accuracy']:.1f}% of {router['count']} held-out questions "
            f"(chance {100 * router['chance']:.1f})."
        )
    return "\n".join(lines).rstrip() + "\n"


def compare(first: Path, *others: Path) -> str:
    """
    Compares each of the other results with the first, on the same questions. The tables in Markdown give accuracy by
    language and verdict, the difference in points with Bonett and Price's 95% interval, and the p-value of McNemar's
    exact test. If questions share pictures, the interval uses their effective sample size, and the test permutes all
    differences of a picture together. Among many tests, some p-values are small by chance; "p (Holm)" is corrected for
    the number of tests of a verdict.

    Args:
        first, others: folders that benchmark.py wrote, or their results.json.

    Raises:
        `ValueError`: if a file is missing, or if the results have different benchmark files or matchings.
    """
    settings, rows = _read_results(first)
    results = {chr(ord("B") + number): _read_results(other) for number, other in enumerate(others)}
    languages = {
        name: _languages_of_both(first, settings, other, results[name][0])
        for name, other in zip(results, others, strict=True)
    }
    by_name = {"A": settings} | {name: other_settings for name, (other_settings, _) in results.items()}
    lines = [", ".join(f"{name}: {_model_and_answer(of_name)}" for name, of_name in by_name.items()), ""]
    verdicts: dict[Verdict, str] = {"hit": "exact matching", "hit_multilingual": "multilingual matching"}
    pairs_of = {
        title: {
            (name, language): _pairs(rows, results[name][1], language, verdict)
            for name in results
            for language in languages[name]
        }
        for verdict, title in verdicts.items()
    }
    exact, multilingual = pairs_of.values()
    if exact == multilingual:  # No text is read where models choose options: both tables would be the same.
        pairs_of = {"accuracy (%)": exact}
    for title, pairs in pairs_of.items():
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
        lines.append(f"Questions that are left out, because only one of two models answered them: {left_out}.")
    return "\n".join(lines).rstrip() + "\n"


def _languages_of_both(first: Path, settings: Settings, second: Path, other_settings: Settings) -> list[str]:
    """Returns the languages that two results have in common."""
    names = [name for name in settings["benchmark"] if name in other_settings["benchmark"]]
    if not names:
        raise ValueError(
            f"{first} has the languages {list(settings['benchmark'])} and {second} has "
            f"{list(other_settings['benchmark'])}: give results with a language in common."
        )
    matchings = settings.get("matching"), other_settings.get("matching")
    if len(set(matchings)) > 1:
        raise ValueError(
            f"{first} was read by the matching {matchings[0]!r} and {second} by {matchings[1]!r}: repeat one of the "
            "commands with the --matching of the other."
        )
    for language in names:
        if settings["benchmark"][language]["sha256"] != other_settings["benchmark"][language]["sha256"]:
            raise ValueError(
                f"{first} and {second} have different questions in {language!r}, because the sha256 of their files "
                "differs: give results of the same benchmark."
            )
    return names


def _pairs(rows: Rows, other_rows: Rows, language: str, verdict: Verdict) -> Pairs:
    """Pairs the verdicts of two results on the questions of a language that both have answered."""
    both = [key for key in rows if key[0] == language and key in other_rows]
    pictures = [rows[key].get("picture", key[1]) for key in both]  # earlier versions wrote no picture
    return [(rows[key][verdict], other_rows[key][verdict]) for key in both], pictures


def _model_and_answer(settings: Settings) -> str:
    """The model, and the way it answered: one model may be compared in two ways."""
    return settings["model"] + (f" ({settings['answer']})" if "answer" in settings else "")


def _p_values(pairs: Mapping[tuple[str, str], Pairs]) -> dict[tuple[str, str], tuple[float, float]]:
    """Returns, by model and language, the p-value, and the p-value corrected for the number of tests (Holm, 1979)."""
    p_values = {key: _p_value(*both) for key, both in pairs.items() if both[0]}
    corrected = multipletests(list(p_values.values()), method="holm")[1] if p_values else []
    tested = dict(zip(p_values, zip(p_values.values(), corrected, strict=True), strict=True))
    return dict.fromkeys(pairs, (1.0, 1.0)) | tested


def _p_value(pairs: Sequence[tuple[bool, bool]], pictures: Sequence[str]) -> float:
    """
    The p-value of the hypothesis that two models are equally often right. A permutation test swaps the two models'
    answers to all questions about a picture together. If no pictures are shared, this is McNemar's exact test.
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
    The 95% interval of a paired difference of two shares, by Bonett and Price (2012), as Fagerland, Lydersen and Laake
    (2014) recommend. It has a width even if no question differs.
    """
    effect = design_effect(differences, pictures)
    count, lost, won = len(differences) / effect, (differences < 0).sum() / effect, (differences > 0).sum() / effect
    p_lost, p_won = (lost + 1) / (count + 2), (won + 1) / (count + 2)
    half_width = Z * ((p_lost + p_won - (p_won - p_lost) ** 2) / (count + 2)) ** 0.5
    return max(-1.0, p_won - p_lost - half_width), min(1.0, p_won - p_lost + half_width)


def _read_results(file: Path) -> tuple[Settings, Rows]:
    file = file / "results.json" if file.is_dir() else file
    predictions = file.with_name("predictions.jsonl")
    for needed in (file, predictions):
        if not needed.is_file():
            raise ValueError(f"There is no {needed}: give the results.json of a folder that benchmark.py wrote.")
    rows = map(json.loads, predictions.read_text(encoding="utf-8").rstrip().split("\n"))
    counted = {(row["language"], row["index"]): row for row in filter(is_counted, rows)}
    return json.loads(file.read_text(encoding="utf-8"))["settings"], counted
