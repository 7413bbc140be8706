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
r"""
Runs VLMEvalKit on a Parrot as transformers loads it, with the prompts of VLMEvalKit's own wrapper for Parrot:

    python -m trainer.harnesses.vlmevalkit --parrot org/parrot --judge exact_matching \
        --data MMMB_en MMMB_cn MMMB_pt MMMB_ar MMMB_tr MMMB_ru

That wrapper needs the reference's package and transformers 4.39; VLMEvalKit has no way to add a model from outside but
by entering it in its table of models, which is what this does. It must be installed from its repository, by
`pip install --editable`, since its command `run.py` is no part of its package.

Other arguments are those of VLMEvalKit's `run.py`. Give the languages by name, as above: where `--data MMMB` or
`MTL_MMBench_DEV` joins them, the wrapper does not learn the language and asks in English (and in Chinese, which it
knows by its characters). The wrapper also shortens English answers to what it takes for their letter before they are
matched; here they stay as they are, as in trainer/benchmark.py.
"""

import importlib
import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

import vlmeval
from vlmeval.vlm.parrot import Parrot as Wrapper

from trainer import HelpFormatter
from trainer.harnesses.chat import MAX_NEW_TOKENS, ParrotChat


class Parrot(Wrapper):
    """
    A Parrot that answers the prompts of VLMEvalKit's wrapper.

    Args:
        name: folder or Hub id.
        max_new_tokens: longest answer.
    """

    def __init__(self, name: str, max_new_tokens: int) -> None:
        self.chat, self.max_new_tokens = ParrotChat(name), max_new_tokens

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """The answer to a message of pictures and text; as in the wrapper, all pictures come first."""
        pictures = [{"type": "image", "path": part["value"]} for part in message if part["type"] == "image"]
        texts = [{"type": "text", "text": part["value"]} for part in message if part["type"] == "text"]
        (answer,) = self.chat.answer([[{"role": "user", "content": pictures + texts}]], self.max_new_tokens)
        return answer


def main(arguments: list[str]) -> None:
    """Hands the model and all other arguments to VLMEvalKit."""
    parser = ArgumentParser(description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    parser.add_argument("--parrot", required=True, help="Folder or Hub id of a Parrot.")
    parser.add_argument("--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="Longest answer, in tokens.")
    parsed, others = parser.parse_known_args(arguments)
    folder = Path(vlmeval.__file__).parents[1]
    if not (folder / "run.py").is_file():
        parser.error(f"{folder} has no run.py: install VLMEvalKit by pip install --editable from its repository.")
    sys.path.insert(0, str(folder))
    run = importlib.import_module("run")
    name = Path(parsed.parrot).name  # as VLMEvalKit names its files
    run.supported_VLM[name] = partial(Parrot, parsed.parrot, parsed.max_new_tokens)
    sys.argv = ["run.py", "--model", name, *others]
    run.load_env()
    run.main()


if __name__ == "__main__":
    main(sys.argv[1:])
