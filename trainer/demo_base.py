# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the small parts that a demo Parrot is composed from, where no pretrained ones can be downloaded.

    python -m trainer.mini_mmmb --output data/demo --concepts 50 --image_size 64 --captions
    python -m trainer.demo_base --data data/demo --output models/demo-base

OUTPUT/language_model: a byte-level BPE tokenizer and a Qwen2 that has read captions in all languages, and answered
questions in one language about a caption in another. OUTPUT/vision_tower: the vision side of a CLIP, trained on
pictures of all things, the demo's or not, with English captions only: a vision tower's bias towards English is what
Parrot is about. A run that was stopped goes on from its last checkpoint; a part that is finished is not trained again.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class DemoBaseArguments:
    """What to train on, and for how long."""

    data: str = field(metadata={"help": "Folder that `python -m trainer.mini_mmmb` wrote."})
    output: str = field(metadata={"help": "Folder of the parts."})
    vocab_size: int = field(default=4000, metadata={"help": "Tokens of the language model."})
    language_model_steps: int = field(default=600, metadata={"help": "Batches of 32 texts."})
    vision_tower_steps: int = field(default=1200, metadata={"help": "Batches of 128 pictures of different things."})
    image_size: int = field(default=32, metadata={"help": "Side of what the tower sees; pictures are resized to it."})
    patch_size: int = field(default=8, metadata={"help": "Side of a patch, in pixels: smaller is finer and slower."})
    save_steps: int = field(default=100, metadata={"help": "Steps from checkpoint to checkpoint."})
    seed: int = 0


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(DemoBaseArguments, __doc__)
        from trainer.toy_world.demo_parts import train_parts

        train_parts(ARGUMENTS)
