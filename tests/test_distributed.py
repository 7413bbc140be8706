# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes learn the same as one with the same global batch, even if one of them has only text."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file

from modeling_parrot import ParrotForConditionalGeneration
from tests.conftest import write_data
from tests.processes import python
from tests.tiny import tiny_model, tiny_processor


ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / "trainer" / "sft.py")
STEPS = 5
LORA = ["--use_peft", "--lora_r", "4", "--lora_dropout", "0"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
ONE = [SCRIPT, "--use_cpu", "--per_device_train_batch_size", "4"]
TWO = ["--per_device_train_batch_size", "2"]
DDP = [*ACCELERATE, "--multi_gpu", SCRIPT, "--use_cpu", *TWO]
FSDP = [
    *[*ACCELERATE, "--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"],
    *[str(ROOT / "tests" / "fsdp_on_cpu.py"), SCRIPT, *TWO],
    *["--use_cpu", "--accelerator_config", '{"use_configured_state": true}'],
]
ZERO3 = [
    *[*ACCELERATE, "--use_deepspeed", "--zero_stage", "3", "--zero3_save_16bit_model", "true"],
    *[SCRIPT, *TWO, "--ddp_backend", "gloo"],
]
with_old_torch = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="FSDP2 of torch 2.6 does not run on a CPU; we have not tried the versions from 2.7 to 2.12",
)
without_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="pip install deepspeed")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a data set in which every second batch of the second process has no image."""
    folder = tmp_path_factory.mktemp("world")
    tiny_model().save_pretrained(folder / "model")
    tiny_processor().save_pretrained(folder / "model")
    rows = []
    for number in range(4 * STEPS):
        color = ("red", "green", "blue")[number % 3]
        images = [] if number // 2 % 4 == 3 else [PILImage.new("RGB", (20, 20), color)]
        messages = [{"role": "user", "content": f"? {number}"}, {"role": "assistant", "content": f"{color} {number}"}]
        rows.append({"messages": messages, "images": images, "language": ("en", "tr")[number % 2]})
    write_data(folder / "data", rows)
    return folder


def train(world: Path, output: Path, launch: list[str], *arguments: str) -> list[dict[str, float]]:
    """Trains, and returns the logged values of each step."""
    common = {
        "model_name_or_path": world / "model",
        "dataset_name": world / "data",
        "output_dir": output,
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "adam_epsilon": 1e-4,  # With less, AdamW would amplify the rounding of gradients that are nearly zero.
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    line = [text for name, value in common.items() for text in (f"--{name}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    run = subprocess.run(
        [python(), *launch, *line, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    watched = ("loss", "grad_norm", "router_")
    return [{key: entry[key] for key in entry if key.startswith(watched)} for entry in log if "loss" in entry]


@pytest.fixture(scope="module")
def one(world: Path) -> tuple[Path, list[dict[str, float]]]:
    """A run in one process: its folder and what it logged."""
    return world / "one", train(world, world / "one", ONE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "launch",
    [DDP, pytest.param(FSDP, marks=with_old_torch), pytest.param(ZERO3, marks=without_deepspeed)],
    ids=["ddp", "fsdp", "zero3"],
)
def test_two_processes_log_and_save_what_one_does(
    launch: list[str], world: Path, one: tuple[Path, list[dict[str, float]]], tmp_path: Path
) -> None:
    folder, logged = one
    assert len(logged) == STEPS
    assert {"loss_en", "loss_tr", "router_tr_3"} <= logged[0].keys()
    assert train(world, tmp_path, launch) == [pytest.approx(step, rel=1e-4) for step in logged]
    assert {path.name for path in tmp_path.glob("*.py")} == {path.name for path in folder.glob("*.py")}
    expected, trained = (ParrotForConditionalGeneration.from_pretrained(path) for path in (folder, tmp_path))
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-5, rtol=0)


@with_old_torch
@pytest.mark.slow
def test_two_processes_with_shards_learn_the_adapter_of_one(world: Path, tmp_path: Path) -> None:
    logged = train(world, tmp_path / "one", ONE, *LORA)
    assert train(world, tmp_path / "two", FSDP, *LORA) == [pytest.approx(step, rel=1e-4) for step in logged]
    expected, trained = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, atol=1e-5, rtol=0)
