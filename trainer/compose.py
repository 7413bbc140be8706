# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Composes a Parrot from a vision tower and a language model, ready for stage 1 of training:

    python -m trainer.compose --vision_tower openai/clip-vit-large-patch14-336 \
        --language_model Qwen/Qwen2-7B-Instruct --output parrot-base

The tower may be any CLIP, SigLIP, SigLIP 2 or DINOv2. The language model may be any decoder that AutoModelForCausalLM
knows and that has `embed_tokens` and a linear head. Each is a Hub id or a folder. The command copies their weights,
adds `<image>` to the vocabulary and rebuilds the chat template from the language model's own. If the tokens of that
template do not separate answers from users' words, the command says so and uses ChatML. For a base model without a
template, take its instruct variant's with --chat_template_path. Projector and experts are new, and the experts add
zero until they are trained. Before the command saves anything, the model answers a question about one picture. The
command runs on a CPU and needs as much memory as the parts.
"""

from dataclasses import dataclass, field
from typing import Literal

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


@dataclass
class ComposeArguments:
    """Arguments of `python -m trainer.compose`."""

    vision_tower: str = field(metadata={"help": "Hub id or folder of a CLIP, SigLIP, SigLIP 2 or DINOv2."})
    language_model: str = field(metadata={"help": "Hub id or folder of a decoder language model."})
    output: str = field(metadata={"help": "Folder to write the composed Parrot to."})
    chat_template_path: str | None = field(
        default=None,
        metadata={
            "help": "Hub id or folder of a tokenizer with the chat template to use. For a base model without a chat "
            "template, name its instruct variant, e.g. google/gemma-3-270m-it."
        },
    )
    image_size: int | None = field(
        default=None,
        metadata={
            "help": "Side of the square image in pixels (default: the tower's own). Positions are interpolated."
        },
    )
    vision_feature_layer: int = field(
        default=-2, metadata={"help": "The tower's hidden state that the projector reads."}
    )
    num_experts: int = field(default=6, metadata={"help": "Number of experts."})
    moe_intermediate_size: int | None = field(
        default=None, metadata={"help": "Inner size of an expert (default: the language model's hidden size)."}
    )
    num_experts_per_tok: int | None = field(
        default=None, metadata={"help": "Number of experts that run for an image (default: all, as in the paper)."}
    )
    moe_scale: float = field(
        default=1.0, metadata={"help": "Factor of the experts' output, which is added to the projected features."}
    )
    experts_begin: Literal["at_zero", "at_random"] = field(
        default="at_zero",
        metadata={
            "help": "at_zero: new experts add zero, so stage 2 begins where stage 1 ended; at_random: they add noise."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of the new weights."})


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(ComposeArguments, __doc__)
        from trainer.training.composition import compose_into_folder

        compose_into_folder(ARGUMENTS)
