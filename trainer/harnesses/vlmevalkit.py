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

from argparse import ArgumentParser

from trainer import HelpFormatter, one_line_errors
from trainer.harnesses import MAX_NEW_TOKENS


if __name__ == "__main__":
    with one_line_errors():
        PARSER = ArgumentParser(description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
        PARSER.add_argument("--parrot", required=True, help="Folder or Hub id of a Parrot.")
        PARSER.add_argument("--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="Longest answer, in tokens.")
        OWN, OTHERS = PARSER.parse_known_args()
        from trainer.harnesses.vlmevalkit_model import run_kit

        run_kit(OWN.parrot, OWN.max_new_tokens, OTHERS)
