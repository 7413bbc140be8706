# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Runs VLMEvalKit on a Parrot in transformers, with the prompts of VLMEvalKit's own wrapper for Parrot:

    python -m trainer.harnesses.vlmevalkit --parrot org/parrot --judge exact_matching \
        --data MMMB_en MMMB_cn MMMB_pt MMMB_ar MMMB_tr MMMB_ru

VLMEvalKit's wrapper needs the reference code's package and transformers 4.39. A model from outside can only be added
to VLMEvalKit's table of models, so this command adds Parrot to the table. Install VLMEvalKit from its repository with
`pip install --editable`, because its command `run.py` is not part of its package.

All other arguments go to VLMEvalKit's `run.py`. Name the data of each language, as above. With `--data MMMB` or
`MTL_MMBench_DEV`, which join the languages, the wrapper does not know the language of a question. It then gives the
instruction in English, or in Chinese if the question has Chinese characters. Before matching, the wrapper also
replaces an English answer by the letter that it reads in the answer; here, answers stay as they are, as in
trainer/benchmark.py.
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
