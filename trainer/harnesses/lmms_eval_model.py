# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Parrot as a model of lmms-eval, found by its name through the entry point in pyproject.toml:

    lmms-eval --model parrot --model_args pretrained=org/parrot --batch_size 16 --tasks mme,mmstar,pope
    lmms-eval --model parrot --model_args pretrained=org/parrot --batch_size 16 \
        --include_path trainer/harnesses/lmms_eval_tasks --tasks mini_mmmb,mmmb,mmbench_multilingual

lmms-eval's own `--model huggingface` loads every model in bfloat16 and passes audio, which transformers refuses.
"""

from typing import Any

import torch
from accelerate import PartialState
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.api.registry import register_model
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from lmms_eval.utils import Collator
from tqdm.auto import tqdm

from trainer.harnesses.chat import ParrotChat


FOR_OTHER_MODELS = ("image_aspect_ratio",)  # Generation arguments of tasks that only LLaVA's wrapper takes.


@register_model("parrot")
class LmmsEvalParrot(lmms):
    """
    A Parrot.

    Args:
        pretrained: folder or Hub id.
        revision: branch, tag or commit on the Hub.
        batch_size: number of questions that are answered together.
        max_batch_size, device: not used; lmms-eval passes them. accelerate chooses the device.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        state = PartialState()
        device_map = "auto" if state.num_processes == 1 else {"": state.device}
        self.chat, self.batch_size = ParrotChat(pretrained, revision, device_map), int(batch_size)

    @property
    def device(self) -> torch.device:
        """The device on which lmms-eval gathers the results of all processes."""
        return self.chat.model.device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers, in the order of the requests."""
        # The questions of a batch have the same generation arguments and similar lengths.
        collator = Collator(
            [request.args for request in requests],
            sort_fn=lambda arguments: len(arguments[0]),
            group_fn=lambda arguments: arguments[2],
            grouping=True,
        )
        answers = []
        with tqdm(total=len(requests), desc="questions", disable=self.rank > 0) as progress:
            for batch in collator.get_batched(n=self.batch_size):
                contexts, chats_of, kwargs, documents, tasks, splits = zip(*batch, strict=True)
                chats = [
                    ChatMessages(messages=chat_of(self.task_dict[task][split][document])).to_hf_messages()
                    for chat_of, document, task, split in zip(chats_of, documents, tasks, splits, strict=True)
                ]
                for context, answer in zip(contexts, self._answer(chats, **kwargs[0]), strict=True):
                    self.cache_hook.add_partial("generate_until", (context, kwargs[0]), answer)
                    answers.append(answer)
                progress.update(len(batch))
        return collator.get_original(answers)

    def _answer(
        self, chats: list[list[dict[str, Any]]], until: str | list[str] | None = None, **kwargs: Any
    ) -> list[str]:
        for name in FOR_OTHER_MODELS:
            kwargs.pop(name, None)
        # As in lmms-eval's own wrappers, the temperature decides whether to sample.
        kwargs["do_sample"] = kwargs.get("temperature", 0) > 0
        if not kwargs["do_sample"]:
            for name in ("temperature", "top_p", "top_k"):
                kwargs.pop(name, None)
        answers = self.chat.answer(chats, **kwargs)
        for stop in [until] if isinstance(until, str) else until or []:
            answers = [answer.split(stop)[0].strip() for answer in answers]
        return answers

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not supported."""
        raise NotImplementedError("Parrot answers tasks of output_type generate_until, not of loglikelihood.")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not supported."""
        raise NotImplementedError("Parrot answers tasks of output_type generate_until, not of multiple rounds.")


manifest = ModelManifest(model_id="parrot", chat_class_path=f"{__name__}.LmmsEvalParrot")
