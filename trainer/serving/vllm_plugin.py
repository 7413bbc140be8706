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
"""Tells vLLM where Parrot's code is. Each process of vLLM loads this file by the entry point `vllm.general_plugins`.

    pip install -e ".[vllm]"
    vllm serve org/parrot

It is a file of its own, because the imports of trainer/serving/vllm_parrot.py would delay every other model in the
same vLLM.
"""

from vllm import ModelRegistry

import modeling_parrot  # noqa: F401  (registers the classes with transformers, so that no checkpoint's code runs)


def register() -> None:
    """Registers Parrot with vLLM."""
    ModelRegistry.register_model("ParrotForConditionalGeneration", "trainer.serving.vllm_parrot:ParrotForVLLM")
