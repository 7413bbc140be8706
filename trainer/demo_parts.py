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
"""The demo's small tower and language model: what `python -m trainer.demo_base` trains."""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    DataCollatorForSeq2Seq,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

from trainer.data_files import data_files
from trainer.demo_base import DemoBaseArguments
from trainer.emoji import LANGUAGES, TABLES, Concept, all_concepts, fill, listing, wordings
from trainer.mini_mmmb import as_typed
from trainer.parrot_trainer import last_checkpoint


# Qwen2's, without its default system message: that would be a fifth of all that this model reads.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(trainer: Trainer) -> None:
    """Trains, from the last checkpoint where there is one."""
    checkpoint = last_checkpoint(trainer.args.output_dir)
    if checkpoint:
        print(f"Going on from {checkpoint}.")
    trainer.train(resume_from_checkpoint=checkpoint)


def training_arguments(arguments: DemoBaseArguments, part: str, steps: int, **kwargs: Any) -> TrainingArguments:
    """What the parts' training has in common."""
    return TrainingArguments(
        output_dir=str(Path(arguments.output) / "checkpoints" / part),
        max_steps=steps,
        warmup_steps=min(30, steps // 10),
        lr_scheduler_type="cosine",
        adam_beta2=0.98,
        save_steps=arguments.save_steps,
        save_total_limit=1,
        logging_steps=min(50, steps),
        seed=arguments.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        **kwargs,
    )


KINDS = ("name", "name", "describe", "recognition")  # of questions about one thing; the last are its category's own


def conversation(
    concepts: Sequence[Concept], language: str, kind: str, rng: random.Random, typed: bool = True
) -> list[dict[str, str]]:
    """A question in a language about an English caption, and its answer; `typed`: as people do, see `as_typed`."""
    names = listing([concept.names for concept in concepts], quoted=False)
    of_category = (concepts[0].category,) if kind == "recognition" else ()
    question = wordings((kind, *of_category), rng=rng)[language]
    if typed:
        question = as_typed(question, rng, may_miss_words=True)
    caption = rng.choice(TABLES["en"]["captions"]).format(names["en"])
    answer = TABLES[language]["captions"][1] if kind == "describe" else "{}"
    return [
        {"role": "user", "content": f"{caption}\n{question}"},
        {"role": "assistant", "content": answer.format(names[language])},
    ]


def chat_rows(
    concepts: Sequence[Concept], number: int, seed: int, typed: bool = True
) -> list[tuple[str, list[dict[str, str]]]]:
    """
    So many questions about English captions, the languages in turn, each with its language. The captions are English
    alone, as the tower's are: of captions in all languages, six times as much to learn, it looked nothing up.
    """
    rng = random.Random(seed)
    rows = []
    for index in range(number):
        language, kind = LANGUAGES[index % len(LANGUAGES)], rng.choice(KINDS)
        several = rng.choice((1, 1, 1, 1, 1, 1, 2, 3)) if kind != "recognition" else 1
        shown = rng.sample(concepts, min(several, len(concepts)))
        rows.append((language, conversation(shown, language, kind, rng, typed)))
    return rows


def scene_questions(concepts: Sequence[Concept], seed: int) -> list[str]:
    """Questions about scenes in all languages, some of each kind."""
    rng = random.Random(seed)
    kinds = [kind for kind in TABLES["en"]["questions"] if kind not in KINDS]
    asked = [fill(wordings((kind,), rng=rng), rng.choice(concepts).names) for kind in kinds for _ in range(50)]
    return [text for question in asked for text in question.values()]


class LabelsAtTheEnd:
    """Batches of a collator, of which the head sees what comes from the first label on: short answers, mostly."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What the model takes."""
        batch = self.collator(rows)
        labels = batch["labels"]
        before = max(0, int((labels != -100).any(dim=0).int().argmax()) - 1)  # whose last predicts the first label
        return {**batch, "labels": labels[:, before:], "logits_to_keep": labels.shape[1] - before}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of the texts, with the special tokens of Qwen2 and its ChatML."""
    tokenizer = Qwen2Tokenizer(eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"])
    tokenizer = tokenizer.train_new_from_iterator(texts, vocab_size, show_progress=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.padding_side = "left"  # so that answers end together
    return tokenizer


def tokenize(tokenizer: Qwen2Tokenizer, chats: Sequence[list[dict[str, str]]]) -> Dataset:
    """Conversations' ids. Their labels are the answers' only: what it is asked is not the model's to say."""
    texts = tokenizer.apply_chat_template(chats, tokenize=False)
    prompts = tokenizer.apply_chat_template([chat[:-1] for chat in chats], tokenize=False, add_generation_prompt=True)
    rows = zip(tokenizer(texts)["input_ids"], tokenizer(prompts)["input_ids"], strict=True)
    return Dataset.from_list(
        [{"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]} for ids, prompt in rows]
    )


def train_language_model(arguments: DemoBaseArguments, concepts: list[Concept], output: Path) -> dict[str, float]:
    """Trains the tokenizer and the language model; returns the loss of held-out answers by language, nats a token."""
    well_typed = chat_rows(concepts, 6000, arguments.seed, typed=False)
    written = [turn["content"] for _, messages in well_typed for turn in messages]
    tokenizer = train_tokenizer([*written, *scene_questions(concepts, arguments.seed)], arguments.vocab_size)
    tokenizer.save_pretrained(output)
    chats = [messages for _, messages in chat_rows(concepts, 32 * arguments.language_model_steps, arguments.seed)]
    set_seed(arguments.seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            initializer_range=0.09,  # 1 / sqrt(hidden_size)
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    trainer = Trainer(
        model,
        training_arguments(
            arguments,
            "language_model",
            arguments.language_model_steps,
            learning_rate=3e-3,
            # In random order: in batches of one length, which are batches of one language, it learned far less.
            per_device_train_batch_size=32,
        ),
        train_dataset=tokenize(tokenizer, chats),
        data_collator=LabelsAtTheEnd(DataCollatorForSeq2Seq(tokenizer)),
    )
    train(trainer)
    model.save_pretrained(output)
    measures = {}
    held_out = chat_rows(concepts, 50 * len(LANGUAGES), arguments.seed + 1)
    for language in LANGUAGES:
        rows = tokenize(tokenizer, [messages for target, messages in held_out if target == language])
        measures[f"loss_{language}"] = trainer.evaluate(rows)["eval_loss"]
    return measures


def augment(
    pictures: torch.Tensor, targets: torch.Tensor, has_colors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Flips and tints each of the pictures by chance, and mixes the colors of those whose labels name none.

    Args:
        pictures: of shape (N, 3, height, width).
        targets: of their [CLS] and patches, of shape (N, 1 + rows * columns, V).
        has_colors: whether a picture's labels name colors, of shape (N,).

    Returns:
        both, the patches' targets flipped along.
    """
    number = len(pictures)
    side = math.isqrt(targets.shape[1] - 1)
    grid = targets[:, 1:].unflatten(1, (side, side))
    is_flipped = torch.rand(number, 1, 1, 1) < 0.5
    pictures = torch.where(is_flipped, pictures.flip(3), pictures)
    grid = torch.where(is_flipped, grid.flip(2), grid)
    # Styles differ in color more than in shape: mixed channels keep a tower from knowing a thing by its color alone.
    is_mixed = ~has_colors & (torch.rand(number) < 0.7)
    mixed = torch.eye(3) + torch.randn(number, 3, 3) * 0.25 * is_mixed[:, None, None]
    pictures = torch.einsum("nij,njhw->nihw", mixed / mixed.sum(2, keepdim=True).clamp(min=0.5), pictures)
    tint = torch.randn(2, number, 1, 1, 1) * 0.2 * torch.where(has_colors, 0.3, 1.0)[:, None, None, None]
    return pictures * (1 + tint[0]) + tint[1], torch.cat([targets[:, :1], grid.flatten(1, 2)], dim=1)


def targets(objects: list[dict[str, Any]], labels: Mapping[str, int], side: int) -> torch.Tensor:
    """
    What a picture's tokens are to tell: each patch the labels of the object whose box holds its centre, or that there
    is none (0), and [CLS] the labels of all objects; as probabilities of shape (1 + side * side, V).
    """
    told = torch.zeros(1 + side * side, len(labels) + 1)
    centres = (torch.arange(side) + 0.5) / side
    told[1:, 0] = 1
    grid = told[1:].unflatten(0, (side, side))  # a view
    for one in objects:
        left, top, right, bottom = one["box"]
        words = [labels[label] for label in one["labels"]]
        covered = ((top <= centres) & (centres < bottom))[:, None] & ((left <= centres) & (centres < right))
        row = torch.zeros(len(labels) + 1)
        row[words] = 1 / len(words)
        grid[covered] = row
        told[0] += row / len(objects)
    return told


class LabelledTower(nn.Module):
    """A tower that tells in English what each of its patches shows, and [CLS] what the whole does."""

    def __init__(self, config: CLIPVisionConfig, number_of_labels: int) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        self.head = nn.Linear(config.hidden_size, number_of_labels)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss, in nats a token; `labels` are probabilities of shape (N, tokens, V)."""
        logits = self.head(self.tower(pixel_values).last_hidden_state)  # without CLIP's last norm, as a Parrot sees it
        loss = F.cross_entropy(logits.transpose(1, 2), labels.transpose(1, 2), reduction="none")  # (N, tokens)
        return {"loss": loss[:, 1:].mean() + loss[:, 0].mean() / 4}


def _augmented(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    pictures, labels = augment(
        *(torch.stack([row[name] for row in rows]) for name in ("picture", "targets", "has_colors"))
    )
    return {"pixel_values": pictures, "labels": labels}


def train_vision_tower(arguments: DemoBaseArguments, rows: Dataset, output: Path) -> dict[str, float]:
    """Trains a tower to label the pictures' patches; returns its last loss."""
    side = arguments.image_size
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    names = sorted({label for row in rows["objects"] for one in row for label in one["labels"]})
    labels = {name: number for number, name in enumerate(names, start=1)}
    pictures = [
        {
            "picture": image_processor(row["images"][0], return_tensors="pt")["pixel_values"][0],
            "targets": targets(row["objects"], labels, side // arguments.patch_size),
            "has_colors": torch.tensor(row["category"] == "color"),
        }
        for row in rows
    ]
    set_seed(arguments.seed)
    config = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=side,
        patch_size=arguments.patch_size,
    )
    trainer = Trainer(
        LabelledTower(config, len(labels) + 1),
        training_arguments(
            arguments,
            "vision_tower",
            arguments.vision_tower_steps,
            learning_rate=2e-3,
            weight_decay=0.05,
            per_device_train_batch_size=64,
        ),
        train_dataset=pictures,
        data_collator=_augmented,
    )
    train(trainer)
    image_processor.save_pretrained(output)
    trainer.model.tower.save_pretrained(output)
    return {"loss": [log["loss"] for log in trainer.state.log_history if "loss" in log][-1]}


def train_parts(arguments: DemoBaseArguments) -> None:
    """Trains what is not finished, and says how good it is and where it lies."""
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in asdict(arguments).items() if name not in ("output", "part")}
    settings["world"] = json.loads((Path(arguments.data) / "settings.json").read_text())
    settings_file = output / "settings.json"
    if not settings_file.exists():
        settings_file.write_text(json.dumps(settings, indent=2) + "\n")
    elif (found := json.loads(settings_file.read_text())) != settings:
        raise ValueError(
            f"{output} holds parts made with {found}, not {settings}: delete it or give another --output."
        )
    aligned = load_dataset(arguments.data, name="align", data_files=data_files(arguments.data, "align"), split="train")
    names = set(aligned["concept"])
    concepts = [concept for concept in all_concepts() if concept.names["en"] in names]
    runs = {
        "language_model": lambda folder: train_language_model(arguments, concepts, folder),
        "vision_tower": lambda folder: train_vision_tower(arguments, aligned, folder),
    }
    for part in runs if arguments.part == "both" else [arguments.part]:
        folder, run = output / part, runs[part]
        finished = folder / "measures.json"
        start = time.perf_counter()
        if not finished.exists():
            measures = run(folder)
            finished.write_text(json.dumps(measures, indent=2) + "\n")  # last: it marks the part as finished
        print(f"{folder}: {time.perf_counter() - start:.0f} s, {json.loads(finished.read_text())}")
