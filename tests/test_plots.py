# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The plots show every number that they should, and no other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image as PILImage

from trainer.common.plots import draw_accuracies, draw_losses, draw_router, save


def measured(accuracy: float, count: int = 40, questions: int = 40) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "low": accuracy - 0.1,
        "high": accuracy + 0.1,
        "count": count,
        "questions": questions,
    }


def results(languages: int, count: int = 40) -> dict[str, Any]:
    """Results in some languages. In the first, no question about colours has an answer."""
    return {
        f"l{number}": {
            "all": measured(0.5, count),
            "category": {"animals": measured(0.7), "color": measured(0.3) if number else None},
        }
        for number in range(languages)
    }


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.mark.parametrize("languages", [1, 6, 40])
def test_every_language_and_category_is_named_and_no_number_lies_on_another(languages: int) -> None:
    figure = draw_accuracies({"model": results(languages), "chance": results(languages)})
    figure.canvas.draw()
    bars, heat = figure.axes
    assert [text.get_text() for text in heat.get_yticklabels()] == ["animals", "color"]
    assert len(heat.get_xticklabels()) == languages
    boxes = [text.get_window_extent() for text in (*heat.texts, *heat.get_xticklabels())]
    assert not any(box.overlaps(other) for place, box in enumerate(boxes) for other in boxes[:place])
    assert "%" in bars.get_ylabel() and "%" in heat.get_title() and heat.get_xlabel()
    assert len(heat.texts) == 2 * languages - 1  # the first language has no answers about colors


def test_intervals_are_drawn_for_the_model_alone_and_not_for_a_few_answers() -> None:
    def intervals(count: int) -> list[Any]:
        figure = draw_accuracies({"model": results(1, count), "chance": results(1)})
        return [one for one in figure.axes[0].collections if len(one.get_segments()) and one.get_label()[0] == "_"]

    assert len(intervals(40)) == 1
    assert not intervals(2)


def test_a_baseline_that_left_questions_open_is_not_drawn() -> None:
    part = {"l0": {"all": measured(0.9, 20), "category": {}}}
    bars = draw_accuracies({"model": results(1), "neighbors": part}).axes[0]
    assert [text.get_text() for text in bars.get_legend().get_texts()] == ["model"]


def test_the_router_shows_each_weight_and_its_difference_from_the_mean() -> None:
    axes, bar = draw_router({"en": [0.1, 0.9], "tr": [0.5, 0.5]}, "title").axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["mean", "en", "tr"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0, 0], [-20, 20], [20, -20]], atol=1e-9)
    assert [text.get_text() for text in axes.texts] == ["30.0", "70.0", "10.0", "90.0", "50.0", "50.0"]
    assert "percentage points" in bar.get_ylabel() and "percent" in axes.get_xlabel()


@pytest.mark.parametrize("languages", [1, 6, 40])
def test_weights_whose_colours_differ_have_different_numbers_and_all_words_are_in_the_picture(languages: int) -> None:
    weights = {f"l{number}": [0.15 + 0.004 * (number % 3), 0.85 - 0.004 * (number % 3)] for number in range(languages)}
    figure = draw_router(
        weights, "A linear read-out of the weights identifies the language of 86% of questions (chance 17%)"
    )
    figure.canvas.draw()
    axes, bar = figure.axes
    colors = axes.images[0].get_array()[1:, 0].round(3).tolist()
    numbers = [text.get_text() for text in axes.texts[2::2]]
    assert len(set(numbers)) == len(set(colors)) == min(3, languages)
    for text in (bar.yaxis.label, axes.xaxis.label, *figure.texts):
        box, frame = text.get_window_extent(), figure.bbox
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_an_even_router_looks_even() -> None:
    axes = draw_router({"en": [0.501, 0.499], "tr": [0.499, 0.501]}, "title").axes[0]
    assert axes.images[0].get_clim() == (-5, 5)


def test_the_loss_plot_has_a_line_for_each_language_and_one_for_all_if_there_are_several() -> None:
    steps = [(1, 3.0), (2, 1.5)]
    assert len(draw_losses(steps, {"sw": steps}).axes[0].lines) == 1
    assert len(draw_losses(steps, {}).axes[0].lines) == 1
    figure = draw_losses(steps, {f"l{number}": steps for number in range(40)})
    assert len(figure.axes[0].lines) == 41
    figure.canvas.draw()
    legend, frame = figure.legends[0].get_window_extent(), figure.bbox
    assert frame.y0 <= legend.y0 and legend.y1 <= frame.y1


def test_a_picture_is_written(tmp_path: Path) -> None:
    save(draw_router({"en": [1.0]}, "title"), tmp_path / "router.png")
    with PILImage.open(tmp_path / "router.png") as drawn:
        assert min(drawn.size) > 100
