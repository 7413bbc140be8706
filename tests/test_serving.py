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
"""Parrot under `transformers serve`, its exporters and its quantisers; `make test-serving` installs what they need."""

from pathlib import Path

import pytest

from tests.hub import run_python
from tests.tiny import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Parrot with the code that travels to the Hub."""
    folder = tmp_path_factory.mktemp("parrot")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


SERVE_LOADER = """
from transformers import AutoConfig
from transformers.cli.serving.model_manager import ModelManager
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

AutoConfig.from_pretrained(FOLDER, trust_remote_code=True)
if not IN_TABLE:
    del MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES["parrot"]
manager = ModelManager(trust_remote_code=True, device="cpu", model_timeout=1)
model, processor = manager.load_model_and_processor(FOLDER)
print(type(model).__name__, manager.get_model_modality(model, processor).name)
"""


def load_as_serve_does(folder: Path, cwd: Path, in_table: bool) -> str:
    code = SERVE_LOADER.replace("FOLDER", repr(str(folder))).replace("IN_TABLE", str(in_table))
    return run_python(code, {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd)}, cwd).splitlines()[-1]


@pytest.mark.slow
def test_the_loader_of_transformers_serve_loads_a_model_that_reads_images(parrot: Path, tmp_path: Path) -> None:
    assert load_as_serve_does(parrot, tmp_path, in_table=True) == "ParrotForConditionalGeneration MULTIMODAL"


@pytest.mark.slow
def test_transformers_serve_still_needs_the_entry_in_its_table(parrot: Path, tmp_path: Path) -> None:
    """The day that this fails, the last lines of configuration_parrot.py can go."""
    with pytest.raises(RuntimeError, match="transformers has no attribute ParrotForConditionalGeneration"):
        load_as_serve_does(parrot, tmp_path, in_table=False)
