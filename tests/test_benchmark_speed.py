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
"""How fast the benchmark answers."""

from pathlib import Path

import pytest

from tests.conftest import encode, write_tsv
from trainer.benchmark_speed import SpeedArguments, measure


@pytest.mark.slow
def test_batches_with_shared_pictures_answer_much_faster_and_alike(world: Path, tmp_path: Path) -> None:
    """
    A batch shares what a question costs beside its arithmetic, of which a tiny model has little: 11 and 18 times the
    reference on one thread, and more where other programs compete for the cores, which slow the reference most.
    """
    for language in ("en", "tr"):
        rows = [
            {
                "index": index,
                "image": encode(color),
                "question": f"? {index} {language}",
                "A": "x",
                "B": "y",
                "answer": "A",
            }
            for index, color in enumerate(("red", "green", "blue", "white") * 8)
        ]
        write_tsv(tmp_path / f"b_{language}.tsv", rows)
    found = measure(
        SpeedArguments(
            model=str(world / "model"),
            benchmark=str(tmp_path / "b_{language}.tsv"),
            languages=["en", "tr"],
            per_category=32,
            max_new_tokens=8,
        )
    )
    assert found["same"] == 1
    assert found["generate"] > 4
    assert found["score"] > 10
