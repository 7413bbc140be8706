# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A Parrot in vLLM, on its Transformers modeling backend.

An image's tokens depend on the prompt's words, but vLLM encodes each image without its prompt, and caches the result
under a hash of the image. So the words are passed along with the image: the multimodal processor makes the prompt's
token ids an option of the image. vLLM hashes an image together with its options. Thus all its caches (processor,
encoder, prefix) distinguish the same image in two prompts, and the model gets both the image and the words.

The tower's output does not depend on the prompt. The tower runs once for an image, however many prompts hold the
image: its output is cached here, under a hash of the image's pixels.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, BatchFeature
from transformers.modeling_outputs import BaseModelOutputWithPooling
from vllm.config import VllmConfig
from vllm.model_executor.models.transformers import TransformersMultiModalForCausalLM
from vllm.model_executor.models.transformers.multimodal import (
    MultiModalDummyInputsBuilder,
    MultiModalProcessingInfo,
    MultiModalProcessor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration, ParrotModel


PROMPT, PIXELS = "parrot_prompt", "parrot_pixels"  # Keys for an image's prompt (token ids) and the hash of its pixels.


class ParrotProcessingInfo(MultiModalProcessingInfo):
    """As `MultiModalProcessingInfo`, but hides the option PROMPT from transformers' processor."""

    def get_hf_processor(self, **kwargs: Any) -> Any:
        """The processor that transformers loads."""
        return super().get_hf_processor(**{name: value for name, value in kwargs.items() if name != PROMPT})


class ParrotMultiModalProcessor(MultiModalProcessor):
    """Sends each image to the model with its prompt's token ids and with a hash of its pixels."""

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As `MultiModalProcessor.apply`, with the prompt's token ids as an option of its images."""
        options = dict(inputs.hf_processor_mm_kwargs) | {PROMPT: np.asarray(inputs.prompt)}
        return super().apply(replace(inputs, hf_processor_mm_kwargs=options), *args, **kwargs)

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        options = dict(hf_kwargs)
        prompt = torch.from_numpy(options.pop(PROMPT))
        hf_inputs = super()._apply_hf_processor_main(mm_items, options)
        if "image_embeds" in hf_inputs:
            raise ValueError("A Parrot's image tokens depend on the prompt: pass the image instead of image_embeds.")
        if "pixel_values" in hf_inputs:
            pixels = hf_inputs["pixel_values"]
            digests = [hashlib.sha256(image.contiguous().view(torch.uint8).numpy()).digest() for image in pixels]
            hf_inputs[PROMPT] = [prompt] * len(pixels)
            hf_inputs[PIXELS] = [torch.frombuffer(bytearray(digest), dtype=torch.uint8) for digest in digests]
        return hf_inputs

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))
        return fields | {name: MultiModalFieldConfig.batched("image", keep_on_cpu=True) for name in (PROMPT, PIXELS)}


@MULTIMODAL_REGISTRY.register_processor(
    ParrotMultiModalProcessor, info=ParrotProcessingInfo, dummy_inputs=MultiModalDummyInputsBuilder
)
class ParrotForVLLM(TransformersMultiModalForCausalLM):
    """Tower, projector and experts as transformers runs them; vLLM's attention and head for the language model."""

    # Number of images whose H is cached in host memory: 1 GB in bfloat16 for CLIP-L/14-336 and a 7B language model.
    max_kept_images = 256

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        ParrotModel.engine_runs_experts = True
        AutoModel.register(ParrotConfig, ParrotModel, exist_ok=True)  # without a head, because vLLM adds its own
        try:
            super().__init__(vllm_config=vllm_config, prefix=prefix)
        finally:
            AutoModel.register(ParrotConfig, ParrotForConditionalGeneration, exist_ok=True)
        for module in self.model.vision_tower.modules():
            if hasattr(module, "use_head"):
                # Nothing reads SigLIP's pooled output, and its attention cannot run on a CPU with the layers that vLLM
                # puts into it.
                module.use_head = False
        self.kept: OrderedDict[bytes, torch.Tensor] = OrderedDict()  # pixels' hash -> H of eq. 1, (K, C)

    def embed_multimodal(self, **kwargs: Any) -> list[torch.Tensor]:
        """
        The tokens G of eq. 5 of each image, (K, C).

        Args:
            pixel_values, num_image_patches: as in vLLM's backend.
            parrot_prompt, parrot_pixels: for each image, its prompt's token ids and the hash of its pixels.
        """
        prompts, keys = kwargs.pop(PROMPT), [bytes(key.tolist()) for key in kwargs.pop(PIXELS)]
        features = torch.stack(self._encode(keys, **kwargs))  # (N, K, C)
        mark = self.config.image_token_id
        # In these prompts, each image is a single mark. Each row gets its prompt's words, and after them one image.
        ids = pad_sequence(list(prompts), batch_first=True, padding_value=mark).to(features.device)  # (N, L)
        image = ids.new_full(features.shape[:2], mark)  # (N, K)
        embeds = self.embed_input_ids(torch.cat([ids, image], dim=1))
        is_word = ids != mark
        conditioned = self.model.condition_image_features(
            BaseModelOutputWithPooling(pooler_output=features),
            input_ids=torch.cat([ids.where(is_word, -1), image], dim=1),  # -1 is neither a word nor the image
            inputs_embeds=embeds,
            attention_mask=torch.cat([is_word, torch.ones_like(image, dtype=torch.bool)], dim=1),
        )
        return conditioned.pooler_output

    def _encode(self, keys: list[bytes], **kwargs: Any) -> list[torch.Tensor]:
        """H of eq. 1 of each image. The tower runs only for images that are not cached."""
        # If an image is here twice, the tower runs twice: vLLM measures its peak memory with copies of one image.
        missing = [index for index, key in enumerate(keys) if key not in self.kept]
        new = {}
        if missing:
            features = super().embed_multimodal(**{name: value[missing] for name, value in kwargs.items()})
            new = dict(zip(missing, features, strict=True))
        device = self.device_config.device
        encoded = [new[i] if i in new else self.kept[key].to(device) for i, key in enumerate(keys)]
        for index, key in enumerate(keys):
            self.kept[key] = new[index].cpu() if index in new else self.kept[key]
            self.kept.move_to_end(key)
        while len(self.kept) > self.max_kept_images:
            self.kept.popitem(last=False)
        return encoded
