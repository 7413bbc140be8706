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
"""What vLLM loads in each of its processes, by the entry point `vllm.general_plugins`: where a Parrot's code is.

    pip install -e ".[vllm]"
    vllm serve org/parrot

It is kept apart from trainer/vllm_parrot.py, whose imports would delay every other model under the same vLLM.
"""

from vllm import ModelRegistry

import modeling_parrot  # noqa: F401  (tells transformers of the classes, so that no checkpoint's own code is run)


def register() -> None:
    """Tells vLLM of a Parrot."""
    ModelRegistry.register_model("ParrotForConditionalGeneration", "trainer.vllm_parrot:ParrotForVLLM")
