# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""ParrotTrainer in SFTTrainer's place: the same arguments give the same losses, metrics, logits and labels."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import load_dataset
from transformers import EvalPrediction
from trl import SFTConfig, SFTTrainer

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.test_sft import train
from trainer.sft import ParrotSFTConfig
from trainer.training.parrot_trainer import ParrotTrainer


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """A `compute_metrics` that counts the tokens of the answers."""
    answers = prediction.label_ids[:, 1:] != -100
    right = prediction.predictions.argmax(-1)[:, :-1] == prediction.label_ids[:, 1:]
    return {"accuracy": right[answers].mean(), "answers": answers.sum()}


def squared(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func` that differs from the usual loss."""
    losses = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    return losses**2


@pytest.mark.filterwarnings("ignore:.*(compute_loss_func|label_smoothing_factor|return_outputs):FutureWarning")
@pytest.mark.parametrize(
    ("arguments", "kwargs"),
    [
        ({}, {}),
        ({}, {"compute_metrics": accuracy}),
        ({"label_smoothing_factor": 0.1}, {"compute_metrics": accuracy}),
        ({"loss_type": "dft"}, {}),
        ({"gradient_accumulation_steps": 2}, {"compute_loss_func": squared, "compute_metrics": accuracy}),
    ],
    ids=["plain", "metrics", "smoothed", "dft", "own loss"],
)
def test_parrot_trainer_does_what_sft_trainer_does(
    arguments: dict[str, Any], kwargs: dict[str, Any], world: Path, tmp_path: Path
) -> None:
    rows = load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    results = []
    for trainer_class in (SFTTrainer, ParrotTrainer):
        trainer = trainer_class(
            model=ParrotForConditionalGeneration.from_pretrained(world / "model"),
            args=SFTConfig(
                **{"output_dir": str(tmp_path), "bf16": False, "use_cpu": True, "report_to": "none", "max_steps": 2},
                **{"assistant_only_loss": True, "max_length": None},
                **{"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "learning_rate": 1e-3},
                **{"logging_steps": 1, "save_strategy": "no", "disable_tqdm": True},
                **arguments,
            ),
            train_dataset=rows,
            eval_dataset=rows.select(range(8)),
            processing_class=ParrotProcessor.from_pretrained(world / "model"),
            **kwargs,
        )
        trainer.train()
        evaluated = trainer.evaluate()
        predicted = trainer.predict(rows.select(range(6)))
        logged = [log for log in trainer.state.log_history if "loss" in log]
        results.append((logged, evaluated, predicted))
    (logs, metrics, prediction), (own_logs, own_metrics, own_prediction) = results
    for log, own in [*zip(logs, own_logs, strict=True), (metrics, own_metrics)]:
        shared = [name for name in log if "runtime" not in name and "per_second" not in name]
        assert {name: own[name] for name in shared} == pytest.approx({name: log[name] for name in shared}, rel=1e-4)
        assert {name.split("_")[-1] for name in own if "loss_" in name} <= {"en", "pt", "tr"}
    assert ("eval_accuracy" in own_metrics) == ("compute_metrics" in kwargs)
    np.testing.assert_array_equal(own_prediction.label_ids, prediction.label_ids)
    assert (own_prediction.label_ids != -100).sum() > 6
    np.testing.assert_allclose(own_prediction.predictions, prediction.predictions, rtol=1e-3, atol=1e-4)


def test_a_batch_keeps_its_labels_and_nothing_of_a_step_is_left_on_the_model(world: Path, tmp_path: Path) -> None:
    trainer = ParrotTrainer(
        model=ParrotForConditionalGeneration.from_pretrained(world / "model"),
        args=ParrotSFTConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none"),
        train_dataset=load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"],
        processing_class=ParrotProcessor.from_pretrained(world / "model"),
    )
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    names, hooks = set(batch), []
    for _ in range(2):  # in the first step, transformers adds hooks of its own
        trainer.compute_loss(trainer.model, batch)
        hooks.append([len(module._forward_hooks) for module in trainer.model.modules()])
    assert set(batch) == names
    assert hooks[0] == hooks[1]


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_a_plain_run_warns_of_nothing(peft: bool, world: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The oldest supported matplotlib uses names of pyparsing that the newest pyparsing deprecates.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="matplotlib|pyparsing")
        train(world, tmp_path, "--activation_checkpointing", "true", *["--use_peft"] * peft)


def test_the_old_name_of_activation_checkpointing_still_counts(tmp_path: Path) -> None:
    arguments = {"output_dir": str(tmp_path), "use_cpu": True}
    for names, expected in (({}, True), ({"activation_checkpointing": False}, False)):
        config = ParrotSFTConfig(**arguments, **names)
        assert config.activation_checkpointing is config.gradient_checkpointing is expected
    assert not ParrotSFTConfig(**arguments, gradient_checkpointing=False).activation_checkpointing


def test_kernels_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use_liger_kernel=True: Liger has no kernels for a Parrot"):
        ParrotSFTConfig(output_dir=str(tmp_path), use_cpu=True, use_liger_kernel=True)
