# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""TRL's SFTTrainer, with metrics for a multilingual model: each language's loss, and which experts serve it."""

import dataclasses
import json
import os
import warnings
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, gather_object
from datasets import Dataset, IterableDataset
from PIL import Image as PILImage
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import DataCollator, TrainerState
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling
from trl.trainer.utils import FusedCausalLMOutput

from modeling_parrot import ParrotForConditionalGeneration, ParrotModel
from trainer.common.plots import draw_losses, draw_router, save
from trainer.training.row_checks import check_messages
from trainer.training.training_rows import SOURCE, naming_the_row, open_stored, pictures_of, undecoded


# The arguments that are written to training.json. The others concern one machine, or are secrets such as hub_token.
RECORDED = (
    *("stage", "model_name_or_path", "model_revision", "dataset_name", "dataset_config", "datasets"),
    *("dataset_train_split", "test_split_size", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("max_steps", "num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim"),
    *("adam_beta1", "adam_beta2", "weight_decay", "max_grad_norm", "max_length", "dtype", "bf16", "fp16", "seed"),
    *("activation_checkpointing", "load_in_4bit", "use_peft"),
)
RECORDED_OF_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save")


class ParrotTrainer(SFTTrainer):
    """
    Logs two more metrics for rows that have a `language`: `loss_<language>`, in nats per token, and
    `router_<language>_<expert>`, the mean of the router's probabilities (eq. 3) for the language's images. If the
    model is in half precision, trained weights are kept in float32: half precision would round AdamW's small updates
    away.

    Raises:
        `ValueError`: if a model in half precision would be trained without autocast.
    """

    def __init__(
        self,
        model: nn.Module,
        args: SFTConfig | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(eval_dataset, dict):
            eval_dataset = {name: undecoded(data) for name, data in eval_dataset.items()}
        with warnings.catch_warnings():
            # peft 0.21 reads the old name in get_peft_model. This may go when it reads `is_activation_checkpointing`.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            super().__init__(model, args, data_collator, undecoded(train_dataset), undecoded(eval_dataset), **kwargs)
        if self.model.dtype != torch.float32 and not (self.args.bf16 or self.args.fp16):
            raise ValueError(
                f"The model is in {self.model.dtype}, but its trained weights are in float32. Both need autocast: set "
                "bf16 to true, or load the model with dtype float32."
            )
        if not self.is_deepspeed_enabled:  # DeepSpeed keeps its own copy of the weights in float32.
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()  # peft does so for adapters, but not for modules_to_save
        # A partial and not a closure, because the workers of data loaders pickle it.
        self.data_collator: DataCollator = partial(_collate, self.data_collator)
        unwrapped: Any = self.accelerator.unwrap_model(self.model)
        unwrapped = unwrapped.get_base_model() if hasattr(unwrapped, "get_base_model") else unwrapped
        self._parrot: ParrotForConditionalGeneration = unwrapped
        if not hasattr(self._parrot.lm_head, "bias"):
            # TRL reads lm_head.bias, but peft 0.21 hides the attribute where tokens of the head are trained. A
            # Parrot's head has no bias. This may go when peft passes it on:
            # https://github.com/huggingface/peft/issues/3649
            self._parrot.lm_head.register_parameter("bias", None)
        self._sharded = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns: list[str] = list(dict.fromkeys([*self._signature_columns, "language", SOURCE]))

    def _encode_blank_image(
        self, model: ParrotModel, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # With sharded weights or gradients, the processes wait for each other at every module. So a batch without
        # images runs the modules for images, too, in the order of ParrotModel.forward, on a blank image that adds 0.
        input_ids, embed = kwargs.pop("input_ids"), model.get_input_embeddings()
        image = self.processing_class.image_processor(PILImage.new("RGB", (1, 1)), return_tensors="pt")
        outputs = model.get_image_features(**self._prepare_inputs(image), return_dict=True)
        marks = input_ids.new_full((1, len(outputs.pooler_output[0])), model.config.image_token_id)
        outputs = model.condition_image_features(outputs, marks, embed(marks))
        zero = (0 * outputs.pooler_output[0]).sum()
        return args, kwargs | {"inputs_embeds": embed(input_ids) + zero}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes no card. TRL's card describes a text model; trainer/publish.py writes a Parrot's card."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `SFTTrainer`, but the weights are whole even if FSDP's checkpoints are sharded."""
        # From shards, transformers would save no weights: https://github.com/huggingface/transformers/issues/30491
        if self.is_fsdp_enabled and not _internal_call:
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        super().save_model(output_dir, _internal_call)

    def _save(self, *args: Any, **kwargs: Any) -> None:
        # FSDP2 replaces the model's class by one that is defined in torch, and save_pretrained (transformers 5.24)
        # would copy torch's file as the model's code. This may go when save_pretrained copies the right file.
        if isinstance(self.model, ParrotForConditionalGeneration):
            self.model.__module__ = ParrotForConditionalGeneration.__module__
        super()._save(*args, **kwargs)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in `SFTTrainer`, but only answers pass the head; logs each language's loss and router probabilities."""
        inputs = dict(inputs)  # a copy: the caller's inputs keep their labels, for compute_metrics
        sample_languages, image_languages = inputs.pop("language_of_samples", []), inputs.pop("language_of_images", [])
        answers = inputs["labels"][:, 1:] != -100  # (B, L - 1), A of them
        fused: list[FusedCausalLMOutput] = []
        routing: list[torch.Tensor] = []

        def cut_to_answers(_module: nn.Module, _args: Any, output: Any) -> None:
            output.last_hidden_state = output.last_hidden_state[:, :-1][answers][None]  # (1, A, C)

        def keep_routing(_module: nn.Module, _args: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
            routing.append(output[1].softmax(dim=-1, dtype=torch.float32))  # (N, E)

        def model_on_answers(**batch: Any) -> Any:
            if not batch.get("fused_lm_head"):  # a pass for the logits of every position
                return model(**batch)
            # The fused head of TRL 1.16 skips tokens without a label only where Triton runs. Elsewhere it computes the
            # logits of pictures, questions and padding, too: with a large vocabulary, that is most of a step's time.
            # This may go when TRL skips these tokens everywhere.
            batch["shift_labels"] = batch.pop("labels")[:, 1:][answers][None]  # (1, A)
            with self._parrot.model.register_forward_hook(cut_to_answers):
                fused.append(model(**batch))
            return fused[0]

        with ExitStack() as hooks:
            hooks.enter_context(self._parrot.model.moe.register_forward_hook(keep_routing))
            if self._sharded:
                # The hook is on the backbone: peft before 0.21 calls the whole model's forward without its hooks.
                gather = partial(_gather_head, self._parrot.lm_head)
                hooks.enter_context(self._parrot.model.register_forward_pre_hook(gather))
            if self._sharded and "pixel_values" not in inputs:  # registered last, to run after the hooks that gather
                blank_hook = self._encode_blank_image
                hooks.enter_context(self._parrot.model.register_forward_pre_hook(blank_hook, with_kwargs=True))
            loss = super().compute_loss(model_on_answers, inputs, *args, **kwargs)

        losses = -fused[0].log_probs.detach()[fused[0].label_mask]  # (A,)
        losses = losses.new_zeros(answers.shape).masked_scatter(answers, losses).sum(dim=1)  # (B,)
        by_sample = zip(sample_languages, losses.float().tolist(), answers.sum(dim=1).tolist(), strict=True)
        by_image = zip(image_languages, routing[0].tolist(), strict=True) if image_languages and routing else []
        self._log_languages(list(by_sample) if sample_languages else [], list(by_image))
        return loss

    def _log_languages(
        self, losses: list[tuple[str | None, float, int]], routing: list[tuple[str | None, list[float]]]
    ) -> None:
        """
        Adds to the metrics each language's loss and router probabilities, gathered from all processes. Samples and
        images without a language do not count; a data set of a mixture may have no column `language`.

        Args:
            losses: for each sample its language, the sum of its tokens' losses, and the number of these tokens.
            routing: for each image its language and P of eq. 3.
        """
        metrics = self._metrics["train" if self.model.training else "eval"]
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for language, total, tokens in gather_object(losses):
            if language is not None:
                sums[language][0] += total
                sums[language][1] += tokens
        for language, (total, tokens) in sums.items():
            if tokens:
                metrics[f"loss_{language}"].append(total / tokens)
        for language, weights in gather_object(routing):
            for expert, weight in enumerate(weights if language is not None else []):
                metrics[f"router_{language}_{expert}"].append(weight)


def last_checkpoint(folder: str | Path) -> str | None:
    """The last complete checkpoint, or None. The last file that is written to a checkpoint is trainer_state.json."""
    steps = [path.name.removeprefix("checkpoint-") for path in Path(folder).glob("checkpoint-*")]
    for step in sorted(filter(str.isdecimal, steps), key=int, reverse=True):  # not checkpoint-best, for example
        path = Path(folder, f"checkpoint-{step}")
        if (path / "trainer_state.json").exists():
            return str(path)
        print(f"{path} is skipped: it has no trainer_state.json, so it is incomplete.")
    return None


def _gather_head(head: nn.Module, _backbone: ParrotModel, _args: tuple[Any, ...]) -> None:
    # TRL 1.16 reads the head's weight outside the head's forward. Where accelerate 1.15 shards the head separately,
    # TRL gathers the weight with full_tensor(), and its gradients miss the all-reduce: each process would learn only
    # from its own batch. After unshard(), the weight is a plain tensor. TRL gathers it since
    # https://github.com/huggingface/trl/pull/6077. This may go when test_distributed.py passes without it.
    if isinstance(head, FSDPModule):
        head.unshard()


def _collate(collator: DataCollator, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Makes a batch of rows, with the languages of its rows and images. An error names the row."""
    rows = [dict(row) for row in rows]
    sources = [row.pop(SOURCE, None) or f"Row {index} of a batch of {len(rows)}" for index, row in enumerate(rows)]
    for row, source in zip(rows, sources, strict=True):
        with naming_the_row(row.get("messages"), source):
            _prepare(row, collator)
    languages = {}
    if "language" in rows[0]:
        languages["language_of_samples"] = [row["language"] for row in rows]
        languages["language_of_images"] = [row["language"] for row in rows for _ in row.get("images") or []]
    try:
        return languages | collator([dict(row) for row in rows])
    except Exception:  # The chat template and the tokenizer have their own classes of errors.
        limit = f", with max_length={collator.max_length}" if collator.max_length else ""
        for row, source in zip(rows, sources, strict=True):
            with naming_the_row(row.get("messages"), source + limit):
                collator([dict(row)])
        raise


def _prepare(row: dict[str, Any], collator: DataCollator) -> None:
    """
    Opens the pictures of a row, in place, and checks its messages.

    Raises:
        `ValueError`: if a picture cannot be read, if a text contains the image mark, or if there is no answer.
    """
    if {"image", "images"} & row.keys():
        pictures = pictures_of(row)
        row.pop("image", None)
        row["images"] = [open_stored(picture, f"images[{index}]") for index, picture in enumerate(pictures)]
    if not (isinstance(collator, DataCollatorForVisionLanguageModeling) and "messages" in row):
        return
    check_messages(row["messages"], collator.processor.image_token, collator.assistant_only_loss)


def record(
    arguments: dict[str, Any],
    folder: Path,
    seconds: float,
    state: TrainerState,
    resumed_from: str | None,
    editions: list[str],
) -> None:
    """
    Writes `training.json`, the history of the model: the recipe, hardware, time and versions of this run, after the
    runs that made its base model. If an argument is a path on this machine, only its last part is recorded.

    Args:
        arguments: the run's arguments by name.
        folder: the trained model's folder.
        seconds: duration of training; of a resumed training, since it was resumed.
        state: the trainer's state at the end.
        resumed_from: the checkpoint that training was resumed from, or None.
        editions: the editions of this project that trained the model.
    """
    base = Path(arguments["model_name_or_path"]) / "training.json"
    runs = json.loads(base.read_text(encoding="utf-8")) if base.is_file() else []

    def public(value: Any) -> Any:
        if isinstance(value, list):
            return [public(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, dict):
            return {name: public(item) for name, item in value.items() if item is not None}
        return Path(value).resolve().name if isinstance(value, str) and value and Path(value).exists() else value

    recipe = {name: arguments[name] for name in RECORDED + RECORDED_OF_LORA * arguments["use_peft"]}
    if arguments["max_steps"] > 0:
        del recipe["num_train_epochs"]  # max_steps overrides it
    process = PartialState()
    device = f"{process.device.type}, {os.cpu_count()} cores"
    if process.device.type == "cuda":
        device = torch.cuda.get_device_name(process.device)
    run = {
        "recipe": {name: value for name, value in public(recipe).items() if value not in ([], "")},
        "processes": process.num_processes,
        "device": device,
        "seconds": round(seconds),
        "steps": state.global_step,
        "resumed_from": resumed_from and Path(resumed_from).name,
        "languages": languages_of(state.log_history),
        "editions": editions,
        "versions": {package: version(package) for package in ("torch", "transformers", "trl", "peft", "datasets")},
    }
    text = json.dumps([*runs, run], indent=2, ensure_ascii=False)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")


def languages_of(log_history: list[dict[str, float]]) -> list[str]:
    """The languages for which a run has logged a loss."""
    return sorted({key.removeprefix("loss_") for log in log_history for key in log if key.startswith("loss_")})


def draw_run(log_history: list[dict[str, float]], folder: Path) -> list[Path]:
    """
    Draws the loss of all answers and of each language's answers (`loss.png`), and the router's mean probabilities by
    language at the end of training (`router.png`).

    Args:
        log_history: the `log_history` of a trainer's state.
        folder: the folder for the pictures.

    Returns:
        the paths of the pictures; an empty list if no loss was logged.
    """
    logs = [log for log in log_history if "loss" in log]
    if not logs:
        return []
    languages = languages_of(logs)
    by_language = {
        language: [(log["step"], log[f"loss_{language}"]) for log in logs if f"loss_{language}" in log]
        for language in languages
    }
    pictures = [folder / "loss.png"]
    save(draw_losses([(log["step"], log["loss"]) for log in logs], by_language), pictures[0])

    experts = 1 + max((int(key.rpartition("_")[2]) for key in logs[-1] if key.startswith("router_")), default=-1)
    weights = {
        language: [logs[-1][f"router_{language}_{expert}"] for expert in range(experts)]
        for language in languages
        if f"router_{language}_0" in logs[-1]
    }
    if weights:
        title = "Each expert's mean weight, by the language of the conversation\nat the end of training"
        pictures.append(folder / "router.png")
        save(draw_router(weights, title), pictures[1])
    return pictures
