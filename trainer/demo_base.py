# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a small language model and a small vision tower, so that the demo needs no pretrained models.

    python -m trainer.mini_mmmb --output data/demo --concepts 50 --image_size 64 --captions
    python -m trainer.demo_base --data data/demo --output models/demo-base

OUTPUT/language_model gets a byte-level BPE tokenizer and a Qwen2. The Qwen2 is trained on questions in all languages
about English captions. OUTPUT/vision_tower gets the vision tower of a CLIP. The CLIP is trained on pictures of
300 things, not only the 50 of the demo. Its captions are in English only, because Parrot addresses the bias of vision
towers towards English.
An interrupted run resumes from its last checkpoint. A finished part is not trained again.
"""

from dataclasses import dataclass, field
from typing import Literal

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class DemoBaseArguments:
    """The data, the sizes of the models, and the length of training."""

    data: str = field(metadata={"help": "Folder that `python -m trainer.mini_mmmb` wrote with --captions."})
    output: str = field(metadata={"help": "Folder to write the parts to."})
    part: Literal["language_model", "vision_tower", "both"] = field(
        default="both", metadata={"help": "The part to train. The two do not depend on each other."}
    )
    vocab_size: int = field(
        default=4000, metadata={"help": "Number of tokens in the vocabulary of the language model."}
    )
    language_model_steps: int = field(
        default=500, metadata={"help": "Training steps of the language model, each with 32 texts."}
    )
    vision_tower_steps: int = field(
        default=700,
        metadata={"help": "Training steps of the vision tower, each with up to 128 pictures of different things."},
    )
    image_size: int = field(
        default=48, metadata={"help": "Side of the tower's input in pixels. Pictures are resized to it."}
    )
    patch_size: int = field(default=8, metadata={"help": "Side of a patch in pixels. Smaller patches are slower."})
    save_steps: int = field(default=100, metadata={"help": "Steps between two checkpoints."})
    seed: int = 0


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(DemoBaseArguments, __doc__)
        from trainer.toy_world.demo_parts import train_parts

        train_parts(ARGUMENTS)
