# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
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
    assert not [str(row) for row in rows if not min(row.ratio, row.ours, row.peer) > 0]
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
    with pytest.raises(ValueError, match=r"--output: none/speed\.json is no file in an existing folder"):
        SpeedArguments(output="none/speed.json")
