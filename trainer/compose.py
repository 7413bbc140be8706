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
Composes a Parrot from a vision tower and a language model, ready for stage 1 of training:

    python -m trainer.compose --vision_tower openai/clip-vit-large-patch14-336 \
        --language_model Qwen/Qwen2-7B-Instruct --output parrot-base

The tower may be any CLIP, SigLIP, SigLIP 2 or DINOv2, the language model any decoder that AutoModelForCausalLM knows
and that has `embed_tokens` and a linear head; each is a Hub id or a folder. Their weights are copied, `<image>` is
added to the vocabulary, and the chat template is rebuilt from the language model's own. Where that is not of plain
turns whose answers can be told from the users' words by their tokens, the command says so, and chats are written in
ChatML. A base model takes its instruct variant's template with --chat_template_path. Projector and experts are new:
the experts add nothing until they are trained. Before anything is saved, the model answers about one picture. It runs
on a CPU, in the memory of its parts.
"""

from dataclasses import dataclass, field
from typing import Literal

from trainer import one_line_errors
from trainer.command_line import parse_arguments


@dataclass
class ComposeArguments:
    """Arguments of `python -m trainer.compose`."""

    vision_tower: str = field(metadata={"help": "Hub id or folder of a CLIP, SigLIP, SigLIP 2 or DINOv2."})
    language_model: str = field(metadata={"help": "Hub id or folder of a decoder language model."})
    output: str = field(metadata={"help": "Folder to write the composed Parrot to."})
    chat_template_path: str | None = field(
        default=None,
        metadata={
            "help": "Hub id or folder of a tokenizer whose chat template is taken, for a base model that has none: "
            "that of its instruct variant, e.g. google/gemma-3-270m-it."
        },
    )
    image_size: int | None = field(
        default=None,
        metadata={"help": "Side of the square image in pixels, if not the tower's own; positions are interpolated."},
    )
    vision_feature_layer: int = field(default=-2, metadata={"help": "Hidden state of the tower that is projected."})
    num_experts: int = field(default=6, metadata={"help": "Number of experts."})
    moe_intermediate_size: int | None = field(
        default=None, metadata={"help": "Inner size of an expert; the language model's hidden size if not given."}
    )
    num_experts_per_tok: int | None = field(
        default=None, metadata={"help": "Experts that run for an image; all of them, as in the paper, if not given."}
    )
    moe_scale: float = field(default=1.0, metadata={"help": "Weight of the experts beside the projected features."})
    experts_begin: Literal["at_zero", "at_random"] = field(
        default="at_zero",
        metadata={
            "help": "at_zero: new experts add nothing, so stage 2 begins where stage 1 ended; at_random: noise."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of the new weights."})


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(ComposeArguments, __doc__)
        from trainer.composition import compose_into_folder

        compose_into_folder(ARGUMENTS)
