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
"""Parrot: LLaVA with language experts for the visual tokens. A router weighs the experts by the prompt's words.

    pixel_values -> vision_tower -> multi_modal_projector -> H   (images, tokens, C)       eq. 1
    input_ids    -> embed_tokens                          -> T   (batch, length, C)
        per image:  context = softmax(H[CLS] T^T / sqrt(C)) T    over the words that guide   eq. 2
                    P = softmax(router(context))                                             eq. 3
                    G = residual_scale * H + moe_scale * sum_e P[e] expert_e(H)              eq. 4, 5
    G in place of the <image> tokens -> language_model -> lm_head

Shapes: N images, B samples, L text length, W words (text tokens) of all samples, K tokens of an image, C hidden size,
E experts, S selected experts of an image, I expert size.
Equations: "Parrot: Multilingual Visual Instruction Tuning", arXiv 2406.02539.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    Cache,
    GenerationConfig,
    GenerationMixin,
    LlavaForConditionalGeneration,
    LlavaModel,
    LlavaPreTrainedModel,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast, LlavaModelOutputWithPast
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple, torch_compilable_check

from .configuration_parrot import ParrotConfig


NO_EXPERTS_MESSAGE = (
    "This engine encodes images without the prompt and would answer without Parrot's experts. For vLLM, a plug-in "
    "runs them: pip install -e '.[vllm]' in a checkout of parrot-vlm. Any other engine has to call "
    "condition_image_features."
)


@dataclass
class ParrotImageOutput(BaseModelOutputWithPooling):
    """
    Image features after the experts; features before the experts have the parent class. transformers keeps the class
    when it slices features for chunked prefill or expands them for beams.

    Args:
        pooler_output (`list[torch.Tensor]`): G of eq. 5, one tensor of shape (K, C) per image.
        router_logits (`torch.Tensor` of shape (N, E), *optional*): the router's output, before the softmax of eq. 3.
    """

    router_logits: torch.Tensor | None = None


@dataclass
class ParrotModelOutputWithPast(LlavaModelOutputWithPast):
    """`LlavaModelOutputWithPast` and `router_logits` of shape (N, E), one row per image."""

    router_logits: torch.Tensor | None = None


@dataclass
class ParrotCausalLMOutputWithPast(LlavaCausalLMOutputWithPast):
    """`LlavaCausalLMOutputWithPast` and `router_logits` of shape (N, E), one row per image."""

    router_logits: torch.Tensor | None = None


def _swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class ParrotExperts(nn.Module):
    """The weighted sum of eq. 4 over SwiGLU experts without biases, as in the reference code."""

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__()
        hidden_size, intermediate_size = config.text_config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(config.num_experts, 2 * intermediate_size, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(config.num_experts, hidden_size, intermediate_size))

    def forward(
        self, hidden_states: torch.Tensor, routing_weights: torch.Tensor, selected: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape (N, K, C)): projected features.
            routing_weights (`torch.Tensor` of shape (N, E)): weight of each expert for each image, 0 where it is not
                selected.
            selected (`torch.LongTensor` of shape (N, S), *optional*): the experts to run for each image; all if None.

        Returns:
            `torch.Tensor` of shape (N, K, C).
        """
        routing_weights = routing_weights.to(hidden_states.dtype)
        is_autocast = torch.is_autocast_enabled(hidden_states.device.type)
        dtype = torch.get_autocast_dtype(hidden_states.device.type) if is_autocast else hidden_states.dtype
        if selected is None:
            return self._run_all(hidden_states, routing_weights, is_autocast)
        if self._can_use_grouped_mm(hidden_states.device, dtype):
            return self._run_grouped(hidden_states, routing_weights, selected, dtype)
        if torch.compiler.is_compiling():  # _run_selected would break the graph: its sizes depend on the router.
            return self._run_all(hidden_states, routing_weights, is_autocast)
        return self._run_selected(hidden_states, routing_weights, selected)

    def _run_all(self, hidden_states: torch.Tensor, routing_weights: torch.Tensor, is_autocast: bool) -> torch.Tensor:
        tokens = hidden_states.flatten(0, 1)  # (N * K, C)
        routing_weights = routing_weights.repeat_interleave(hidden_states.shape[1], dim=0)  # (N * K, E)
        output = torch.zeros_like(tokens)
        for index in range(len(self.gate_up_proj)):
            # The weight is applied before the last product, so that addmm_ can add the product to the sum in place.
            inner = _swiglu(F.linear(tokens, self.gate_up_proj[index])) * routing_weights[:, index, None]
            if is_autocast:  # under autocast, addmm_ would round the sum to half precision
                output = output + F.linear(inner, self.down_proj[index])
            else:
                output = output.addmm_(inner, self.down_proj[index].t())
        return output.view_as(hidden_states)

    def _run_selected(
        self, hidden_states: torch.Tensor, routing_weights: torch.Tensor, selected: torch.Tensor
    ) -> torch.Tensor:
        _, images, counts = self._by_expert(selected)
        output = torch.zeros_like(hidden_states)
        for index, part in enumerate(images.split(counts.tolist())):  # tolist waits for the GPU; a part may be empty
            inner = _swiglu(F.linear(hidden_states[part], self.gate_up_proj[index]))
            inner = inner * routing_weights[part, index, None, None]
            output.index_add_(0, part, F.linear(inner, self.down_proj[index]).to(output.dtype))
        return output

    def _run_grouped(
        self, hidden_states: torch.Tensor, routing_weights: torch.Tensor, selected: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        num_images, num_tokens, _ = hidden_states.shape
        order, images, counts = self._by_expert(selected)
        ends = (counts.cumsum(0) * num_tokens).to(torch.int32)  # (E,)
        weights = routing_weights[images, selected.flatten()[order]].repeat_interleave(num_tokens)  # (N * S * K,)
        # Autocast does not cover grouped_mm: https://github.com/pytorch/pytorch/issues/174763
        gate_up_proj, down_proj = self.gate_up_proj.to(dtype), self.down_proj.to(dtype)
        tokens = hidden_states[images].flatten(0, 1).to(dtype)  # (N * S * K, C)
        inner = _swiglu(F.grouped_mm(tokens, gate_up_proj.transpose(1, 2), offs=ends)) * weights[:, None]
        output = F.grouped_mm(inner.to(dtype), down_proj.transpose(1, 2), offs=ends)
        output = output.unflatten(0, (-1, num_tokens))[order.argsort()]  # (N * S, K, C), image by image
        return output.unflatten(0, (num_images, -1)).sum(dim=1, dtype=hidden_states.dtype)

    def _by_expert(self, selected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Returns the order that sorts the entries of `selected` by expert, of shape (N * S,), the image of each entry in
        this order, of shape (N * S,), and each expert's number of images, of shape (E,).
        """
        order = selected.flatten().argsort(stable=True)
        return order, order // selected.shape[1], F.one_hot(selected.flatten(), len(self.gate_up_proj)).sum(dim=0)

    def _can_use_grouped_mm(self, device: torch.device, dtype: torch.dtype) -> bool:
        # As of torch 2.13, the kernel takes only half precision on a GPU and only bfloat16 when compiled. It needs a
        # GPU of compute capability 8.0 or later, and rows whose size is a multiple of 16 bytes.
        is_aligned = all(size % 8 == 0 for size in self.down_proj.shape[1:])
        is_new_enough = device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)
        return hasattr(F, "grouped_mm") and dtype == torch.bfloat16 and is_aligned and is_new_enough


class ParrotRouter(nn.Module):
    """
    The router of eq. 3, before its softmax. Like the routers of transformers' own models, it is not an `nn.Linear`:
    quantisation would replace it, and bitsandbytes cannot multiply by a 4-bit matrix of so few rows.
    """

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.text_config.hidden_size))

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """Logits of shape (N, E), from the context of each image, (N, C)."""
        return F.linear(context, self.weight)


class ParrotMoE(nn.Module):
    """Eq. 2 to 5: turns the tokens of an image into language-specific tokens, guided by the prompt's words."""

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__()
        self.config = config
        self.router = ParrotRouter(config)
        self.experts = ParrotExperts(config)

    def forward(
        self, image_features: torch.Tensor, text_embeds: torch.Tensor, guidance_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            image_features (`torch.Tensor` of shape (N, K, C)): projected features H.
            text_embeds (`torch.Tensor` of shape (N, W, C)): word embeddings for each image, or of shape (1, W, C) if
                all images share them.
            guidance_mask (`torch.BoolTensor` of shape (N, W)): which words guide each image.

        Returns:
            the tokens G of shape (N, K, C) and the router's logits of shape (N, E).
        """
        query = image_features[:, 0] if self.config.image_query == "cls" else image_features.mean(dim=1)  # (N, C)
        scores = torch.einsum("nc,nwc->nw", query * query.shape[-1] ** -0.5, text_embeds)  # (N, W)
        scores = scores.float().masked_fill(~guidance_mask, torch.finfo(torch.float32).min)
        # The mask is applied again after the softmax: if no word guides, the context is zero and the router uniform.
        attention = scores.softmax(dim=-1) * guidance_mask
        context = torch.einsum("nw,nwc->nc", attention.to(text_embeds.dtype), text_embeds)  # (N, C)

        router_logits = self.router(context)  # (N, E)
        routing_weights = router_logits.softmax(dim=-1, dtype=torch.float32)
        selected = None
        if (num_selected := self.config.num_experts_per_tok or self.config.num_experts) < self.config.num_experts:
            selected = routing_weights.topk(num_selected, dim=-1).indices  # (N, S)
            routing_weights = routing_weights * torch.zeros_like(routing_weights).scatter(1, selected, 1.0)
            routing_weights = routing_weights / routing_weights.sum(dim=-1, keepdim=True)
        expert_output = self.experts(image_features, routing_weights, selected)
        return self.config.residual_scale * image_features + self.config.moe_scale * expert_output, router_logits


class ParrotPreTrainedModel(LlavaPreTrainedModel):
    """Base class of the models: it initialises the experts, and keeps them and the router on one device."""

    config: ParrotConfig
    _no_split_modules = {"ParrotMoE"}

    @classmethod
    def is_backend_compatible(cls) -> bool:
        """
        vLLM and SGLang call this before they run a model with their generic code for transformers' models.

        Raises:
            `ValueError`: always. The generic code calls `get_image_features` and not `forward`: no expert would run.
        """
        raise ValueError(NO_EXPERTS_MESSAGE)

    def post_init(self) -> None:
        """As `PreTrainedModel.post_init`."""
        super().post_init()
        # The tower's _no_split_modules also lists classes of CLIP's text encoder, and accelerate's FSDP raises an
        # error for a class that the model does not have: https://github.com/huggingface/accelerate/issues/2947. This
        # may go when accelerate skips such classes.
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = getattr(self.config.text_config, "initializer_range", 0.02)
        if isinstance(module, ParrotRouter):
            init.normal_(module.weight, mean=0.0, std=std)
        if isinstance(module, ParrotExperts):
            init.normal_(module.gate_up_proj, mean=0.0, std=std)
            init.zeros_(module.down_proj)  # new experts add nothing: stage 2 begins where stage 1 ended

    def initialize_weights(self) -> None:
        """
        As `PreTrainedModel.initialize_weights`, but tower and language model are initialised first, by their own
        rules. This class is custom code, so transformers would treat them as custom code, too: it would initialise
        weights that a checkpoint lacks at another scale. This may go when transformers checks each part for itself;
        the check was added for https://github.com/huggingface/transformers/issues/46620.
        """
        for child in self.children():
            if isinstance(child, PreTrainedModel):
                child.initialize_weights()
        super().initialize_weights()


def find_answers(header: list[torch.Tensor], turn_starts: torch.Tensor) -> torch.Tensor:
    """
    Marks the tokens of answers. A turn begins at each occurrence of the header's first token, and wherever
    `turn_starts` is True. If a turn begins with the whole header, the rest of the turn is an answer.

    Args:
        header (`list[torch.BoolTensor]`): for each token of the assistant header, its occurrences, of shape (B, L).
        turn_starts (`torch.BoolTensor` of shape (B, L)): occurrences of the other tokens that begin a turn.

    Returns:
        `torch.BoolTensor` of shape (B, L), True in answers.
    """
    is_header = header[0]
    for offset, mask in enumerate(header[1:], start=1):
        is_header = is_header & mask.roll(-offset, dims=1)  # a header that wraps around has no answer after it
    position = torch.arange(turn_starts.shape[1], device=turn_starts.device)
    turn_start = torch.where(header[0] | turn_starts, position, -1).cummax(dim=1)[0]  # (B, L), -1 before the first
    in_answer = is_header.gather(1, turn_start.clamp(min=0)) & (turn_start >= 0)
    return in_answer & (position - turn_start >= len(header))


def _mismatch_message(placeholders: list[int], num_images: int, num_tokens: int, past_length: int) -> str:
    cut = [f"sample {index} cuts an image" for index, count in enumerate(placeholders) if count % num_tokens]
    return (
        f"Image features and image tokens do not match: {num_images} images of {num_tokens} tokens each were given, "
        f"and the samples hold {placeholders} image tokens after the {past_length} cached tokens"
        f"{': ' * bool(cut)}{', '.join(cut)}. Pass as many images as the text has marks, in the order of the marks, "
        "without the images that are in the cache, and do not truncate within an image."
    )


class ParrotModel(ParrotPreTrainedModel, LlavaModel):
    """
    Parrot's vision tower, projector, language experts and language model, without a head.

    Raises:
        `ValueError`: if vLLM or SGLang builds it with generic code for transformers' models, which runs no expert.
    """

    engine_runs_experts = False  # parrot-vlm's plug-in for vLLM sets this to True

    def __init__(self, config: ParrotConfig) -> None:
        if config.text_config._attn_implementation in ("vllm", "sglang") and not self.engine_runs_experts:
            raise ValueError(NO_EXPERTS_MESSAGE)
        super().__init__(config)
        self.moe = ParrotMoE(config)
        self.post_init()

    def get_image_features(
        self,
        pixel_values: torch.FloatTensor,
        vision_feature_layer: int | list[int] | None = None,
        vision_feature_select_strategy: str | None = None,
        image_sizes: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """
        As `LlavaModel.get_image_features`: the projected features H of eq. 1, before the experts. The NaFlex variant
        of SigLIP 2 reads patches; the images are cut into patches for it.

        Args:
            pixel_values (`torch.FloatTensor` of shape (N, 3, height, width)): images.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `False`): whether a CLIP or SigLIP interpolates
                its position embeddings to images of another size than its own.

        Returns:
            an output whose `pooler_output` has one tensor of shape (K, C) per image.

        Raises:
            `ValueError`: if `vision_feature_select_strategy` is not the config's.
        """
        if vision_feature_select_strategy not in (None, self.config.vision_feature_select_strategy):
            raise ValueError(
                f"vision_feature_select_strategy={vision_feature_select_strategy!r} differs from the config's "
                f"{self.config.vision_feature_select_strategy!r}. The router's query depends on it, too: set it in "
                "the config."
            )
        if interpolate_pos_encoding:  # passed only if set: not every tower has the argument
            kwargs["interpolate_pos_encoding"] = True
        vision_config = self.config.vision_config
        if vision_config.model_type == "siglip2_vision_model":
            size = vision_config.patch_size
            # (N, 3, rows, size, columns, size) -> (N, rows * columns, size * size * 3)
            patches = pixel_values.unflatten(3, (-1, size)).unflatten(2, (-1, size))
            rows, columns = patches.shape[2], patches.shape[4]
            pixel_values = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
            kwargs["pixel_attention_mask"] = torch.ones_like(pixel_values[..., 0], dtype=torch.long)
            shapes = torch.tensor([rows, columns], device=pixel_values.device)
            kwargs["spatial_shapes"] = shapes.expand(len(pixel_values), 2)
        return super().get_image_features(
            pixel_values, vision_feature_layer=vision_feature_layer, image_sizes=image_sizes, **kwargs
        )

    def _token_mask(self, token_id: int, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor) -> torch.Tensor:
        """Mask of the occurrences of a token, (B, L). Without `input_ids`, embeddings are compared."""
        if input_ids is not None:
            return input_ids == token_id
        token = torch.full((), token_id, dtype=torch.long, device=inputs_embeds.device)
        return (inputs_embeds == self.get_input_embeddings()(token)).all(dim=-1)

    def get_guidance_mask(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The text tokens that guide the experts: all but padding, image placeholders and answers (`find_answers`). The
        reference code takes the same tokens, those with the label -100. Labels are not used here, because neither
        generation nor TRL's trainers pass them to the backbone.

        Args:
            input_ids (`torch.LongTensor` of shape (B, L), *optional*): token ids. If None, tokens are recognised by
                `inputs_embeds`.
            inputs_embeds (`torch.Tensor` of shape (B, L, C)): word embeddings.
            attention_mask (`torch.Tensor` of shape (B, at least L), *optional*): 0 at padding. A mask that was
                prepared for a static cache (4D or a dict) does not show padding and is ignored.

        Returns:
            `torch.BoolTensor` of shape (B, L).
        """
        length = inputs_embeds.shape[1]
        guides = ~self._token_mask(self.config.image_token_id, input_ids, inputs_embeds)
        if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
            guides = guides & attention_mask[:, -length:].to(guides.device, torch.bool)
        if self.config.assistant_header_ids is None:
            return guides

        header = [self._token_mask(token, input_ids, inputs_embeds) for token in self.config.assistant_header_ids]
        turn_starts = torch.zeros_like(guides)
        for token in self.config.turn_start_ids or []:
            turn_starts = turn_starts | self._token_mask(token, input_ids, inputs_embeds)
        return guides & ~find_answers(header, turn_starts)

    def condition_image_features(
        self,
        image_outputs: BaseModelOutputWithPooling,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_length: int = 0,
    ) -> ParrotImageOutput:
        """
        Passes projected image features through the language experts, guided by the text around them (eq. 2 to 5).

        Args:
            image_outputs (`BaseModelOutputWithPooling`): output of `get_image_features`. A `ParrotImageOutput` is
                returned as it is.
            input_ids (`torch.LongTensor` of shape (B, L), *optional*): the whole prompt, or None.
            inputs_embeds (`torch.Tensor` of shape (B, L, C)): word embeddings of the whole prompt.
            attention_mask (`torch.Tensor` of shape (B, L), *optional*): 0 at padding.
            past_length (`int`, *optional*, defaults to 0): number of the prompt's tokens that are in the cache. The
                words among them guide; the images among them are not in `image_outputs`.

        Raises:
            `ValueError`: if a sample's placeholders are not a whole number of images, or if all placeholders together
                are more or fewer than the images need.
        """
        if isinstance(image_outputs, ParrotImageOutput):
            return image_outputs
        features = torch.stack(tuple(image_outputs.pooler_output)).to(
            inputs_embeds.device, inputs_embeds.dtype
        )  # (N, K, C)
        num_images, num_tokens, _ = features.shape
        is_placeholder = self._token_mask(self.config.image_token_id, input_ids, inputs_embeds)  # (B, L)
        placeholders = is_placeholder[:, past_length:].sum(dim=1)  # (B,)
        torch_compilable_check(
            (placeholders % num_tokens == 0).all() & (placeholders.sum() == num_images * num_tokens),
            lambda: _mismatch_message(placeholders.tolist(), num_images, num_tokens, past_length),
        )
        if not self.config.use_experts:
            return ParrotImageOutput(pooler_output=list(features))
        image_index = torch.arange(num_images, device=features.device)
        sample = torch.searchsorted((placeholders // num_tokens).cumsum(0), image_index, right=True)  # (N,)
        # All images share one list of words: a copy for each image would take memory quadratic in N. The words are
        # selected by sorting placeholders to the end; a boolean index would break a compiled graph. The positions
        # themselves are sorted, because transformers' ONNX exporter has no stable argsort and no remainder.
        num_words = is_placeholder.numel() - num_images * num_tokens
        positions = torch.arange(is_placeholder.numel(), device=features.device)
        ordered = (positions + is_placeholder.flatten() * positions.numel()).sort().values[:num_words]
        words = ordered - (ordered >= positions.numel()) * positions.numel()  # (W,), indices into B * L
        guidance_mask = self.get_guidance_mask(input_ids, inputs_embeds, attention_mask).flatten()[words]  # (W,)
        guidance_mask = guidance_mask & (words // inputs_embeds.shape[1] == sample[:, None])  # (N, W)
        # Eq. 2 takes the embeddings as they stand in the table, but Gemma's embedding layer multiplies them by
        # sqrt(C). At that scale, the softmax would choose a single word, mostly a role's token, and the router would
        # choose the same expert for all languages.
        scale = getattr(self.get_input_embeddings(), "scalar_embed_scale", 1.0)
        text_embeds = inputs_embeds.flatten(0, 1)[words] / scale  # (W, C)
        features, router_logits = self.moe(features, text_embeds[None], guidance_mask)
        return ParrotImageOutput(pooler_output=list(features), router_logits=router_logits)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        vision_feature_layer: int | list[int] | None = None,
        vision_feature_select_strategy: str | None = None,
        image_sizes: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        output_router_logits: bool = False,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ParrotModelOutputWithPast:
        """
        As `LlavaModel.forward`, with the images passed through the experts. The cache may also be passed as
        `past_key_values`, its name before transformers 5.24.

        Args:
            pixel_values (`torch.FloatTensor` of shape (N, 3, height, width), *optional*): images in the order of
                their placeholders.
            mm_encoder_outputs (`dict`, *optional*): encoded images in place of `pixel_values`: `{"image": ...}` with
                the output of `get_image_features` or of `condition_image_features`.
            output_router_logits (`bool`, *optional*, defaults to `False`): whether to return the router's logits.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `False`): as in `get_image_features`.

        Raises:
            `ValueError`: if images and placeholders do not match, if images are given twice, or if
                `vision_feature_select_strategy` is not the config's.
        """
        if pixel_values is not None and mm_encoder_outputs is not None:
            raise ValueError("Pass either pixel_values or mm_encoder_outputs, not both.")
        image_outputs = (mm_encoder_outputs or {}).get("image")
        if pixel_values is not None:
            image_outputs = self.get_image_features(
                pixel_values,
                vision_feature_layer,
                vision_feature_select_strategy,
                image_sizes,
                interpolate_pos_encoding,
                return_dict=True,
            )
        if image_outputs is not None:
            text_embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
            image_outputs = self.condition_image_features(image_outputs, input_ids, text_embeds, attention_mask)
            mm_encoder_outputs = {"image": image_outputs}

        cache = kwargs.pop("past_key_values", cache)
        outputs = super().forward(
            input_ids,
            None,  # pixel_values: they are already encoded in mm_encoder_outputs
            attention_mask,
            position_ids,
            cache,  # positional, because its name depends on transformers' version
            inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            **(kwargs | {"return_dict": True}),
        )
        router_logits = image_outputs.router_logits if output_router_logits and image_outputs is not None else None
        return ParrotModelOutputWithPast(**outputs, router_logits=router_logits)


def _keep_positions(hidden_states: torch.Tensor, keep: int | torch.Tensor) -> torch.Tensor:
    """A copy of `transformers.modeling_utils.slice_logits_to_keep`, until 5.24 is the oldest supported version."""
    if isinstance(keep, torch.Tensor) and keep.ndim == 2:
        if keep.dtype == torch.bool:
            return hidden_states[keep]
        return torch.take_along_dim(hidden_states, keep[..., None], dim=1)
    # On a CPU, the bfloat16 product of a non-contiguous slice can take hundreds of times as long:
    # https://github.com/pytorch/pytorch/issues/151934. `contiguous` may go when that issue is closed.
    return hidden_states[:, slice(-keep, None) if isinstance(keep, int) else keep].contiguous()


class ParrotForConditionalGeneration(ParrotPreTrainedModel, LlavaForConditionalGeneration, GenerationMixin):
    """Parrot with a language modeling head, for training and generation."""

    def __init__(self, config: ParrotConfig) -> None:
        ParrotPreTrainedModel.__init__(self, config)  # type: ignore[call-arg]  # mypy does not see its parents
        self.model = ParrotModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        vision_feature_layer: int | list[int] | None = None,
        vision_feature_select_strategy: str | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        image_sizes: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        output_router_logits: bool = False,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ParrotCausalLMOutputWithPast:
        """
        As `LlavaForConditionalGeneration.forward` of transformers 5.24. Images, `output_router_logits`,
        `interpolate_pos_encoding` and errors are as in `ParrotModel`.

        Args:
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0): positions whose logits are computed.
                An int n means the last n positions, and 0 means all. A tensor of shape (M,) holds positions for every
                sample, a tensor of shape (B, M) positions for each sample. A boolean mask of shape (B, L) is True at
                the positions; the logits then have the shape (number of True, vocabulary).
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            vision_feature_layer=vision_feature_layer,
            vision_feature_select_strategy=vision_feature_select_strategy,
            image_sizes=image_sizes,
            mm_encoder_outputs=mm_encoder_outputs,
            output_router_logits=output_router_logits,
            interpolate_pos_encoding=interpolate_pos_encoding,
            **kwargs,
        )
        logits = self.lm_head(_keep_positions(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **kwargs)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return ParrotCausalLMOutputWithPast(loss=loss, logits=logits, **rest)

    def _maybe_prepare_encoder_kwargs_for_generation(
        self,
        inputs_tensor: torch.Tensor,
        model_kwargs: dict[str, Any],
        model_input_name: str | None,
        generation_config: GenerationConfig,
    ) -> dict[str, Any]:
        # generate() encodes images before the prefill. The prefill may be chunked; this method sees the whole prompt.
        model_kwargs = super()._maybe_prepare_encoder_kwargs_for_generation(
            inputs_tensor, model_kwargs, model_input_name, generation_config
        )
        image_outputs = (model_kwargs.get("mm_encoder_outputs") or {}).get("image")
        if image_outputs is not None:
            input_ids = inputs_tensor if model_input_name == "input_ids" else None
            embeds = inputs_tensor if input_ids is None else self.get_input_embeddings()(input_ids)
            cache = model_kwargs.get("cache", model_kwargs.get("past_key_values"))
            mask = model_kwargs.get("attention_mask")
            past_length = 0 if cache is None else cache.get_seq_length()
            # The mask covers the cached tokens, too. If it is longer than inputs_tensor, then inputs_tensor holds only
            # new tokens. generate() may have dropped the mask; it stores the length of a mask that it drops.
            length = getattr(generation_config, "_mask_length", None) if mask is None else mask.shape[1]
            if length is not None and length != inputs_tensor.shape[1]:
                past_length = 0
            conditioned = self.model.condition_image_features(
                image_outputs, input_ids, embeds, mask, past_length=past_length
            )
            model_kwargs["mm_encoder_outputs"] = model_kwargs["mm_encoder_outputs"] | {"image": conditioned}
        return model_kwargs


ParrotModel.register_for_auto_class("AutoModel")
ParrotForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")

__all__ = ["ParrotForConditionalGeneration", "ParrotModel", "ParrotPreTrainedModel"]
