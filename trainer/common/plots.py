# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of training and of the benchmark. Training imports it, so it needs only numpy and matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from trainer.evaluation.result_types import Measured, Results


SMALLEST_DIFFERENCE = 0.05  # Smallest range of the router's colours, as a weight: an even router looks even.
FEWEST_ANSWERS = 10  # Fewest answers for which an interval is drawn: with fewer, it is too wide to say anything.


def draw_router(weights: Mapping[str, Sequence[float]], title: str) -> Figure:
    """
    Draws a table of each expert's weight for each language. A number is the weight in percent; its colour is the
    difference from the expert's mean over the languages, so that a router that does not route has no colours.

    Args:
        weights: probabilities of the experts by language.
        title: title of the picture.
    """
    experts = len(next(iter(weights.values())))
    figure, axes = pyplot.subplots(
        figsize=(max(8, 2.5 + experts), max(3.8, 2 + 0.32 * (1 + len(weights)))), layout="constrained"
    )
    image = show_router(axes, weights, largest_difference(weights))
    axes.set(ylabel="language")
    figure.colorbar(image, label="difference from the mean (percentage points)")
    figure.suptitle(title)
    return figure


def largest_difference(weights: Mapping[str, Sequence[float]]) -> float:
    """
    The range of the router's colours, in percentage points: the largest difference of an expert's weight from its mean
    over languages, or SMALLEST_DIFFERENCE if that is larger.
    """
    table = np.array(list(weights.values()))  # (languages, experts)
    return 100 * float(max(SMALLEST_DIFFERENCE, np.abs(table - table.mean(axis=0)).max()))


def show_router(axes: Axes, weights: Mapping[str, Sequence[float]], limit: float) -> AxesImage:
    """
    Draws the table of `draw_router` into axes.

    Args:
        axes: the axes to draw into.
        weights: probabilities of the experts by language.
        limit: the difference, in percentage points, that has the strongest colour.
    """
    table = np.array(list(weights.values()))  # (languages, experts)
    mean = table.mean(axis=0)
    rows = {"mean": mean, **dict(zip(weights, table, strict=True))}
    differences = 100 * (np.array(list(rows.values())) - mean)
    image = axes.imshow(differences, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(table.shape[1]), [str(expert) for expert in range(table.shape[1])])
    axes.set_yticks(range(len(rows)), list(rows))
    axes.axhline(0.5, color="black", linewidth=1)
    axes.set(xlabel="expert (weights in percent)")
    for row, values in enumerate(rows.values()):
        for column, weight in enumerate(values):
            color = "white" if abs(differences[row, column]) > 0.6 * limit else "black"
            axes.text(column, row, f"{100 * weight:.1f}", ha="center", va="center", color=color)
    return image


def draw_losses(
    steps: Sequence[tuple[float, float]], by_language: Mapping[str, Sequence[tuple[float, float]]]
) -> Figure:
    """
    Draws the training loss.

    Args:
        steps: each logged step with the loss of all answers, in nats per token.
        by_language: by language, each logged step with the loss of the language's answers.
    """
    columns = -(-len(by_language) // 14)
    figure, axes = pyplot.subplots(figsize=(7.5 + 0.8 * columns, 4.5), layout="constrained")
    colors = pyplot.get_cmap("turbo")(np.linspace(0.05, 0.95, len(by_language)))
    for color, (language, points) in zip(colors, by_language.items(), strict=True):
        axes.plot(*zip(*points, strict=True), label=language, linewidth=1, color=color)
    if len(by_language) != 1:  # with one language, both curves are the same
        axes.plot(*zip(*steps, strict=True), "k", label="all", linewidth=2)
    axes.set(xlabel="step", ylabel="loss (nats per token)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(which="both", linewidth=0.3)
    if by_language:
        figure.legend(title="language", loc="outside right upper", ncols=columns)
    axes.set_title("Training loss of the answers" + ", by language" * bool(by_language))
    return figure


def draw_accuracies(results: Mapping[str, Results]) -> Figure:
    """
    Draws accuracies. The upper plot shows the accuracy over all categories, of the model with 95% intervals and of the
    baselines. The lower plot shows the accuracy of the model in each category.

    Args:
        results: the output of `trainer.evaluation.benchmark_results.summarize` by answerer, the model first.
    """
    model = next(iter(results.values()))
    languages = list(model)
    categories = list(dict.fromkeys(name for measured in model.values() for name in measured["category"]))
    figure, (bars, heat) = pyplot.subplots(
        2,
        1,
        figsize=(max(7, 3 + 0.5 * len(languages)), max(6, 4 + 0.3 * len(categories))),
        height_ratios=(3, max(2, 0.3 * len(categories))),
        sharex=True,
        layout="constrained",
    )
    for index, (name, result) in enumerate(results.items()):
        # A baseline can be compared only where it answered all questions.
        shares = {
            place: share
            for place, language in enumerate(languages)
            if (share := result[language]["all"]) and (result is model or share["count"] == share["questions"])
        }
        places, heights = list(shares), [_percent_of(share) for share in shares.values()]
        if not places:
            continue
        if result is not model:
            bars.hlines(heights, *np.add.outer([-0.42, 0.42], places), label=name, color=f"C{index}", linewidth=2)
            continue
        bars.bar(places, heights, 0.7, label=name, color="#bcd4e6")
        for place, share in shares.items():
            if share["count"] >= FEWEST_ANSWERS:
                bars.vlines(place, 100 * share["low"], 100 * share["high"], color="black", linewidth=1)
    scope = f"all {len(categories)} categories together" if len(categories) > 1 else "all questions"
    bars.set(ylim=(0, 100), ylabel="accuracy (%)", title=f"Accuracy, {scope}")
    bars.grid(axis="y", linewidth=0.3)
    bars.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    table = [[_percent_of(model[language]["category"].get(name)) for language in languages] for name in categories]
    heat.imshow(table, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    heat.set_xticks(range(len(languages)), languages)
    heat.set_yticks(range(len(categories)), categories)
    heat.set(xlabel="language of the question", title="Accuracy of the model in each category (%)")
    for row, percents in enumerate(table):
        for column, percent in enumerate(percents):
            if not np.isnan(percent):
                color = "black" if percent > 60 else "white"
                heat.text(column, row, f"{percent:.0f}", ha="center", va="center", color=color, fontsize=9)
    return figure


def _percent_of(measured: Measured | None) -> float:
    return 100 * measured["accuracy"] if measured else np.nan


def save(figure: Figure, file: Path) -> None:
    """Writes a figure to a file and closes it."""
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
