# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Analyses an ablation: accuracies over seeds, paired differences between arms, routing, and training loss.

Every interval and p-value is of a mean. Answers about one picture are correlated, and so are answers of one training
run. Therefore the mean is estimated by least squares (statsmodels' OLS) with errors clustered two ways, by seed and by
picture (Cameron, Gelbach and Miller 2011), and a t distribution with S - 1 degrees of freedom for S seeds.
Differences are paired: two arms answer the same question with the same seed. With a single seed, errors are clustered
by picture alone, and an interval does not cover other seeds.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import SubFigure
from scipy.stats import entropy
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from trainer.common.plots import largest_difference, show_router
from trainer.evaluation.benchmark_results import is_counted
from trainer.evaluation.benchmark_runs import write_text


class Run(NamedTuple):
    """An arm's run with a seed."""

    arm: str
    seed: int
    folder: Path
    benchmark: str  # the results are in folder / benchmark


def estimate(values: pd.Series) -> dict[str, float]:
    """
    Estimates a mean, its 95% interval, and the p-value of the hypothesis that the mean is 0.

    Args:
        values: a series whose index has the levels `seed` and `picture`.

    Returns:
        `mean`, `low` and `high` in the unit of the values, and `p`.
    """
    mean = float(values.mean())
    if values.nunique() == 1:  # without variance there is nothing to estimate
        return {"mean": mean, "low": mean, "high": mean, "p": float(mean == 0)}
    seeds, pictures = (values.index.get_level_values(level).factorize()[0] for level in ("seed", "picture"))
    ways = [pictures] if len(set(seeds)) == 1 else [seeds, pictures, np.column_stack([seeds, pictures])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a variance may be negative, see below
        fits = [
            OLS(values.to_numpy(float), np.ones(len(values))).fit(
                cov_type="cluster", cov_kwds={"groups": way}, use_t=True
            )
            for way in ways
        ]
        # The two-way variance is a difference of variances. In a small sample it may be smaller than a one-way
        # variance or negative, so the largest of them is taken. The degrees of freedom always follow the number of
        # seeds.
        errors = [0.0 if np.isnan(fit.bse[0]) else fit.bse[0] for fit in fits]
    fit = fits[-1]
    fit.cov_params_default = np.array([[max(errors) ** 2]])
    (low, high), p = fit.conf_int()[0], fit.pvalues[0]
    return {"mean": mean, "low": float(low), "high": float(high), "p": float(p)}


def read_run(run: Run) -> pd.DataFrame:
    """Reads a run's answers: arm, seed, language, index, picture, subject, hit and, if there is one, router."""
    lines = (run.folder / run.benchmark / "predictions.jsonl").read_text(encoding="utf-8").rstrip().split("\n")
    rows = pd.DataFrame(filter(is_counted, map(json.loads, lines))).rename(columns={"l2-category": "subject"})
    rows["subject"] = rows["subject"].fillna("")
    if "picture" not in rows:  # earlier versions wrote no picture
        rows["picture"] = rows["index"]
    columns = [name for name in ("language", "index", "picture", "subject", "hit", "router") if name in rows]
    return rows[columns].assign(arm=run.arm, seed=run.seed)


def _check_same_questions(runs: Sequence[Run]) -> None:
    first, *rest = (
        json.loads((run.folder / run.benchmark / "results.json").read_text(encoding="utf-8"))["settings"]["benchmark"]
        for run in runs
    )
    for run, other in zip(runs[1:], rest, strict=True):
        if other != first:
            raise ValueError(
                f"{run.folder / run.benchmark} and {runs[0].folder / run.benchmark} answer different questions: "
                "delete the folder with the old benchmark, and run again."
            )


def fit_of(run: Run) -> dict[str, float]:
    """Returns a run's final training loss, which is the mean over its last tenth, and its training time in seconds."""
    state = json.loads((run.folder / "model" / "trainer_state.json").read_text(encoding="utf-8"))
    losses = [log["loss"] for log in state["log_history"] if "loss" in log]
    seconds = json.loads((run.folder / "model" / "training.json").read_text(encoding="utf-8"))[-1]["seconds"]
    return {"loss": float(np.mean(losses[-max(1, len(losses) // 10) :])), "seconds": seconds}


def routing_of(run: Run, answers: pd.DataFrame) -> dict[str, Any] | None:
    """
    Describes a run's routing.

    Returns:
        - `weights`: the experts' mean weights by language;
        - `read_out`: the accuracy of a linear read-out of the language from the weights, and its `chance`;
        - `bits_of_language`: the mutual information of expert and language, in bits;
        - `bits_of_question`: the mutual information of expert and question within a language, in bits.

        Mutual information is at most log2 of the number of experts. It does not depend on their numbering, so it can
        be averaged over seeds. None if there is no router, or no accuracy of a read-out.
    """
    results = json.loads((run.folder / run.benchmark / "results.json").read_text(encoding="utf-8"))
    if not (router := results["router"]) or "accuracy" not in router:
        return None
    by_language = {name: np.array(rows["router"].tolist()) for name, rows in answers.groupby("language")}
    means = np.array([rows.mean(axis=0) for rows in by_language.values()])  # (languages, E)
    of_language = entropy(means.mean(axis=0), base=2) - entropy(means, base=2, axis=1).mean()
    of_question = np.mean(
        [entropy(rows.mean(axis=0), base=2) - entropy(rows, base=2, axis=1).mean() for rows in by_language.values()]
    )
    return {
        "weights": router["weights"],
        "read_out": router["accuracy"],
        "chance": router["chance"],
        "bits_of_language": float(of_language),
        "bits_of_question": float(of_question),
    }


def groups_of(languages: Sequence[str], main_language: str) -> dict[str, list[str]]:
    """Groups of languages in a report: each language alone, all languages but the main one, and all languages."""
    others = [language for language in languages if language != main_language]
    return {language: [language] for language in languages} | {"others": others, "all": list(languages)}


def _adjust(differences: dict[str, Any], groups: Sequence[str]) -> None:
    """
    Adds corrected p-values to the differences of some groups. Holm's method (1979) corrects them for the number of
    tests: one for each pair of arms and each group. The difference of two baselines is in two tables but is one test.
    """
    raw = {
        (frozenset((baseline, arm)), group): by_group[group]["p"]
        for baseline, compared in differences.items()
        for arm, by_group in compared.items()
        for group in groups
    }
    corrected = multipletests(list(raw.values()), method="holm")[1] if raw else []
    p_values = dict(zip(raw, map(float, corrected), strict=True))
    for baseline, compared in differences.items():
        for arm, by_group in compared.items():
            for group in groups:
                by_group[group]["p_adjusted"] = p_values[frozenset((baseline, arm)), group]


def analyze(runs: Sequence[Run], baselines: Sequence[str], main_language: str) -> dict[str, Any]:
    """
    Computes the content of BENCHMARK.json.

    Args:
        runs: runs of all arms with the same seeds, measured by the same benchmark.
        baselines: each arm is compared with these arms.
        main_language: the language with most data.

    Returns:
        - `accuracy` by subject (an l2-category, or `all`), arm and group of languages;
        - `differences` by subject, baseline, arm and group, with p-values that `_adjust` corrects;
        - `gap` by subject and arm: the main language's accuracy minus the others', in points, and the share of the
          first baseline's gap that is closed;
        - `fit` and `routing` by arm and seed.
    """
    _check_same_questions(runs)
    answers = {run: read_run(run) for run in runs}
    table = pd.concat(list(answers.values()))
    arms, seeds = list(dict.fromkeys(run.arm for run in runs)), sorted({run.seed for run in runs})
    groups = groups_of(list(table["language"].unique()), main_language)
    # one row for each answer, one column for each arm
    hits = table.assign(hit=table["hit"].astype(float)).pivot(
        index=["subject", "language", "seed", "picture", "index"], columns="arm", values="hit"
    )
    subjects = [subject for subject in table["subject"].unique() if subject]
    accuracy: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    gap: dict[str, Any] = {}
    for subject in [*subjects, "all"]:
        of_subject = hits if subject == "all" else hits.loc[[subject]]

        def in_group(group: str, of_subject: pd.DataFrame = of_subject) -> pd.DataFrame:
            return of_subject[of_subject.index.get_level_values("language").isin(groups[group])]

        accuracy[subject] = {arm: {group: estimate(in_group(group)[arm]) for group in groups} for arm in arms}
        differences[subject] = {
            baseline: {
                arm: {group: estimate(in_group(group)[arm] - in_group(group)[baseline]) for group in groups}
                for arm in arms
                if arm != baseline
            }
            for baseline in baselines
        }
        for family in (groups["all"], ["others"], ["all"]):
            _adjust(differences[subject], family)
        gaps = {
            arm: by_group[main_language]["mean"] - by_group["others"]["mean"]
            for arm, by_group in accuracy[subject].items()
        }
        first_gap = gaps[baselines[0]] if baselines else 0.0
        gap[subject] = {
            arm: {"points": 100 * of_arm, **({"closed": 1 - of_arm / first_gap} if first_gap > 0 else {})}
            for arm, of_arm in gaps.items()
        }
    return {
        "seeds": seeds,
        "questions": {name: len(rows) for name, rows in table[table["seed"] == seeds[0]].groupby("arm")},
        "accuracy": accuracy,
        "differences": differences,
        "gap": gap,
        "fit": {arm: {run.seed: fit_of(run) for run in runs if run.arm == arm} for arm in arms},
        "routing": {arm: {run.seed: routing_of(run, answers[run]) for run in runs if run.arm == arm} for arm in arms},
    }


def _interval(estimated: dict[str, float], sign: str = "") -> str:
    mean, low, high = (f"{100 * estimated[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)] + [""]


def report_ablation(results: dict[str, Any], subject: str) -> str:
    """Writes Markdown tables of one subject, in percent, and below them the accuracies of the other subjects."""
    seeds, accuracy = results["seeds"], results["accuracy"]
    groups = list(next(iter(accuracy[subject].values())))
    clusters = "seed and picture" if len(seeds) > 1 else "picture"
    lines = [
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}). Accuracy in percent with its 95% "
        f"interval; errors are clustered by {clusters} (statsmodels' OLS). `others` are all languages but the main "
        "one. The gap is the main language's accuracy minus that of the others, in points; closed is the share of the "
        "first baseline's gap that an arm closes.",
        "",
    ]
    lines += _table(
        [subject, *groups, "gap", "closed"],
        [
            [
                arm,
                *(_interval(by_group[group]) for group in groups),
                f"{results['gap'][subject][arm]['points']:.1f}",
                f"{100 * results['gap'][subject][arm]['closed']:.0f}%"
                if "closed" in results["gap"][subject][arm]
                else "–",
            ]
            for arm, by_group in accuracy[subject].items()
        ],
    )
    for baseline, compared in results["differences"][subject].items():
        lines += [
            f"Difference from `{baseline}` in points with its 95% interval, paired by question and seed. p is for the "
            "group `others`; adjusted is p with Holm's correction for all pairs of arms.",
            "",
        ]
        rows = [
            [
                arm,
                *(_interval(by_group[group], "+") for group in groups),
                f"{by_group['others']['p']:.2g}",
                f"{by_group['others']['p_adjusted']:.2g}",
            ]
            for arm, by_group in compared.items()
        ]
        lines += _table([subject, *groups, "p", "adjusted"], rows)
    lines += [
        "Means over seeds. The loss is in nats a token. The read-out is the accuracy, in percent, of a linear "
        "classifier that reads the language from the router's weights. Bits are mutual information: of expert and "
        "language, and of expert and question within a language.",
        "",
    ]
    rows = []
    for arm, fits in results["fit"].items():
        routings = [routing for routing in results["routing"][arm].values() if routing]
        bits = [
            f"{np.mean([routing[name] for routing in routings]):.3f}" if routings else "–"
            for name in ("bits_of_language", "bits_of_question")
        ]
        rows.append(
            [
                arm,
                f"{np.mean([fit['loss'] for fit in fits.values()]):.3f}",
                f"{100 * accuracy[subject][arm]['all']['mean']:.1f}",
                f"{100 * np.mean([routing['read_out'] for routing in routings]):.1f}" if routings else "–",
                *bits,
                f"{np.mean([fit['seconds'] for fit in fits.values()]):.0f}",
            ]
        )
    lines += _table(
        [
            "",
            "training loss",
            f"{subject}, all",
            "read-out",
            "bits, language",
            "bits, question",
            "seconds of training",
        ],
        rows,
    )
    others = [name for name in accuracy if name != subject]
    lines += _table(
        ["all languages", *others],
        [[arm, *(_interval(accuracy[name][arm]["all"]) for name in others)] for arm in accuracy[subject]],
    )
    return "\n".join(lines).rstrip() + "\n"


def draw_ablation(results: dict[str, Any], subject: str, file: Path) -> None:
    """
    Draws accuracy by language, the differences from the first baseline, and accuracy by training loss. For arms with
    several experts, it draws the router's weights by language with the first seed.
    """
    accuracy, routing = results["accuracy"][subject], results["routing"]
    arms, first = list(accuracy), results["seeds"][0]
    groups = list(accuracy[arms[0]])
    weights_of = {arm: routing[arm][first]["weights"] for arm in arms if routing[arm][first]}
    # An arm with a single expert has nothing to route.
    weights_of = {arm: weights for arm, weights in weights_of.items() if min(map(len, weights.values())) > 1}
    columns = max(3, len(weights_of))
    figure = pyplot.figure(figsize=(max(15, 2.4 * columns), 9), layout="constrained")
    upper, lower = cast(list[SubFigure], figure.subfigures(2, 1, height_ratios=(1.4, 1)))
    left, middle, right = upper.subplots(1, 3, width_ratios=(2, 2, 1))
    colors = {arm: f"C{number}" for number, arm in enumerate(arms)}

    def draw_means(axes: Any, by_arm: dict[str, dict[str, dict[str, float]]]) -> None:
        for number, (arm, by_group) in enumerate(by_arm.items()):
            means, low, high = (
                100 * np.array([[by_group[name][key] for key in ("mean", "low", "high")] for name in groups]).T
            )
            places = np.arange(len(groups)) + (number - (len(by_arm) - 1) / 2) * 0.8 / len(by_arm)
            axes.errorbar(
                places, means, [means - low, high - means], fmt="o", color=colors[arm], markersize=4, label=arm
            )
        axes.set_xticks(range(len(groups)), groups)
        axes.grid(axis="y", alpha=0.3)

    draw_means(left, accuracy)
    left.set(title=f"{subject}: accuracy in percent, seeds {', '.join(map(str, results['seeds']))}, 95% intervals")
    left.legend(fontsize="small")
    for baseline, compared in list(results["differences"][subject].items())[:1]:
        draw_means(middle, compared)
        middle.axhline(0, color="black", linewidth=1)
        middle.set(title=f"difference from “{baseline}” in points, 95% intervals")
    for arm in arms:
        fits = results["fit"][arm].values()
        mean = 100 * accuracy[arm]["all"]["mean"]
        right.plot(np.mean([fit["loss"] for fit in fits]), mean, "o", color=colors[arm], label=arm)
    right.set(title="accuracy by training loss", xlabel="nats a token", ylabel="percent, all languages")
    limit = max(map(largest_difference, weights_of.values()), default=0)
    for axes, (arm, weights) in zip(lower.subplots(1, columns, squeeze=False)[0], weights_of.items(), strict=False):
        show_router(axes, weights, limit)
        axes.set_title(
            f"{arm}, seed {first}: router's weights, coloured by\ndifference from the mean", fontsize="medium"
        )
    for axes in lower.axes[len(weights_of) :]:
        axes.axis("off")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def write_report(
    runs: Sequence[Run], baselines: Sequence[str], main_language: str, subject: str | None, output: Path
) -> None:
    """
    Writes OUTPUT.json, OUTPUT.md and OUTPUT.png, see `analyze`.

    Args:
        subject: the l2-category of the tables and of the plot; all questions if None.

    Raises:
        `ValueError`: if the benchmark has no such subject, or if the runs answered different questions.
    """
    results = analyze(runs, baselines, main_language)
    subject = subject or "all"
    if subject not in results["accuracy"]:
        raise ValueError(f"subject={subject!r} is not in the benchmark: give one of {', '.join(results['accuracy'])}.")
    write_text(output.with_suffix(".json"), json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(output.with_suffix(".md"), report_ablation(results, subject))
    draw_ablation(results, subject, output.with_suffix(".png"))
    print(f"Seeds {results['seeds']}: {output}.json, .md, .png", flush=True)
