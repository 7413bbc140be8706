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
"""Two processes train as one does with the same global batch, also where one of them has text alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from tests.tiny import tiny_model, tiny_processor


ROOT = Path(__file__).parents[1]
STEPS = 5


def losses(world: Path, processes: int) -> list[float]:
    output = world / f"by_{processes}"
    arguments = {
        "model_name_or_path": world / "model",
        "dataset_name": world / "data",
        "output_dir": output,
        "per_device_train_batch_size": 4 // processes,
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    line = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launch, str(ROOT / "trainer" / "sft.py"), *line]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.slow
def test_two_processes_follow_the_losses_of_one(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    rows = []
    for number in range(4 * STEPS):
        color = ("red", "green", "blue")[number % 3]
        images = [PILImage.new("RGB", (20, 20), color)]
        if number // 2 % 4 == 3:  # every second batch of the second process
            images = []
        messages = [{"role": "user", "content": f"? {number}"}, {"role": "assistant", "content": f"{color} {number}"}]
        rows.append({"messages": messages, "images": images})
    features = Features(
        {"messages": List({"role": Value("string"), "content": Value("string")}), "images": List(Image())}
    )
    (tmp_path / "data").mkdir()
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    one = losses(tmp_path, 1)
    assert len(one) == STEPS
    assert losses(tmp_path, 2) == pytest.approx(one, rel=1e-4)
