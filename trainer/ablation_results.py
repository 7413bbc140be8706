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
What an ablation's arms are worth: accuracies over seeds, paired differences, what routes, and how well training fits.

Every interval and p-value is that of a mean, estimated by least squares (statsmodels' OLS) with errors clustered two
ways, by seed and by picture (Cameron, Gelbach and Miller 2011), and a t distribution of as many degrees of freedom as
there are seeds less one: answers about one picture are alike in all seeds and languages, and those of one training run
are alike, too. Differences are taken answer by answer, between the same question and seed of two arms. With one
seed the clusters are the pictures alone, and an interval says nothing of other seeds.
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

from trainer.benchmark_results import is_counted
from trainer.benchmark_runs import write_text
from trainer.plots import largest_difference, show_router


class Run(NamedTuple):
    """An arm's run with a seed: its folder, and in it that of the benchmark's results."""

    arm: str
    seed: int
    folder: Path
    benchmark: str


def estimate(values: pd.Series) -> dict[str, float]:
    """
    A mean with its 95% interval and the p-value of its being 0.

    Args:
        values: by `seed` and `picture`, levels of its index.
    """
    mean = float(values.mean())
    if values.nunique() == 1:  # nothing varies
        return {"mean": mean, "low": mean, "high": mean, "p": float(mean == 0)}
    seeds, pictures = (values.index.get_level_values(level).factorize()[0] for level in ("seed", "picture"))
    ways = [pictures] if len(set(seeds)) == 1 else [seeds, pictures, np.column_stack([seeds, pictures])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a root that is not real, see below
        fits = [
            OLS(values.to_numpy(float), np.ones(len(values))).fit(
                cov_type="cluster", cov_kwds={"groups": way}, use_t=True
            )
            for way in ways
        ]
    # Both ways' variance is a difference and in a small sample may come out below one way's: the largest is taken.
    # Degrees of freedom are those of the seeds, the fewest clusters, in any case.
    errors = [0.0 if np.isnan(fit.bse[0]) else fit.bse[0] for fit in fits]
    fit = fits[-1]
    fit.cov_params_default = np.array([[max(errors) ** 2]])
    (low, high), p = fit.conf_int()[0], fit.pvalues[0]
    return {"mean": mean, "low": float(low), "high": float(high), "p": float(p)}


def read_run(run: Run) -> pd.DataFrame:
    """A run's answers: arm, seed, language, index, picture, subject, hit and, with a router, its probabilities."""
    lines = (run.folder / run.benchmark / "predictions.jsonl").read_text(encoding="utf-8").rstrip().split("\n")
    rows = pd.DataFrame(filter(is_counted, map(json.loads, lines))).rename(columns={"l2-category": "subject"})
    rows["subject"] = rows["subject"].fillna("")
    if "picture" not in rows:  # of a version that wrote none
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
                f"{run.folder / run.benchmark} and {runs[0].folder / run.benchmark} answer other questions: delete "
                "that of an old benchmark, and run again."
            )


def fit_of(run: Run) -> dict[str, float]:
    """The loss at the end of a run's training, the mean of its last tenth, and the seconds that it took."""
    state = json.loads((run.folder / "model" / "trainer_state.json").read_text(encoding="utf-8"))
    losses = [log["loss"] for log in state["log_history"] if "loss" in log]
    seconds = json.loads((run.folder / "model" / "training.json").read_text(encoding="utf-8"))[-1]["seconds"]
    return {"loss": float(np.mean(losses[-max(1, len(losses) // 10) :])), "seconds": seconds}


def routing_of(run: Run, answers: pd.DataFrame) -> dict[str, Any] | None:
    """
    What routes in a run: the mean `weights` by language, how well a linear `read_out` tells the languages (with its
    `chance`), and how much the choice of an expert tells, in bits, of the language and, within a language, of the
    question. (Mutual information; at most log2 of the number of experts. It does not depend on how experts are
    numbered, so it can be averaged over seeds.)
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
    """The groups that are reported: each language, all others than the main one, and all."""
    others = [language for language in languages if language != main_language]
    return {language: [language] for language in languages} | {"others": others, "all": list(languages)}


def _adjust(differences: dict[str, Any], groups: Sequence[str]) -> None:
    """
    Adds to the differences of some groups, by baseline and arm, the p-values that Holm's method (1979) corrects for
    the number of all pairs of arms in all these groups. Two baselines are one pair, though each stands in both tables.
    """
    found = {
        (frozenset((baseline, arm)), group): by_group[group]["p"]
        for baseline, compared in differences.items()
        for arm, by_group in compared.items()
        for group in groups
    }
    corrected = multipletests(list(found.values()), method="holm")[1] if found else []
    p_values = dict(zip(found, map(float, corrected), strict=True))
    for baseline, compared in differences.items():
        for arm, by_group in compared.items():
            for group in groups:
                by_group[group]["p_adjusted"] = p_values[frozenset((baseline, arm)), group]


def analyze(runs: Sequence[Run], baselines: Sequence[str], main_language: str) -> dict[str, Any]:
    """
    All that results.json holds.

    Args:
        runs: the same seeds of each arm, measured by the same benchmark.
        baselines: arms that the others are compared with.
        main_language: the language that has most data.

    Returns:
        `accuracy` by subject (an l2-category, or `all`), arm and group of languages, `differences` by subject,
        baseline, arm and group, with p-values that `_adjust` corrects for their number, `gap`, by subject and arm how
        far others are behind the main language and which share of the first baseline's gap is closed, `fit` and
        `routing` by arm and seed.
    """
    _check_same_questions(runs)
    answers = {run: read_run(run) for run in runs}
    table = pd.concat(list(answers.values()))
    arms, seeds = list(dict.fromkeys(run.arm for run in runs)), sorted({run.seed for run in runs})
    groups = groups_of(list(table["language"].unique()), main_language)
    # an answer a row, an arm a column
    hits = table.assign(hit=table["hit"].astype(float)).pivot(
        index=["subject", "language", "seed", "picture", "index"], columns="arm", values="hit"
    )
    subjects = [subject for subject in table["subject"].unique() if subject]
    accuracy: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    gap: dict[str, Any] = {}
    for subject in [*subjects, "all"]:
        of_subject = hits if subject == "all" else hits.loc[[subject]]

        def of(group: str, of_subject: pd.DataFrame = of_subject) -> pd.DataFrame:
            return of_subject[of_subject.index.get_level_values("language").isin(groups[group])]

        accuracy[subject] = {arm: {group: estimate(of(group)[arm]) for group in groups} for arm in arms}
        differences[subject] = {
            baseline: {
                arm: {group: estimate(of(group)[arm] - of(group)[baseline]) for group in groups}
                for arm in arms
                if arm != baseline
            }
            for baseline in baselines
        }
        for family in (groups["all"], ["others"], ["all"]):
            _adjust(differences[subject], family)
        behind = {
            arm: found[main_language]["mean"] - found["others"]["mean"] for arm, found in accuracy[subject].items()
        }
        whole = behind[baselines[0]] if baselines else 0.0
        gap[subject] = {
            arm: {"points": 100 * points, **({"closed": 1 - points / whole} if whole > 0 else {})}
            for arm, points in behind.items()
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


def _interval(found: dict[str, float], sign: str = "") -> str:
    return f"{100 * found['mean']:{sign}.1f} ({100 * found['low']:{sign}.1f} to {100 * found['high']:{sign}.1f})"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)] + [""]


def report_ablation(found: dict[str, Any], subject: str) -> str:
    """The tables in Markdown, in percent, of one subject; the other subjects' accuracies stand below."""
    seeds, accuracy = found["seeds"], found["accuracy"]
    groups = list(next(iter(accuracy[subject].values())))
    clusters = "seed and picture" if len(seeds) > 1 else "picture"
    lines = [
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}). Accuracy in percent with its 95% "
        f"interval: errors clustered by {clusters} (statsmodels' OLS).",
        "",
    ]
    lines += _lines(
        [subject, *groups, "gap", "closed"],
        [
            [
                arm,
                *(_interval(by_group[group]) for group in groups),
                f"{found['gap'][subject][arm]['points']:.1f}",
                f"{100 * found['gap'][subject][arm]['closed']:.0f}%"
                if "closed" in found["gap"][subject][arm]
                else "–",
            ]
            for arm, by_group in accuracy[subject].items()
        ],
    )
    for baseline, compared in found["differences"][subject].items():
        lines.append(f"Difference to `{baseline}`, paired by question and seed; p for others, and Holm's of all arms:")
        lines.append("")
        rows = [
            [
                arm,
                *(_interval(by_group[group], "+") for group in groups),
                f"{by_group['others']['p']:.2g}",
                f"{by_group['others']['p_adjusted']:.2g}",
            ]
            for arm, by_group in compared.items()
        ]
        lines += _lines([subject, *groups, "p", "adjusted"], rows)
    lines += [
        "Means over seeds. What the router tells, in bits: of the language, and within a language of the question:",
        "",
    ]
    rows = []
    for arm, fits in found["fit"].items():
        routed = [one for one in found["routing"][arm].values() if one]
        told = [
            f"{np.mean([one[name] for one in routed]):.3f}" if routed else "–"
            for name in ("bits_of_language", "bits_of_question")
        ]
        rows.append(
            [
                arm,
                f"{np.mean([one['loss'] for one in fits.values()]):.3f}",
                f"{100 * accuracy[subject][arm]['all']['mean']:.1f}",
                f"{100 * np.mean([one['read_out'] for one in routed]):.1f}" if routed else "–",
                *told,
                f"{np.mean([one['seconds'] for one in fits.values()]):.0f}",
            ]
        )
    lines += _lines(
        [
            "",
            "training loss",
            f"{subject}, all",
            "read-out of language",
            "bits, language",
            "bits, question",
            "seconds",
        ],
        rows,
    )
    others = [name for name in accuracy if name != subject]
    lines += _lines(
        ["all languages", *others],
        [[arm, *(_interval(accuracy[name][arm]["all"]) for name in others)] for arm in accuracy[subject]],
    )
    return "\n".join(lines).rstrip() + "\n"


def draw_ablation(found: dict[str, Any], subject: str, file: Path) -> None:
    """
    Draws accuracy by language, the differences to the first baseline, training loss beside accuracy, and for the first
    seed the router's weights by language, where there are experts to choose from.
    """
    accuracy, routing = found["accuracy"][subject], found["routing"]
    arms, first = list(accuracy), found["seeds"][0]
    groups = list(accuracy[arms[0]])
    weights_of = {arm: routing[arm][first]["weights"] for arm in arms if routing[arm][first]}
    # An arm with a single expert has nothing to route.
    weights_of = {arm: weights for arm, weights in weights_of.items() if min(map(len, weights.values())) > 1}
    columns = max(3, len(weights_of))
    figure = pyplot.figure(figsize=(max(15, 2.4 * columns), 9), layout="constrained")
    upper, lower = cast(list[SubFigure], figure.subfigures(2, 1, height_ratios=(1.4, 1)))
    left, middle, right = upper.subplots(1, 3, width_ratios=(2, 2, 1))
    colors = {arm: f"C{number}" for number, arm in enumerate(arms)}

    def bars(axes: Any, by_arm: dict[str, dict[str, dict[str, float]]]) -> None:
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

    bars(left, accuracy)
    left.set(title=f"{subject}: accuracy in percent, seeds {', '.join(map(str, found['seeds']))}, 95% intervals")
    left.legend(fontsize="small")
    for baseline, compared in list(found["differences"][subject].items())[:1]:
        bars(middle, compared)
        middle.axhline(0, color="black", linewidth=1)
        middle.set(title=f"points more than {baseline}")
    for arm in arms:
        fits = found["fit"][arm].values()
        mean = 100 * accuracy[arm]["all"]["mean"]
        right.plot(np.mean([one["loss"] for one in fits]), mean, "o", color=colors[arm], label=arm)
    right.set(title="training loss beside accuracy", xlabel="nats a token", ylabel="percent, all languages")
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
    """Writes OUTPUT.json, OUTPUT.md and OUTPUT.png; see `analyze`. The subject is an l2-category; all if None."""
    found = analyze(runs, baselines, main_language)
    subject = subject or "all"
    if subject not in found["accuracy"]:
        raise ValueError(f"subject={subject!r} is none of the benchmark's, {', '.join(found['accuracy'])}.")
    write_text(output.with_suffix(".json"), json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    write_text(output.with_suffix(".md"), report_ablation(found, subject))
    draw_ablation(found, subject, output.with_suffix(".png"))
    print(f"Seeds {found['seeds']}: {output}.json, .md, .png", flush=True)
