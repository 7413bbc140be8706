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
r"""
Trains a Parrot on conversations about pictures, in the paper's two stages:

    python trainer/sft.py --config trainer/recipes/demo_instruct.yaml
    accelerate launch --num_processes 8 trainer/sft.py --stage align --model_name_or_path parrot-base \
        --dataset_name org/captions --output_dir parrot-aligned

A run is a YAML recipe, the command line overrides it, and an argument that nothing reads is an error.

Stages. `--stage align` (1) trains the projector with the experts bypassed; `--stage instruct` (2) trains projector,
experts and language model; the vision tower stays frozen in both. With `--use_peft` the language model is adapted by
LoRA, with `--load_in_4bit` besides by QLoRA, which needs `pip install -e ".[qlora]"`. With `--dtype bfloat16`
and `--bf16 true` what is frozen takes half the memory, and what is trained stays in float32 until the final save.

Data. Rows have `messages` (roles with text, or parts of text and images), `images` (a list, empty for text alone) and,
to see each language's loss and experts, `language`; the loss is taken on the answers. A Hub id or a folder is
`--dataset_name`. Several are mixed in a recipe; a fraction is a share of the mixture, which is as large as no data set
need be repeated for, of each its first rows. One that is listed twice counts twice. Without fractions all rows count:

    datasets:
      - {path: org/llava-multilingual, fraction: 0.8}
      - {path: data/my-pictures, fraction: 0.2}
    test_split_size: 0.01

Watching. Each language's loss and the router's weights are logged with the metrics, to `--report_to tensorboard` or
`trackio` too, and drawn at the end. `--eval_strategy steps` also gives `eval_loss` and `eval_loss_<language>` on the
test split. A run whose output folder holds a checkpoint goes on from it. `--push_to_hub` uploads the folder as it is;
trainer/publish.py makes of it what others can trust, with a card of how it came to be, from `training.json`.

Tried on two CPU cores.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from accelerate import PartialState
from datasets import Dataset, IterableDataset, load_dataset
from transformers import set_seed
from trl import (
    DatasetMixtureConfig,
    ModelConfig,
    ScriptArguments,
    SFTConfig,
    TrlParser,
    get_dataset,
    get_peft_config,
    get_quantization_config,
)


if __name__ == "__main__":  # run as a file, it finds its own folder on the path and not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer import HelpFormatter
from trainer.data_files import data_files
from trainer.parrot_trainer import ParrotTrainer, draw, last_checkpoint, record


TRAINED = {
    "align": ("model.multi_modal_projector.",),
    "instruct": ("model.multi_modal_projector.", "model.moe.", "model.language_model.", "lm_head."),
}
NOT_QUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "model.moe", "lm_head"]


@dataclass
class ParrotScriptArguments(ScriptArguments, DatasetMixtureConfig):
    """TRL's script arguments, its mixture of data sets, and the stage."""

    stage: Literal["align", "instruct"] = field(
        default="instruct",
        metadata={"help": "1, align: the projector alone, experts bypassed. 2, instruct: all but the vision tower."},
    )


@dataclass
class ParrotSFTConfig(SFTConfig):
    """TRL's training arguments, with the loss on answers alone and no sequence cut, unless asked for."""

    assistant_only_loss: bool = field(default=True, metadata={"help": "Whether the loss is on the answers alone."})
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest sequence in tokens. Text beyond it is cut off, as always in TRL; to cut an image is an "
            "error that names the row."
        },
    )


@dataclass
class ParrotModelConfig(ModelConfig):
    """TRL's model arguments. LoRA adapts the language model; projector and experts are trained in full."""

    # Whole paths: names such as q_proj or gate_proj stand in the vision tower and the experts, too.
    lora_target_modules: list[str] | None = field(
        default_factory=lambda: [r"model\.language_model\.layers\..*(_proj|fc1|fc2)"],
        metadata={"help": "Modules that LoRA adapts: names, or one regular expression of whole paths."},
    )
    lora_modules_to_save: list[str] | None = field(
        default_factory=lambda: ["multi_modal_projector", "moe"],
        metadata={"help": "Modules that are trained in full beside LoRA."},
    )


def load_data(script_args: ParrotScriptArguments, *splits: str) -> list[Dataset | IterableDataset]:
    """
    The splits of `dataset_name`, or of the mixture `datasets`.

    Raises:
        `ValueError`: for arguments that do not go together, or a split that is not there.
    """
    name, parts = script_args.dataset_name, script_args.datasets
    if bool(name) == bool(parts) or (name and script_args.test_split_size):
        raise ValueError(
            f"dataset_name={name!r}, datasets={parts} and test_split_size={script_args.test_split_size}: give either "
            "dataset_name, or datasets and, if it is to be split, test_split_size."
        )
    for part in parts:
        if part.fraction is not None and part.fraction <= 0:
            raise ValueError(f"fraction={part.fraction} of {part.path} in datasets must be positive, or leave it out.")
    streaming = script_args.streaming or script_args.dataset_streaming
    if name:
        config = script_args.dataset_config
        data = load_dataset(name, name=config, data_files=data_files(name, config), streaming=streaming)
    else:
        found = [
            part if part.data_files or part.data_dir else replace(part, data_files=data_files(part.path, part.name))
            for part in parts
        ]
        data = get_dataset(replace(script_args, datasets=found, streaming=streaming))
    for split in splits:
        if split not in data:
            raise ValueError(
                f"There is no split {split!r} in {name or parts}, only {list(data)}: set dataset_train_split and "
                "dataset_test_split to what there is, or eval_strategy to 'no'."
            )
    return [data[split] for split in splits]


def freeze(model: ParrotForConditionalGeneration, stage: str) -> None:
    """Leaves what a stage trains trainable, and switches the experts as it asks."""
    model.config.use_experts = stage != "align"
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED[stage]))


def print_trained(model: ParrotForConditionalGeneration) -> None:
    """Prints how many parameters of each part are trained; once, of however many processes."""
    if not PartialState().is_main_process:
        return
    print(f"The experts {'run' if model.config.use_experts else 'are bypassed'}.")
    for name, module in [*model.model.named_children(), ("lm_head", model.lm_head)]:
        counts = {True: 0, False: 0}
        for parameter in module.parameters():
            packed = getattr(parameter, "quant_state", None)  # of bitsandbytes: two weights in a byte
            shape = packed.shape if packed else getattr(parameter, "ds_shape", parameter.shape)  # of ZeRO-3: the whole
            counts[parameter.requires_grad] += shape.numel()
        print(f"  {name:22} {counts[True]:>15,} trained {counts[False]:>15,} frozen")


def load_model(script_args: ParrotScriptArguments, model_args: ParrotModelConfig) -> ParrotForConditionalGeneration:
    """
    Raises:
        `ValueError`: for arguments that do not go together.
    """
    if model_args.use_peft and script_args.stage == "align":
        raise ValueError("use_peft adapts the language model, which stage 'align' leaves alone: use it in 'instruct'.")
    if model_args.load_in_4bit or model_args.load_in_8bit:
        if not model_args.use_peft:
            raise ValueError("load_in_4bit and load_in_8bit freeze the language model: train adapters with use_peft.")
        if model_args.dtype == "auto":
            raise ValueError("load_in_4bit needs the type to compute in: set dtype to bfloat16 instead of 'auto'.")
    if quantization_config := get_quantization_config(model_args):
        quantization_config.llm_int8_skip_modules = NOT_QUANTIZED
    model = ParrotForConditionalGeneration.from_pretrained(
        model_args.model_name_or_path,
        revision=model_args.model_revision,
        dtype=model_args.dtype,
        attn_implementation=model_args.attn_implementation,
        quantization_config=quantization_config,
    )
    if model_args.use_peft and not model.config.use_experts:
        raise ValueError(
            f"{model_args.model_name_or_path} has its experts switched off, and an adapter cannot switch them on: set "
            "use_experts to true in its config.json."
        )
    return model


def main(script_args: ParrotScriptArguments, training_args: ParrotSFTConfig, model_args: ParrotModelConfig) -> None:
    """Loads, freezes, trains, saves and, if asked, pushes."""
    set_seed(training_args.seed)  # TRL splits a mixture without a seed of its own
    model = load_model(script_args, model_args)
    processor = ParrotProcessor.from_pretrained(model_args.model_name_or_path, revision=model_args.model_revision)
    own_use_experts, own_dtype = model.config.use_experts, model.dtype
    if not model_args.use_peft:  # which freezes all that it does not adapt
        freeze(model, script_args.stage)
    splits = [script_args.dataset_train_split]
    if training_args.eval_strategy != "no":
        splits.append(script_args.dataset_test_split)
    train_dataset, *eval_dataset = load_data(script_args, *splits)
    trainer = ParrotTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset[0] if eval_dataset else None,
        processing_class=processor,
        peft_config=get_peft_config(model_args),
    )
    print_trained(model)
    checkpoint = training_args.resume_from_checkpoint or last_checkpoint(training_args.output_dir)
    if checkpoint:
        print(f"Going on from {checkpoint}.")
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    if script_args.stage == "align":  # they were bypassed for this stage; new experts add nothing
        model.config.use_experts = own_use_experts
    if not model_args.use_peft:  # checkpoints have in float32 what is trained
        model.to(own_dtype)
    trainer.save_model()
    if trainer.is_world_process_zero():
        for picture in draw(trainer.state.log_history, Path(training_args.output_dir)):
            print(f"Drawn: {picture}")
        given = vars(training_args) | vars(model_args) | vars(script_args)
        folder = Path(training_args.output_dir)
        record(given, folder, trained.metrics["train_runtime"], trained.global_step, checkpoint)
    trainer.save_state()  # last: it marks the run as finished
    if training_args.push_to_hub:
        name = script_args.dataset_name
        trainer.push_to_hub(dataset_name=None if name and Path(name).exists() else name)  # a folder is no Hub id
    # A process that leaves its group to the interpreter's end may abort there, and takes down those that still write.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    parser = TrlParser(
        (ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig),
        description=__doc__,
        usage="%(prog)s [--config RECIPE] [--ARGUMENT VALUE ...]",
        formatter_class=HelpFormatter,
    )
    main(*parser.parse_args_and_config())
