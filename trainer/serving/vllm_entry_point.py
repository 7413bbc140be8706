# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
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
