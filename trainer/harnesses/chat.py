# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A Parrot that answers the harnesses' chats, with the decoding of trainer/benchmark.py."""

from typing import Any

import torch
from transformers import AutoModel, AutoProcessor

from trainer.common.sources import check_parrot
from trainer.evaluation.answerers import decode_greedily
from trainer.harnesses import MAX_NEW_TOKENS


class ParrotChat:
    """
    A Parrot that answers chats.

    Args:
        name: folder or Hub id.
        revision: branch, tag or commit on the Hub.
        device_map: the argument of `from_pretrained`.
    """

    def __init__(
        self, name: str, revision: str | None = None, device_map: str | dict[str, torch.device] = "auto"
    ) -> None:
        check_parrot(name, "model", revision=revision)
        options = {"trust_remote_code": True, "revision": revision}
        self.model = AutoModel.from_pretrained(name, device_map=device_map, **options).eval()
        self.processor = AutoProcessor.from_pretrained(name, **options)
        decode_greedily(self.model, self.processor)

    @torch.inference_mode()
    def answer(
        self, chats: list[list[dict[str, Any]]], max_new_tokens: int = MAX_NEW_TOKENS, **sampling: Any
    ) -> list[str]:
        """
        Answers chats in one batch.

        Args:
            chats: conversations, as transformers' chat templates take them.
            max_new_tokens: longest answer, in tokens.
            sampling: arguments of `generate`. Without them, decoding is greedy.
        """
        inputs = self.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        ).to(self.model.device, self.model.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
        answers = tokens[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(answers, skip_special_tokens=True)]
