# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
The answerers of a benchmark: a Parrot, in several ways, and the baselines that it has to beat. `find_participant` in
benchmark_runs.py reads their names.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import chain, takewhile
from math import ceil
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from datasets import Dataset, List, load_dataset
from datasets import Image as ImageFeature
from PIL import Image, ImageOps
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    BatchEncoding,
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
    StoppingCriteria,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling

from trainer.common.data_files import data_files
from trainer.common.pictures import open_picture
from trainer.evaluation.benchmark_files import Question, open_image
from trainer.evaluation.result_types import Answer, Reply
from trainer.evaluation.written_answers import named_letter


IMAGES_AT_ONCE = 64  # Number of images whose features are in memory together, for all questions about them.
Way = Literal["generate", "open", "letter", "text", "pmi"]


def decode_greedily(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """
    Makes a model decode greedily. The checkpoint's generation config may sample or penalise repetition, and `generate`
    takes from it all settings that its arguments do not set.
    """
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=model.generation_config.eos_token_id or processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
        suppress_tokens=model.generation_config.suppress_tokens,
    )


class Answerer:
    """Answers questions. This base class answers at random."""

    def encode(self, questions: list[Question]) -> list[Any]:
        """Encodes each question's picture. The result serves all questions about the same picture."""
        return [None] * len(questions)

    def lengths(self, questions: list[Question]) -> list[int]:
        """The length of each question. Questions of similar length are answered in one batch."""
        return [0] * len(questions)

    def answer(self, questions: list[Question], encoded: list[Any]) -> list[Reply]:
        """Answers the questions in one batch, with a reply to each."""
        letters = [random.Random(" ".join(question.key)).choice(list(question.options)) for question in questions]
        return [{"prediction": letter, "letter": letter} for letter in letters]


class PixelNeighbors(Answerer):
    """
    Compares raw pixels: the answer is the option whose captioned training pictures are nearest to the picture. If an
    option has no captioned picture, there is no answer.

    Args:
        dataset: a folder of `trainer.mini_mmmb`.
        english: the English questions; their options have the same names as the captions.
    """

    def __init__(self, dataset: str, english: Mapping[str, Question]) -> None:
        by_concept = defaultdict(list)
        for number, row in enumerate(captioned_pictures(dataset), start=1):
            content = row["images"][0]["bytes"]
            vector = _thing_vector(open_picture(content, f"{dataset}, caption {number}: the image"))
            by_concept[row["concept"]].append(vector)
        self.vectors = {name: np.stack(vectors) for name, vectors in by_concept.items()}
        self.english = english

    def encode(self, questions: list[Question]) -> list[np.ndarray]:
        """The thing in each picture, as a vector of pixels."""
        return [_thing_vector(open_image(question)) for question in questions]

    def answer(self, questions: list[Question], encoded: list[np.ndarray]) -> list[Reply]:
        """As `Answerer.answer`; the reply is empty if an option has no captioned picture."""
        answers: list[Reply] = []
        for question, vector in zip(questions, encoded, strict=True):
            names = self.english[question.index].options
            if all(name in self.vectors for name in names.values()):
                distances = {
                    letter: ((self.vectors[name] - vector) ** 2).mean(axis=1).min() for letter, name in names.items()
                }
                letter = min(distances, key=distances.__getitem__)
                answers.append({"prediction": letter, "letter": letter})
            else:
                answers.append({})
        return answers


def captioned_pictures(dataset: str) -> Dataset:
    """Returns the captioned pictures of a data set of `trainer.mini_mmmb`; a `ValueError` if it has none."""
    try:
        rows = load_dataset(dataset, "align", data_files=data_files(dataset, "align"), split="train")
    except Exception as error:  # datasets raises one class for a file, others for a configuration and a split
        raise ValueError(f"{dataset} has no captioned pictures: give a folder of trainer.mini_mmmb.") from error
    return rows.cast_column("images", List(ImageFeature(decode=False)))


def _thing_vector(image: Image.Image) -> np.ndarray:
    """Crops the thing before a plain background, scales it to 32 x 32 pixels over white, and makes it a vector."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.int16)
    rows, columns = np.nonzero(np.abs(pixels - pixels[0, 0]).max(axis=2) > 24)  # more than JPEG's noise
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
    crop = ImageOps.contain(image.convert("RGB").crop(box), (30, 30), Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.pad(crop, (32, 32), color="white"), dtype=np.float32).ravel() / 255


class OptionTokens(NamedTuple):
    """
    The tokens of an option after a prompt. They differ from the tokens of the option's text alone, because
    SentencePiece puts a space before a text. If the option merges with the end of the prompt, `instead` replaces the
    last `removed` tokens of the prompt.
    """

    removed: int
    instead: list[int]
    own: list[int]


class _FewLeft(StoppingCriteria):
    """
    Stops a batch some tokens after three quarters of its answers have ended. It is faster to ask the other questions
    again, in a smaller batch, than to run the whole batch up to the longest answer.
    """

    PATIENCE = 8  # in tokens; to read a quarter of the prompts again takes about as long

    def __init__(self, ends: int | list[int], prompt_length: int) -> None:
        self.ends, self.prompt_length, self.waited = ends, prompt_length, 0

    def have_ended(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Mask of the answers that have ended, (B,)."""
        answers = input_ids[:, self.prompt_length :]
        return torch.isin(answers, torch.tensor(self.ends, device=answers.device)).any(dim=1)

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_kwargs: Any) -> torch.Tensor:
        """Whether to stop, (B,)."""
        self.waited += int(4 * self.have_ended(input_ids).sum() >= 3 * len(input_ids))
        return torch.full((len(input_ids),), self.waited > self.PATIENCE and len(input_ids) > 1).to(input_ids.device)


class ParrotAnswerer(Answerer):
    """
    Answers with a Parrot.

    Args:
        model: a Parrot in eval mode; its decoding becomes greedy.
        processor: the model's processor.
        way: how it answers. `generate` writes an answer, greedily. `open` writes an answer to the question without its
            options; the option that this answer names is its choice. The other ways choose the likeliest option in one
            forward pass: `letter` by the log-likelihood of the option's letter; `text` by the mean log-likelihood of
            the option's tokens and of the turn's end, after the question without its options; `pmi` by the difference
            that the picture makes to the sum of these log-likelihoods.
        max_new_tokens: longest answer of `generate` and `open`, in tokens.
        is_blind: whether the questions are asked without their pictures.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        way: Way,
        max_new_tokens: int = 512,
        is_blind: bool = False,
    ) -> None:
        self.model, self.processor, self.way, self.is_blind = model, processor, way, is_blind
        self.max_new_tokens = max_new_tokens
        decode_greedily(model, processor)

    def _prompt(self, question: Question) -> str:
        return question.open_prompt if self.way in ("open", "text", "pmi") else question.prompt

    def lengths(self, questions: list[Question]) -> list[int]:
        """The lengths of the prompts, in tokens."""
        return list(map(len, self.processor.tokenizer(list(map(self._prompt, questions)))["input_ids"]))

    @torch.inference_mode()
    def encode(self, questions: list[Question]) -> list[torch.Tensor] | list[None]:
        """Each picture's tokens H (eq. 1), of shape (K, C), before the experts; None if blind."""
        if self.is_blind:
            return [None] * len(questions)
        pictures = [[open_image(question)] for question in questions]
        inputs = self.processor(
            images=pictures, text=[self.processor.image_token] * len(questions), return_tensors="pt"
        )
        pixel_values = inputs["pixel_values"].to(self.model.device, self.model.dtype)
        return list(self.model.get_image_features(pixel_values, return_dict=True).pooler_output)

    @torch.inference_mode()
    def answer(self, questions: list[Question], encoded: list[torch.Tensor | None]) -> list[Reply]:
        """As `Answerer.answer`."""
        prompts = list(map(self._prompt, questions))
        features = [picture for picture in encoded if picture is not None]
        inputs, images = self._prepare(questions, prompts, None if self.is_blind else features)
        answers: list[Reply]
        if self.way == "generate":
            answers = [{"prediction": text} for text in self._generate(inputs, images)]
        elif self.way == "open":
            answers = [
                {"prediction": text, "letter": named_letter(text, question.options)}
                for text, question in zip(self._generate(inputs, images), questions, strict=True)
            ]
        else:
            options = [
                list(question.options if self.way == "letter" else question.options.values()) for question in questions
            ]
            tokens = self._log_likelihoods(inputs, images, options)
            if self.way == "pmi":
                blind_tokens = self._log_likelihoods(*self._prepare(questions, prompts, None), options)
                scores = [
                    [sum(option) - sum(blind_option) for option, blind_option in zip(*rows, strict=True)]
                    for rows in zip(tokens, blind_tokens, strict=True)
                ]
            else:
                scores = [[sum(option) / len(option) for option in row] for row in tokens]
            answers = []
            for question, row in zip(questions, scores, strict=True):
                letter = list(question.options)[int(np.argmax(row))]
                answers.append({"prediction": letter, "letter": letter, "scores": row})
        router_logits = None if images is None else images.router_logits
        if router_logits is not None:
            for answer, weights in zip(answers, router_logits.float().softmax(dim=-1).tolist(), strict=True):
                answer["router"] = weights
        return [{"prompt": prompt, **answer} for prompt, answer in zip(prompts, answers, strict=True)]

    def _prepare(
        self, questions: list[Question], prompts: list[str], features: list[torch.Tensor] | None
    ) -> tuple[BatchEncoding, BaseModelOutputWithPooling | None]:
        """The tokens of B prompts as chats, with left padding, and the images after the experts."""
        mark = self.processor.image_token
        chats = []
        for question, prompt in zip(questions, prompts, strict=True):
            if any(mark in text for text in (prompt, *question.options.values())):
                raise ValueError(
                    f"{question.place or question.key}: the text holds {mark!r}, the mark of an image. Remove it."
                )
            content = [{"type": "image"}] * (features is not None) + [{"type": "text", "text": prompt}]
            chat = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            chats.append(chat.replace(mark, mark * self.model.config.image_seq_length))
        inputs = self.processor.tokenizer(
            chats, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
        ).to(self.model.device)
        if features is None:
            return inputs, None
        return inputs, self.model.base_model.condition_image_features(
            BaseModelOutputWithPooling(pooler_output=features),
            inputs["input_ids"],
            self.model.get_input_embeddings()(inputs["input_ids"]),
            inputs["attention_mask"],
        )

    def _generate(self, inputs: BatchEncoding, images: BaseModelOutputWithPooling | None) -> list[str]:
        ends = self.model.generation_config.eos_token_id
        rows = list(range(len(inputs["input_ids"])))  # the questions without a whole answer
        texts = [""] * len(rows)
        while rows:
            few_left = _FewLeft(ends, inputs["input_ids"].shape[1])
            features = images and replace(images, pooler_output=[images.pooler_output[row] for row in rows])
            tokens = self.model.generate(
                input_ids=inputs["input_ids"][rows],
                attention_mask=inputs["attention_mask"][rows],
                mm_encoder_outputs=features and {"image": features},
                max_new_tokens=self.max_new_tokens,
                stopping_criteria=[few_left],
            )
            answers = tokens[:, inputs["input_ids"].shape[1] :]
            is_whole = few_left.have_ended(tokens) | (answers.shape[1] >= self.max_new_tokens)
            for row, text in zip(rows, self.processor.batch_decode(answers, skip_special_tokens=True), strict=True):
                texts[row] = text.strip()
            rows = [row for row, whole in zip(rows, is_whole.tolist(), strict=True) if not whole]
        return texts

    @cached_property
    def _answer_markup(self) -> tuple[str, str]:
        """A short prompt as the chat template writes it, and the markup that the template writes after an answer."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "A"}]
        prompt = self.processor.apply_chat_template(chat[:1], add_generation_prompt=True, tokenize=False)
        whole = self.processor.apply_chat_template(chat, tokenize=False)
        return prompt, whole.removeprefix(f"{prompt}A").rstrip()

    def _encode_options(self, options: list[str]) -> dict[str, OptionTokens]:
        """The tokens of options as they stand in a chat, the same as the labels in training."""
        prompt, end = self._answer_markup
        tokenizer = self.processor.tokenizer
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # The template strips the start of an answer. A letter is scored without the turn's end.
        texts = [prompt + option.lstrip() + end * (self.way != "letter") for option in options]
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        option_tokens = {}
        for option, ids, offsets in zip(options, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            start = sum(token_end <= len(prompt) for _, token_end in offsets)
            pairs = zip(ids[:start], before, strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            option_tokens[option] = OptionTokens(len(before) - same, ids[same:start], ids[start:])
        return option_tokens

    @cached_property
    def _can_share_prompts(self) -> bool:
        """
        Whether several options can continue from the cache of one prompt. This is certain for attention only. The
        caches of recurrent layers cannot be repeated by row, and some recurrent layers forget the prompt when several
        tokens follow it at once: in transformers 5.24, the layers of Jamba and Zamba do. The layers of other models
        were fixed in https://github.com/huggingface/transformers/pull/46741. This may go when every layer of
        `transformers.cache_utils` has `batch_select_indices` and these two are fixed.
        """
        token = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
        output = self.model.base_model(input_ids=token, use_cache=True)
        cache = output.get("cache", output.get("past_key_values"))  # its name before transformers 5.24
        attention = (DynamicLayer, DynamicSlidingWindowLayer)
        return type(cache) is DynamicCache and all(type(layer) in attention for layer in cache.layers)

    def _log_likelihoods(
        self, inputs: BatchEncoding, images: BaseModelOutputWithPooling | None, options: list[list[str]]
    ) -> list[list[list[float]]]:
        """The log-likelihoods of the options' tokens, in nats, by question and option."""
        tokens = self._encode_options(list(dict.fromkeys(chain(*options))))
        encoded = [tokens[text] for text in chain(*options)]  # O options
        ids = [option.own for option in encoded]
        rows = torch.arange(len(options)).repeat_interleave(torch.tensor(list(map(len, options))))  # (O,)
        is_merged = any(option.removed or option.instead for option in encoded)
        if not is_merged and (max(map(len, ids)) == 1 or self._can_share_prompts):
            hidden = self._continue_prompts(inputs, images, rows.to(self.model.device), ids)
        else:
            hidden = self._repeat_prompts(inputs, images, rows.tolist(), encoded, batch_size=len(options))
        # Only positions that predict a token of an option pass the head: a large vocabulary makes it most of the work.
        logits = self.model.get_output_embeddings()(hidden).float()  # (tokens, V)
        labels = torch.tensor(list(chain(*ids)), device=logits.device)
        scores = iter((-F.cross_entropy(logits, labels, reduction="none")).split(list(map(len, ids))))
        return [[next(scores).tolist() for _ in row] for row in options]

    def _continue_prompts(
        self,
        inputs: BatchEncoding,
        images: BaseModelOutputWithPooling | None,
        rows: torch.Tensor,
        ids: list[list[int]],
    ) -> torch.Tensor:
        """The hidden states that predict the options' tokens, (tokens, C). Options continue their prompt's cache."""
        length = max(map(len, ids))
        prompt_mask = inputs["attention_mask"]  # (B, L)
        prompt_outputs = self.model.base_model(
            input_ids=inputs["input_ids"],
            attention_mask=prompt_mask,
            position_ids=(prompt_mask.cumsum(1) - 1).clamp(min=0),
            mm_encoder_outputs=images and {"image": images},
            use_cache=length > 1,
        )
        answers, mask = _pad(ids, rows.device)  # (O, T)
        hidden = prompt_outputs.last_hidden_state[rows, -1:]  # (O, 1, C)
        if length > 1:
            cache_name = "cache" if "cache" in prompt_outputs else "past_key_values"  # before transformers 5.24
            prompt_outputs[cache_name].batch_select_indices(rows)
            whole_mask = torch.cat([prompt_mask[rows], mask], dim=1)
            option_outputs = self.model.base_model(
                input_ids=answers,
                attention_mask=whole_mask,
                position_ids=(whole_mask.cumsum(1) - 1)[:, -length:],
                **{cache_name: prompt_outputs[cache_name]},
            )
            hidden = torch.cat([hidden, option_outputs.last_hidden_state[:, :-1]], dim=1)
        return hidden[mask.bool()]

    def _repeat_prompts(
        self,
        inputs: BatchEncoding,
        images: BaseModelOutputWithPooling | None,
        rows: list[int],
        encoded: list[OptionTokens],
        batch_size: int,
    ) -> torch.Tensor:
        """As `_continue_prompts`, but each option has its own prompt, with right padding and without a cache."""
        prompts = [
            ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        ]
        chats = [
            (row, prompts[row][: len(prompts[row]) - option.removed] + option.instead, option.own)
            for row, option in zip(rows, encoded, strict=True)
        ]
        hidden = []
        for start in range(0, len(chats), batch_size):
            batch = chats[start : start + batch_size]
            input_ids, mask = _pad([prompt + own for _, prompt, own in batch], self.model.device)
            features = images and replace(images, pooler_output=[images.pooler_output[row] for row, _, _ in batch])
            states = self.model.base_model(
                input_ids=input_ids,
                attention_mask=mask,
                mm_encoder_outputs=features and {"image": features},
                use_cache=False,
            ).last_hidden_state
            hidden += [
                state[len(prompt) - 1 : len(prompt) + len(own) - 1]
                for state, (_, prompt, own) in zip(states, batch, strict=True)
            ]
        return torch.cat(hidden)


def _pad(ids: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of tokens with right padding, and their mask."""
    length = max(map(len, ids))
    padded = torch.tensor([row + [0] * (length - len(row)) for row in ids], device=device)
    return padded, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids], device=device)


def ask_all(
    answerer: Answerer, questions: list[Question], done: set[tuple[str, str]], batch_size: int, part: tuple[int, int]
) -> Iterator[list[Answer]]:
    """
    Asks all questions in batches. The batches depend on the questions only, so neither the number of processes nor an
    interruption changes an answer. A picture is encoded once for all questions about it, in any language.

    Args:
        done: keys of questions that need not be asked again.
        part: the rank of this process and the number of processes. The processes share the pictures.

    Yields:
        the answers of a batch. A question without a reply has no answer.
    """
    by_image: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_image[question.image].append(question)
    images = list(by_image)
    # The sizes of the groups differ by at most one. The number of groups is a multiple of 8, so that 2, 4 or 8
    # processes have equal shares. With few images, there are fewer groups, of at least 8 images each.
    number_of_groups = min(
        8 * ceil(len(images) / (8 * IMAGES_AT_ONCE)), max(ceil(len(images) / IMAGES_AT_ONCE), len(images) // 8)
    )
    groups = [images[start::number_of_groups] for start in range(number_of_groups)]
    rank, num_processes = part
    own_groups = groups[rank::num_processes]
    with tqdm(
        total=sum(len(by_image[image]) for group in own_groups for image in group), desc="questions", disable=rank > 0
    ) as progress:
        for group in own_groups:
            in_group = [question for image in group for question in by_image[image]]
            lengths = answerer.lengths(in_group)
            by_length = [in_group[index] for index in sorted(range(len(in_group)), key=lengths.__getitem__)]
            encoded: dict[str, Any] = {}
            for first in range(0, len(by_length), batch_size):
                batch = by_length[first : first + batch_size]
                if any(question.key not in done for question in batch):
                    new = list(
                        {question.image: question for question in batch if question.image not in encoded}.values()
                    )
                    if new:
                        encoded |= zip((question.image for question in new), answerer.encode(new), strict=True)
                    answers = answerer.answer(batch, [encoded[question.image] for question in batch])
                    yield [
                        {"index": question.index, "language": question.language, **answer}
                        for question, answer in zip(batch, answers, strict=True)
                        if answer
                    ]
                progress.update(len(batch))
