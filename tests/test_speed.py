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
"""The table of speed and memory."""

import json
from pathlib import Path

import pytest

from trainer.speed import PARTS, SpeedArguments
from trainer.timing.speed_parts import measure_speed


@pytest.mark.slow
def test_every_part_is_measured_beside_a_peer_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = measure_speed(SpeedArguments(size="tiny", rounds=1, output=str(tmp_path / "speed.json")))
    measured = {row.what.split(",")[0] for row in rows}
    assert measured >= {"data", "experts", "first token", "further tokens", "benchmark", "training"}
    assert {row.peer_name for row in rows} >= {"LLaVA", "SFTTrainer, LLaVA", "LlavaProcessor", "reference"}
    assert all(row.ratio > 0 and row.ours > 0 and row.peer > 0 for row in rows)
    assert [row["what"] for row in json.loads((tmp_path / "speed.json").read_text())["rows"]] == [
        row.what for row in rows
    ]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)


def test_unknown_parts_are_named() -> None:
    with pytest.raises(ValueError, match=r"parts=\['datas'\] are unknown: give some of \['data', "):
        SpeedArguments(parts=["datas"])
    with pytest.raises(ValueError, match="give both or neither"):
        SpeedArguments(parts=list(PARTS), model="models/demo-parrot")
