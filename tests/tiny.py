# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny real models for the tests, built from configs.

Initial weights are large: at the usual initializer_range of 0.02 the prompt moves the image features by about 1e-10,
and a test would not see a wrong router.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, BatchFeature, LlavaImageProcessorPil
from transformers.utils import ModelOutput

from modeling_parrot.chat_format import ChatFormat
from modeling_parrot.configuration_parrot import ParrotConfig
from modeling_parrot.modeling_parrot import ParrotExperts, ParrotForConditionalGeneration
from modeling_parrot.processing_parrot import ParrotProcessor


PARITY = Path(__file__).parent / "parity"
IMAGE_TOKEN = 483  # <image>, the first id after the parity tokenizer's own
HEADER = [481, 281, 297, 455, 198]  # <|im_start|>assistant\n
NUM_IMAGE_TOKENS = 5  # 28 pixels in patches of 14, and [CLS]


def tiny_config(**kwargs: Any) -> ParrotConfig:
    """The config of a Parrot that computes in milliseconds."""
    text = {
        "model_type": "qwen2",
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "eos_token_id": 482,
        "pad_token_id": 480,
    }
    vision = {
        "model_type": "clip_vision_model",
        "image_size": 28,
        "patch_size": 14,
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
    }
    defaults = {
        "text_config": text | kwargs.pop("text_config", {}),
        "vision_config": vision | kwargs.pop("vision_config", {}),
        "image_token_index": IMAGE_TOKEN,
        "image_seq_length": NUM_IMAGE_TOKENS,
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "assistant_header_ids": HEADER,
    }
    return ParrotConfig(**(defaults | kwargs))


def tiny_model(
    config: ParrotConfig | None = None, trained: bool = True, seed: int = 0
) -> ParrotForConditionalGeneration:
    """A model in eval mode; `trained` gives the experts an effect, because fresh experts have none."""
    torch.manual_seed(seed)
    model = ParrotForConditionalGeneration(config or tiny_config()).eval()
    if trained:
        torch.nn.init.normal_(model.model.moe.experts.down_proj, std=0.5)
        torch.nn.init.normal_(model.model.moe.router.weight, std=2.0)
    return model


def tiny_processor(image_size: int = 28) -> ParrotProcessor:
    """The processor of `tiny_config`, with the parity checkpoint's tokenizer and the reference's ChatML."""
    tokenizer = AutoTokenizer.from_pretrained(PARITY / "parrot-tiny", config=tiny_config().text_config)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    tokenizer.padding_side = "left"
    return ParrotProcessor(
        image_processor=LlavaImageProcessorPil(
            size={"shortest_edge": image_size}, crop_size={"height": image_size, "width": image_size}, do_pad=True
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=ChatFormat().template(),
    )


def chat_inputs(processor: ParrotProcessor, picture: Any, text: str) -> BatchFeature:
    """The inputs of a question about a picture, a path or an image, for `generate`."""
    content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def run_expert(experts: ParrotExperts, index: int, hidden_states: torch.Tensor) -> torch.Tensor:
    """The output of one expert, a SwiGLU without biases, of the same shape as `hidden_states`, (..., C)."""
    gate, up = (hidden_states @ experts.gate_up_proj[index].T).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ experts.down_proj[index].T


def image_tokens(outputs: ModelOutput) -> torch.Tensor:
    """The tokens of all images, (N * K, C). From 5.24 on, transformers returns a list with one tensor per image."""
    tokens = outputs.image_hidden_states
    return tokens if isinstance(tokens, torch.Tensor) else torch.cat(tokens)
