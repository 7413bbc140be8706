# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the demo's small vision tower and small language model, for `python -m trainer.demo_base`."""

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from trainer.common.data_files import data_files
from trainer.demo_base import DemoBaseArguments
from trainer.toy_world.emoji import LANGUAGES, TABLES, Concept, all_concepts, fill, listing, use_languages, wordings
from trainer.toy_world.world import as_typed
from trainer.training.parrot_trainer import last_checkpoint


# Qwen2's chat template without its default system message. That message would be a fifth of all training text.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(trainer: Trainer) -> None:
    """Trains from the last checkpoint, if there is one."""
    trainer.train(resume_from_checkpoint=last_checkpoint(trainer.args.output_dir))


def soap(model: PreTrainedModel, weight_decay: float) -> torch.optim.Optimizer:
    """
    An optimizer that needs about half as many steps as AdamW here, each a third slower (https://arxiv.org/abs/2409.11321).
    The side of the embeddings that is longer than `max_precondition_dim` is treated as in Adam.
    """
    from pytorch_optimizer import SOAP  # noqa: PLC0415  # an extra: without it, one_line_errors says how to install it

    return SOAP(model.parameters(), lr=3e-3, betas=(0.95, 0.95), weight_decay=weight_decay, max_precondition_dim=600)


def training_arguments(arguments: DemoBaseArguments, part: str, steps: int, **kwargs: Any) -> TrainingArguments:
    """The training arguments that both parts share."""
    return TrainingArguments(
        output_dir=str(Path(arguments.output) / "checkpoints" / part),
        max_steps=steps,
        warmup_steps=min(30, steps // 10),
        lr_scheduler_type="cosine",
        save_steps=arguments.save_steps,
        save_total_limit=1,
        logging_steps=min(50, steps),
        seed=arguments.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        **kwargs,
    )


# The kinds of questions about a caption. Half of the questions ask for the name.
KINDS = ("name", "name", "describe", "recognition")


def conversation(
    concepts: Sequence[Concept], language: str, kind: str, rng: random.Random, typed: bool = True
) -> list[dict[str, str]]:
    """
    An English caption with a question in a language, and the answer. If `typed`, `as_typed` changes the question.
    """
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
    Conversations about captions, each with the language of its question. The languages alternate. The captions are in
    English, like those of the vision tower. From captions in all languages the model learned far fewer names in the
    same time.
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
    """Questions about scenes, in all languages: fifty of each kind."""
    rng = random.Random(seed)
    kinds = [kind for kind in TABLES["en"]["questions"] if kind not in KINDS]
    questions = [fill(wordings((kind,), rng=rng), rng.choice(concepts).names) for kind in kinds for _ in range(50)]
    return [text for question in questions for text in question.values()]


class AnswerCollator:
    """Collates batches, and lets the model compute logits for the answers only: they are short and come last."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The model's arguments."""
        batch = self.collator(rows)
        labels = batch["labels"]
        # The token before the first label predicts it.
        start = max(0, int((labels != -100).any(dim=0).int().argmax()) - 1)
        return {**batch, "labels": labels[:, start:], "logits_to_keep": labels.shape[1] - start}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Trains a byte-level BPE tokenizer on the texts, with the special tokens of Qwen2 and its ChatML."""
    tokenizer = Qwen2Tokenizer(eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"])
    tokenizer = tokenizer.train_new_from_iterator(texts, vocab_size, show_progress=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tokenize(tokenizer: Qwen2Tokenizer, chats: Sequence[list[dict[str, str]]]) -> Dataset:
    """The token ids of conversations. Only the answers have labels: the model does not learn to write questions."""
    texts = tokenizer.apply_chat_template(chats, tokenize=False)
    prompts = tokenizer.apply_chat_template([chat[:-1] for chat in chats], tokenize=False, add_generation_prompt=True)
    rows = zip(tokenizer(texts)["input_ids"], tokenizer(prompts)["input_ids"], strict=True)
    return Dataset.from_list(
        [{"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]} for ids, prompt in rows]
    )


def train_language_model(arguments: DemoBaseArguments, concepts: list[Concept], output: Path) -> dict[str, float]:
    """Trains the tokenizer and the language model. Returns the held-out loss by language, in nats per token."""
    rows = chat_rows(concepts, 6000, arguments.seed, typed=False)
    texts = [turn["content"] for _, messages in rows for turn in messages]
    tokenizer = train_tokenizer([*texts, *scene_questions(concepts, arguments.seed)], arguments.vocab_size)
    tokenizer.padding_side = "left"  # so that the answers of a batch end at the same position
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
            # The order is random. Batches of similar lengths are batches of one language: with them the model learned
            # far less.
            per_device_train_batch_size=32,
        ),
        train_dataset=tokenize(tokenizer, chats),
        data_collator=AnswerCollator(DataCollatorForSeq2Seq(tokenizer)),
        optimizers=(soap(model, weight_decay=0.0), None),
    )
    train(trainer)
    model.save_pretrained(output)
    measures = {}
    held_out = chat_rows(concepts, 50 * len(LANGUAGES), arguments.seed + 1)
    for language in LANGUAGES:
        rows = tokenize(tokenizer, [messages for target, messages in held_out if target == language])
        measures[f"loss_{language}"] = trainer.evaluate(rows)["eval_loss"]
    return measures


def augment(pictures: torch.Tensor) -> torch.Tensor:
    """Flips, rotates, shears, scales, shifts and tints each picture at random."""
    number = len(pictures)
    angle, shear, *shift = (torch.rand(4, number) - 0.5) * 0.34
    scale, aspect = 1 + (torch.rand(2, number) - 0.5) * 0.34
    flip = torch.randint(2, (number,)) * 2 - 1
    affine = torch.zeros(number, 2, 3)
    affine[:, 0, 0] = angle.cos() * scale * aspect * flip
    affine[:, 0, 1] = shear - angle.sin() * scale
    affine[:, 1, 0] = angle.sin() * scale * flip
    affine[:, 1, 1] = angle.cos() * scale / aspect
    affine[:, :, 2] = torch.stack(shift, dim=1)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    pictures = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    # Styles differ more in colour than in shape. Mixed channels keep the tower from recognising a thing by its colour.
    mixing = torch.eye(3) + torch.randn(number, 3, 3) * 0.25 * (torch.rand(number, 1, 1) < 0.7)
    pictures = torch.einsum("nij,njhw->nihw", mixing / mixing.sum(2, keepdim=True).clamp(min=0.5), pictures)
    return pictures * (1 + torch.randn(number, 1, 1, 1) * 0.2) + torch.randn(number, 1, 1, 1) * 0.2


class PictureCaptions(torch.utils.data.Dataset):
    """
    Pictures with their English captions. The pictures of a batch show different concepts, so that each caption fits
    only its own picture.
    """

    def __init__(
        self, rows: Dataset, tokenizer: Qwen2Tokenizer, image_processor: CLIPImageProcessorPil, batches: int, seed: int
    ) -> None:
        self.pixel_values = torch.cat(
            [image_processor(row["images"][0], return_tensors="pt")["pixel_values"] for row in rows]
        )
        self.concepts: list[str] = rows["concept"][:]
        self.names = sorted(set(self.concepts))
        # CLIP takes the embedding of a text at its end token.
        wordings = [text + tokenizer.eos_token for text in TABLES["en"]["captions"]]
        texts = [wording.format(name) for name in self.names for wording in wordings]
        self.texts = tokenizer(texts, padding=True, return_tensors="pt")  # (names * wordings, length)
        self.wordings = len(wordings)
        rng = random.Random(seed)
        pictures = {name: [index for index, other in enumerate(self.concepts) if other == name] for name in self.names}
        self.batch_size = min(128, len(self.names))
        self.order = [
            rng.choice(pictures[name]) for _ in range(batches) for name in rng.sample(self.names, self.batch_size)
        ]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        picture, wording = self.order[index], index // self.batch_size % self.wordings
        text = self.names.index(self.concepts[picture]) * self.wordings + wording
        return {"pixel_values": self.pixel_values[picture]} | {key: ids[text] for key, ids in self.texts.items()}


def _augmented(pairs: list[dict[str, torch.Tensor]]) -> dict[str, Any]:
    batch = default_data_collator(pairs)
    return batch | {"pixel_values": augment(batch["pixel_values"]), "return_loss": True}


def train_vision_tower(arguments: DemoBaseArguments, rows: Dataset, output: Path) -> dict[str, float]:
    """Trains a CLIP on pictures with English captions and saves its vision tower. Returns its last training loss."""
    captions = [caption.format(name) for name in set(rows["concept"]) for caption in TABLES["en"]["captions"]]
    tokenizer = train_tokenizer(sorted(captions), arguments.vocab_size)
    side = arguments.image_size
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    pairs = PictureCaptions(rows, tokenizer, image_processor, arguments.vision_tower_steps, arguments.seed)
    set_seed(arguments.seed)
    model = CLIPModel(
        CLIPConfig(
            projection_dim=128,
            vision_config={
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "image_size": side,
                "patch_size": arguments.patch_size,
            },
            text_config={
                "hidden_size": 128,
                "intermediate_size": 256,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": pairs.texts["input_ids"].shape[1],
                "bos_token_id": None,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
        )
    )
    trainer = Trainer(
        model,
        training_arguments(
            arguments,
            "vision_tower",
            arguments.vision_tower_steps,
            per_device_train_batch_size=pairs.batch_size,
            train_sampling_strategy="sequential",
        ),
        train_dataset=pairs,
        data_collator=_augmented,
        optimizers=(soap(model, weight_decay=0.05), None),
    )
    train(trainer)
    image_processor.save_pretrained(output)
    model.vision_model.save_pretrained(output)
    return {"loss": [log["loss"] for log in trainer.state.log_history if "loss" in log][-1]}


def train_parts(arguments: DemoBaseArguments) -> None:
    """Trains the chosen parts that are not finished. Prints the folder, the training time and the loss of each."""
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in asdict(arguments).items() if name not in ("output", "part")}
    settings["world"] = json.loads((Path(arguments.data) / "settings.json").read_text())
    use_languages(settings["world"]["languages"])
    settings_file = output / "settings.json"
    if not settings_file.exists():
        settings_file.write_text(json.dumps(settings, indent=2) + "\n")
    elif (old_settings := json.loads(settings_file.read_text())) != settings:
        raise ValueError(
            f"{output} holds parts that were trained with the settings {old_settings}, not {settings}: delete this "
            "folder or choose another --output."
        )
    aligned, captioned = (
        load_dataset(arguments.data, name=name, data_files=data_files(arguments.data, name), split="train")
        for name in ("align", "captions")
    )
    names = set(aligned["concept"])
    concepts = [concept for concept in all_concepts() if concept.names["en"] in names]
    for part, run in (
        ("language_model", lambda folder: train_language_model(arguments, concepts, folder)),
        ("vision_tower", lambda folder: train_vision_tower(arguments, captioned, folder)),
    ):
        if arguments.part not in (part, "both"):
            continue
        folder = output / part
        finished = folder / "measures.json"
        start = time.perf_counter()
        if not finished.exists():
            measures = run(folder)
            finished.write_text(json.dumps(measures, indent=2) + "\n")  # last, because it marks the part as finished
        print(f"{folder}: {time.perf_counter() - start:.0f} s, {json.loads(finished.read_text())}")
