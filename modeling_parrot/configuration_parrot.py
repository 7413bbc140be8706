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
"""Parrot configuration: LLaVA's configuration and the settings of the language experts."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, LlavaConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES


AUTO_MAP = {
    "AutoConfig": "configuration_parrot.ParrotConfig",
    "AutoModel": "modeling_parrot.ParrotForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_parrot.ParrotForConditionalGeneration",
    "AutoModelForMultimodalLM": "modeling_parrot.ParrotForConditionalGeneration",
    "AutoProcessor": "processing_parrot.ParrotProcessor",
}


@strict
class ParrotConfig(LlavaConfig):
    r"""
    Configuration of a [`ParrotForConditionalGeneration`]: a [`LlavaConfig`] and the fields below. The defaults are the
    paper's 7B model (CLIP ViT-L/14 at 336 pixels, six experts).

    Args:
        num_experts (`int`, *optional*, defaults to 6):
            Number of experts E, "to correspond with the number of languages" (paper, section 3.3).
        num_experts_per_tok (`int`, *optional*):
            Number of experts that run for an image: the most probable ones, with their weights renormalised. If
            `None`, all experts run: the dense sum of eq. 4.
        moe_intermediate_size (`int`, *optional*, defaults to 4096):
            Inner size I of an expert.
        residual_scale (`float`, *optional*, defaults to 1.0):
            Weight of the projected features in eq. 5: 1 in the paper. In the reference code it is `moe_weight`, or 0
            if `use_moe_residual` is off.
        moe_scale (`float`, *optional*, defaults to 1.0):
            Weight of the experts in eq. 5: alpha in the paper, 1 in the reference code.
        use_experts (`bool`, *optional*, defaults to `True`):
            Whether the experts run. Stage 1 trains the projector without them.
        image_query (`str`, *optional*):
            The image's query in eq. 2: `"cls"`, its first token, or `"mean"`, the mean of its tokens, for a tower
            without a [CLS] token. Defaults to `"cls"` if `vision_feature_select_strategy` is `"full"`, else to
            `"mean"`.
        assistant_header_ids (`list[int]`, *optional*):
            Token ids of the header that opens an answer, e.g. of `<|im_start|>assistant\n`. Answers do not guide the
            experts. If `None`, all text tokens guide them.
        turn_start_ids (`list[int]`, *optional*):
            Ids of further tokens, besides the header's first, that begin a turn and so end an answer. Where each role
            has its own token, this is the user's, e.g. the id of `<|user|>`. `None` if all turns begin with the same
            token.
    """

    model_type = "parrot"
    image_token_index: int = 151646
    image_seq_length: int = 577
    vision_feature_select_strategy: Literal["default", "full"] = "full"
    num_experts: int = 6
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int = 4096
    residual_scale: float | int = 1.0
    moe_scale: float | int = 1.0
    use_experts: bool = True
    image_query: Literal["cls", "mean"] | None = None
    assistant_header_ids: list[int] | None = None
    turn_start_ids: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.text_config is None:  # LLaVA's default is Llama; the paper's best Parrot is built on Qwen2
            self.text_config: Any = CONFIG_MAPPING["qwen2"]()
        super().__post_init__(**kwargs)
        if self.image_query is None:
            self.image_query = "cls" if self.vision_feature_select_strategy == "full" else "mean"
        if self.num_experts < 1 or self.moe_intermediate_size < 1:
            raise ValueError(
                f"num_experts={self.num_experts} and moe_intermediate_size={self.moe_intermediate_size} must be at "
                "least 1; set use_experts=False for a model without experts."
            )
        if self.num_experts_per_tok is not None and not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} must be from 1 to num_experts={self.num_experts}."
            )
        if self.image_query == "cls" and self.vision_feature_select_strategy == "default":
            raise ValueError(
                "image_query='cls' needs the [CLS] token that vision_feature_select_strategy='default' drops: set the "
                "strategy to 'full', or image_query='mean'."
            )
        if self.assistant_header_ids is not None and not self.assistant_header_ids:
            raise ValueError("assistant_header_ids is empty: give the header's token ids, or None if there is none.")
        if self.turn_start_ids and not self.assistant_header_ids:
            raise ValueError(
                f"turn_start_ids={self.turn_start_ids} end an answer, but without assistant_header_ids no answer "
                "begins: give both or neither."
            )

    def to_dict(self) -> dict[str, Any]:
        """
        As `LlavaConfig.to_dict`, with the whole `auto_map` (transformers writes only the entry of the saved class) and
        without the paths that the vision tower and the language model were loaded from.
        """
        output = super().to_dict() | {"auto_map": dict(AUTO_MAP)}
        if self.architectures == ["ParrotModel"]:  # saved without a head: AutoModel must not add a new one
            output["auto_map"]["AutoModel"] = "modeling_parrot.ParrotModel"
        for part in ("vision_config", "text_config"):
            output[part]["_name_or_path"] = ""
        return output


ParrotConfig.register_for_auto_class()
# `transformers serve` looks up in this table, and not in auto_map, how to load a model and which inputs it takes:
# https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/cli/serving/model_manager.py. The table is
# not a public interface, and no issue asks for one yet. A test fails when transformers no longer needs the entry.
MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.setdefault("parrot", "ParrotForConditionalGeneration")

__all__ = ["ParrotConfig"]
