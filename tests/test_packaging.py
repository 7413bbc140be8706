# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging: a wheel holds only the model, and an editable install uses the whole checkout."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.test_repository import ROOT


USE = """
import sys
import torch
from transformers import AutoConfig, AutoModelForImageTextToText
import modeling_parrot

assert modeling_parrot.__file__.startswith(sys.argv[1]), modeling_parrot.__file__
config = AutoConfig.for_model(
    "parrot",
    text_config={"model_type": "qwen2", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 8,
                 "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1},
    vision_config={"model_type": "clip_vision_model", "hidden_size": 8, "intermediate_size": 8,
                   "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 4, "patch_size": 2},
    image_token_index=31, image_seq_length=5, moe_intermediate_size=4, num_experts=2,
)
model = AutoModelForImageTextToText.from_config(config)
tokens = torch.tensor([[31] * 5 + [1, 2]])
assert model(input_ids=tokens, pixel_values=torch.zeros(1, 3, 4, 4)).logits.shape == (1, 7, 32)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout that setuptools may write into, without the files that git ignores."""
    folder = tmp_path_factory.mktemp("checkout")
    names = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "modeling_parrot", "trainer")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *names]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(checkout: Path, kind: str, output: Path) -> Path:
    """Builds the wheel as pip would, with the installed setuptools."""
    code = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, kind, str(output)], cwd=checkout, capture_output=True, check=True)
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_a_wheel_holds_only_the_model_and_works(checkout: Path, tmp_path: Path) -> None:
    wheel = build(checkout, "build_wheel", tmp_path)
    with ZipFile(wheel) as content:
        content.extractall(tmp_path / "installed")
    modules = {path.name for path in (ROOT / "modeling_parrot").glob("*.py")}
    assert {path.name for path in (tmp_path / "installed" / "modeling_parrot").iterdir()} == modules
    (metadata,) = [path for path in (tmp_path / "installed").iterdir() if path.name != "modeling_parrot"]
    assert not (metadata / "entry_points.txt").exists()
    (tmp_path / "use.py").write_text(USE)
    # -P keeps the folder of use.py off Python's path.
    command = [sys.executable, "-P", str(tmp_path / "use.py"), str(tmp_path)]
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)


def test_an_editable_install_puts_the_checkout_on_the_path_and_keeps_the_entry_points(
    checkout: Path, tmp_path: Path
) -> None:
    with ZipFile(build(checkout, "build_editable", tmp_path)) as content:
        (path,) = [name for name in content.namelist() if name.endswith(".pth")]
        assert content.read(path).decode().strip() == str(checkout)
        (points,) = [name for name in content.namelist() if name.endswith("entry_points.txt")]
        text = content.read(points).decode()
    values = [line.split(" = ")[1] for line in text.splitlines() if " = " in line]
    assert len(values) == 2
    for module, _, name in (value.partition(":") for value in values):
        source = (checkout / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
        assert f"def {name}" in source or f"{name} = " in source
