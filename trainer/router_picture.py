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
"""The picture of the router that training and the benchmark draw; without imports that training would wait for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot


def draw_router(weights: Mapping[str, Sequence[float]], title: str, file: Path) -> None:
    """Draws the router's mean probabilities, languages x experts."""
    table = list(weights.values())
    experts = len(table[0])
    figure, axes = pyplot.subplots(figsize=(1 + experts, 1 + 0.6 * len(table)), layout="constrained")
    axes.imshow(table, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(experts), [f"expert {expert}" for expert in range(experts)])
    axes.set_yticks(range(len(table)), weights)
    for row, found in enumerate(table):
        for column, weight in enumerate(found):
            color = "white" if weight > 0.6 * max(map(max, table)) else "black"
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color=color)
    axes.set_title(title)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
