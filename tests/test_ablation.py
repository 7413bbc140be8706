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
"""Ablations: arms from one start on the same rows, going on, and what differences are worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import ttest_rel
from transformers import AutoModel, AutoModelForCausalLM

from modeling_parrot import ParrotForConditionalGeneration
from tests.test_compose import LANGUAGE_MODELS, TOWERS
from tests.tiny import tiny_processor
from trainer.ablation import AblationArguments, main, read_recipe
from trainer.ablation_results import Run, analyze, estimate, report, write_report


def write_recipe(folder: Path, world: Path, benchmark: str, **changes: Any) -> str:
    """A recipe of two steps with tiny parts, which are written beside it."""
    processor = tiny_processor()
    torch.manual_seed(0)
    AutoModel.from_config(TOWERS["clip"].vision_config).save_pretrained(folder / "vision_tower")
    processor.image_processor.save_pretrained(folder / "vision_tower")
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS["qwen2"]).save_pretrained(folder / "language_model")
    processor.tokenizer.save_pretrained(folder / "language_model")
    stage = {
        "dataset_name": str(world / "data"),
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "gradient_checkpointing": False,
    }
    (folder / "stage.yaml").write_text(yaml.safe_dump(stage | {"seed": 7, "output_dir": "elsewhere"}))
    recipe = {
        "output": str(folder / "ablation"),
        "seeds": [0],
        "main_language": "en",
        "baselines": ["paper"],
        "subject": "recognition",
        "compose": {part: str(folder / part) for part in ("vision_tower", "language_model")},
        "align": {"config": str(folder / "stage.yaml")},
        "instruct": {"config": str(folder / "stage.yaml")},
        "benchmarks": {
            "bench": {"benchmark": [benchmark], "languages": ["en", "tr"], "answer": "score", "score_by": "text"}
        },
        "arms": {"paper": {}, "mlp": {"compose": {"num_experts": 1, "moe_intermediate_size": 7}}},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe | changes, sort_keys=False))
    return str(file)


@pytest.mark.slow
def test_arms_differ_in_their_experts_alone_and_a_stopped_experiment_goes_on(
    world: Path, benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = AblationArguments(write_recipe(tmp_path, world, benchmark), jobs=2)
    main(arguments)
    output = tmp_path / "ablation"
    begins = [output / "start" / "seed-0" / "model", output / "mlp" / "seed-0" / "begin"]
    paper, mlp = map(ParrotForConditionalGeneration.from_pretrained, begins)
    assert mlp.model.moe.experts.gate_up_proj.shape[:2] == (1, 14)
    for (name, one), other in zip(paper.state_dict().items(), mlp.state_dict().values(), strict=True):
        assert ".moe." in name or torch.equal(one, other), name
    logs = [
        json.loads((output / arm / "seed-0" / "model" / "trainer_state.json").read_text())["log_history"]
        for arm in ("paper", "mlp")
    ]
    assert logs[0][0]["loss"] == logs[1][0]["loss"]  # new experts add nothing, and the rows are the same
    recipe = yaml.safe_load((output / "mlp" / "seed-0" / "recipe.yaml").read_text())
    assert (recipe["seed"], recipe["stage"]) == (0, "instruct")
    found = json.loads((output / "bench.json").read_text())
    assert found["questions"] == {"paper": 6, "mlp": 6}
    assert "mlp" in (output / "bench.md").read_text()
    assert (output / "bench.png").stat().st_size > 10_000

    (output / "bench.json").unlink()
    times = {file: file.stat().st_mtime_ns for kind in ("*.safetensors", "log.txt") for file in output.rglob(kind)}
    assert len(times) == 8
    main(arguments)
    assert (output / "bench.json").exists()
    assert "paper/seed-0: done." in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in times} == times
    changed = write_recipe(
        tmp_path, world, benchmark, instruct={"config": str(tmp_path / "stage.yaml"), "max_steps": 3}
    )
    with pytest.raises(ValueError, match="max_steps: 2; max_steps: 3"):
        main(AblationArguments(changed, jobs=1))
