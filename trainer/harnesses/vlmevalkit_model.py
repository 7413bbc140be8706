# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A Parrot as a model of VLMEvalKit, for `python -m trainer.harnesses.vlmevalkit`."""

import importlib
import sys
from functools import partial
from pathlib import Path

import vlmeval
from vlmeval.vlm.parrot import Parrot as Wrapper

from trainer.harnesses.chat import ParrotChat


class VLMEvalKitParrot(Wrapper):
    """
    A Parrot that answers the prompts of VLMEvalKit's wrapper.

    Args:
        name: folder or Hub id.
        max_new_tokens: longest answer, in tokens.
    """

    def __init__(self, name: str, max_new_tokens: int) -> None:
        self.chat, self.max_new_tokens = ParrotChat(name), max_new_tokens

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """Answers a message of pictures and text. As in the wrapper, all pictures come first."""
        pictures = [{"type": "image", "path": part["value"]} for part in message if part["type"] == "image"]
        texts = [{"type": "text", "text": part["value"]} for part in message if part["type"] == "text"]
        (answer,) = self.chat.answer([[{"role": "user", "content": pictures + texts}]], self.max_new_tokens)
        return answer


def run_kit(model: str, max_new_tokens: int, arguments: list[str]) -> None:
    """
    Runs VLMEvalKit's `run.py` on a Parrot.

    Args:
        model: folder or Hub id.
        max_new_tokens: longest answer, in tokens.
        arguments: further arguments of `run.py`.

    Raises:
        `ValueError`: if VLMEvalKit is installed without its `run.py`.
    """
    folder = Path(vlmeval.__file__).parents[1]
    if not (folder / "run.py").is_file():
        raise ValueError(f"{folder} has no run.py: install VLMEvalKit's repository with pip install --editable.")
    sys.path.insert(0, str(folder))
    kit = importlib.import_module("run")
    name = Path(model).name  # as VLMEvalKit names its files
    kit.supported_VLM[name] = partial(VLMEvalKitParrot, model, max_new_tokens)
    sys.argv = ["run.py", "--model", name, *arguments]
    kit.load_env()
    kit.main()
