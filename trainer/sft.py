# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Trains a Parrot on conversations about pictures, in the paper's two stages:

    python trainer/sft.py --config trainer/recipes/demo_instruct.yaml
    accelerate launch --num_processes 8 trainer/sft.py --stage align --model_name_or_path parrot-base \
        --dataset_name org/captions --output_dir parrot-aligned

A run is a YAML recipe. Arguments of the command line override it, and an argument that nothing reads is an error.

Stages. `--stage align` (1) trains the projector with the experts bypassed; `--stage instruct` (2), the default, trains
projector, experts and language model; the vision tower stays frozen in both. `--use_peft` adapts the language model by
LoRA: all its linear layers, and the tokens that mark a chat's turns. `--load_in_4bit` makes it QLoRA, which needs `pip
install -e ".[qlora]"`. With `--dtype bfloat16 --bf16 true` frozen weights take half the memory, and trained
weights stay in float32 until the final save.

Data. Rows have `messages` (roles with text, or parts of text and images), `images` (a list, empty if there are none)
and, to see each language's loss and experts, `language`; the loss is taken on the answers. `--dataset_name` takes a
Hub id or a folder. A recipe can mix several data sets, and the forms of their `messages` and `images` may differ. A
fraction is a share of the mixture. The mixture is as large as it can be without repeating a data set, and takes the
first rows of each. A data set that is listed twice counts twice. Without fractions, all rows are used:

    datasets:
      - {path: org/llava-multilingual, fraction: 0.8}
      - {path: data/my-pictures, fraction: 0.2}
    test_split_size: 0.01

Watching. Each language's loss and the router's weights are logged with the metrics, to `--report_to tensorboard` or
`trackio` too, and drawn at the end. `--eval_strategy steps` also gives `eval_loss` and `eval_loss_<language>` on the
test split. `--push_to_hub` uploads the folder as it is; trainer/publish.py checks it and adds a model card, with the
history of its training from `training.json`.

Resuming. If the output folder holds a checkpoint, a run resumes from it, or from `--resume_from_checkpoint`. It must
be the same run: the same stage, model, data and all arguments that change what is learned. Logging, saving and
evaluation may change, and so may the way in which processes and accumulation steps share the batch. The number of
steps may change if the learning-rate schedule does not depend on it (constant, constant_with_warmup, inverse_sqrt).
Any other change is an error that names what differs. A finished run that is started again trains nothing.

Tried on two CPU cores and on one H100.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import yaml
from accelerate import PartialState
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from peft import LoraConfig
from transformers import set_seed
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available
from transformers.utils.peft_utils import find_adapter_config_file
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
from trl.scripts.utils import DatasetConfig


if __name__ == "__main__":  # Python puts the folder of this file on the path, not the repository.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer import HelpFormatter, one_line_errors
from trainer.common.data_files import data_files
from trainer.common.edition import edition
from trainer.common.sources import check_output, check_parrot, check_source
from trainer.training.lora import set_lora_targets, set_trained_tokens
from trainer.training.parrot_trainer import ParrotTrainer, draw_run, last_checkpoint, record
from trainer.training.row_checks import check_rows
from trainer.training.same_run import RunRecord, check_same_run, editions_of, hash_of_rows, is_finished, run_arguments
from trainer.training.training_rows import SOURCE, concatenate, pictures_of, undecoded, with_source


TRAINED = {
    "align": ("model.multi_modal_projector.",),
    "instruct": ("model.multi_modal_projector.", "model.moe.", "model.language_model.", "lm_head."),
}
DTYPES = ("auto", "bfloat16", "float16", "float32")
NOT_QUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "model.moe", "lm_head"]


@dataclass
class ParrotScriptArguments(ScriptArguments, DatasetMixtureConfig):
    """TRL's script arguments, its mixture of data sets, and the stage."""

    stage: Literal["align", "instruct"] = field(
        default="instruct",
        metadata={
            "help": "align (1) trains the projector, without experts; instruct (2) trains all but the vision tower, "
            "and begins with a model that align has trained."
        },
    )

    def __post_init__(self) -> None:
        keys = [entry.name for entry in fields(DatasetConfig)]
        for entry in self.datasets if isinstance(self.datasets, list) else [self.datasets]:
            values = vars(entry) if isinstance(entry, DatasetConfig) else entry
            is_mapping = isinstance(values, dict) and "path" in values and values.keys() <= {*keys}
            if not is_mapping or not isinstance(values.get("fraction"), float | int | None) or entry is self.datasets:
                raise ValueError(
                    f"datasets: {values!r} is not an entry of a list as in [{{path: org/data, fraction: 0.5}}]. Its "
                    f"keys are {', '.join(keys)}."
                )
        super().__post_init__()
        if self.stage not in TRAINED:  # the parser checks the command line, but not a recipe
            raise ValueError(f"stage={self.stage!r} is not a stage: give {' or '.join(TRAINED)}.")


@dataclass
class ParrotSFTConfig(SFTConfig):
    """TRL's training arguments. By default, the loss is on answers only, and no sequence is truncated."""

    assistant_only_loss: bool = field(default=True, metadata={"help": "Whether the loss is on the answers only."})
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest sequence in tokens. TRL cuts off text beyond it. Where it would cut an image, an error "
            "names the row."
        },
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Whether to compute in bfloat16 (mixed precision). By default, this is so on an accelerator that "
            "can; a CPU computes in float32."
        },
    )
    activation_checkpointing: bool | None = field(
        default=None,
        metadata={"help": "Compute activations again in the backward pass, to save memory. On by default."},
    )
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "The deprecated name of activation_checkpointing."}
    )

    def __post_init__(self) -> None:
        # TRL 1.16 and transformers before 5.23 know only the old name; later releases of transformers warn about it.
        # This may go when TRL uses the new name.
        if self.activation_checkpointing is None:
            self.activation_checkpointing = self.gradient_checkpointing is not False
        self.gradient_checkpointing = self.activation_checkpointing
        has_bf16 = is_torch_bf16_gpu_available() or is_torch_xla_available()
        if self.bf16 is None:  # TRL would turn it on, and transformers would refuse that without an accelerator
            self.bf16 = has_bf16 and not self.use_cpu and not self.fp16
        if self.bf16 and not self.use_cpu and not has_bf16:
            raise ValueError(
                "bf16=True: this machine has no accelerator that computes in bfloat16. Leave bf16 out to compute in "
                "float32, or add --use_cpu true to compute in bfloat16 on the CPU."
            )
        super().__post_init__()
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if not isinstance(size := getattr(self, name), int) or size < 1:
                raise ValueError(f"{name}={size!r}: give a whole number of at least 1.")
        if self.use_liger_kernel:  # Liger silently skips a model type that it does not know
            raise ValueError("use_liger_kernel=True: Liger has no kernels for a Parrot and would do nothing. Drop it.")


@dataclass
class ParrotModelConfig(ModelConfig):
    """TRL's model arguments. LoRA adapts the language model; projector and experts are trained in full."""

    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Modules that LoRA adapts: names, or one regular expression that matches whole paths. By default, "
            "all linear layers of the language model, and its experts where they are parameters."
        },
    )
    lora_modules_to_save: list[str] | None = field(
        default_factory=lambda: ["multi_modal_projector", "moe"],
        metadata={"help": "Modules that are trained in full, without LoRA."},
    )


def load_data(script_args: ParrotScriptArguments, *splits: str) -> list[Dataset | IterableDataset]:
    """
    Loads splits of `dataset_name`, or of the mixture `datasets`. The column `_source` names each row's origin.

    Raises:
        `ValueError`: if arguments contradict each other, or if the data or a split do not exist.
    """
    name, parts = script_args.dataset_name, script_args.datasets
    if not name and not parts:
        raise ValueError(f"dataset_name={name!r}: there are no data to train on. Give a Hub id or a folder.")
    if name and parts:
        paths = ", ".join(part.path for part in parts)
        raise ValueError(
            f"dataset_name={name!r} and datasets ({paths}): give only one of them. --dataset_name '' takes the "
            "recipe's datasets."
        )
    if name and script_args.test_split_size:
        raise ValueError(
            f"test_split_size={script_args.test_split_size} is for datasets, and not for dataset_name={name!r}: leave "
            "it out, or list the data set in datasets."
        )
    if name:
        check_source(name, "--dataset_name", "dataset")
        config, streaming = script_args.dataset_config, script_args.streaming or script_args.dataset_streaming
        with _naming_data(f"{name}{f' with dataset_config={config!r}' if config else ''}"):
            data = load_dataset(name, name=config, data_files=data_files(name, config), streaming=streaming)
    else:
        data = load_mixture(script_args)
    for split in splits:
        if split not in data:
            raise ValueError(
                f"There is no split {split!r} in {name or parts}, only {list(data)}: set dataset_train_split and "
                "dataset_test_split to splits that exist, or eval_strategy to 'no'."
            )
    return [with_source(data[split], f"{name} ({split})") if name else data[split] for split in splits]


@contextmanager
def _naming_data(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # datasets raises errors of many kinds, such as StopIteration for an empty file
        reason = " ".join(str(error.__cause__ or error).split()) or f"{type(error).__name__}. Is a file empty?"
        raise ValueError(f"The data set {name} cannot be read: {reason}") from error


def load_mixture(script_args: ParrotScriptArguments) -> DatasetDict | dict[str, Dataset | IterableDataset]:
    """
    Loads the mixture `datasets` as TRL's `get_dataset` does, but the forms of `messages` and `images` may differ.

    Raises:
        `ValueError`: if arguments contradict each other, or if data do not exist.
    """
    configs = script_args.datasets
    streaming = script_args.streaming or script_args.dataset_streaming
    fractions = [config.fraction for config in configs if config.fraction is not None]
    for config in configs:
        # If files are given, a path without a slash is the name of a loader of `datasets`, such as json.
        if "/" in config.path or not (config.data_files or config.data_dir):
            check_source(config.path, "path in datasets", "dataset")
        if config.fraction is not None and config.fraction <= 0:
            raise ValueError(
                f"fraction={config.fraction} of {config.path} in datasets must be positive: change it or leave it out."
            )
    if fractions and len(fractions) < len(configs):
        raise ValueError(f"datasets={configs}: give all of them a fraction, or none.")
    if streaming and (fractions or script_args.test_split_size):
        raise ValueError("Streamed data have no known length: leave out fraction and test_split_size, or streaming.")
    parts = []
    for config in configs:
        with _naming_data(f"{config.path}{f' with name={config.name!r}' if config.name else ''}"):
            files = config.data_files or (None if config.data_dir else data_files(config.path, config.name))
            single = DatasetMixtureConfig([replace(config, data_files=files, fraction=None)], streaming=streaming)
            part = get_dataset(single)["train"]
        parts.append(with_source(part, f"{config.path} ({config.split})"))
    if fractions:
        shares = [fraction / sum(fractions) for fraction in fractions]
        total = min(len(part) / share for part, share in zip(parts, shares, strict=True))
        parts = [part.select(range(round(share * total))) for part, share in zip(parts, shares, strict=True)]
    data = concatenate(parts)
    if script_args.test_split_size is None:
        return {"train": data}
    return data.train_test_split(test_size=script_args.test_split_size)


def check_data(data: Dataset | IterableDataset, stage: str, training_args: ParrotSFTConfig) -> None:
    """
    Checks that there are rows, their columns, and in stage "align" that there are pictures.

    Raises:
        `ValueError`: if training could learn nothing from data of this kind.
    """
    if next(iter(undecoded(data)), None) is None:
        raise ValueError("The data have no rows: give other data, or a larger fraction of them.")
    columns = data.column_names or list(next(iter(data)))
    if training_args.assistant_only_loss and "messages" not in columns:
        columns = [column for column in columns if column != SOURCE]
        raise ValueError(
            f"The data have the columns {columns}, but no `messages` with answers to learn. To learn whole texts, or "
            "completions, give --assistant_only_loss false."
        )
    if training_args.completion_only_loss and "messages" in columns:
        raise ValueError(
            "completion_only_loss is for `prompt` and `completion`, but the data have `messages`: leave it out."
        )
    if stage == "align":
        rows = undecoded(data) if isinstance(data, Dataset) else data.take(1000)
        if not any(pictures_of(row) for row in rows):
            raise ValueError(
                "No row has a picture, but stage 'align' trains only the projector. Give data with `images`."
            )


def freeze(model: ParrotForConditionalGeneration, stage: str) -> None:
    """Freezes what the stage does not train, and bypasses the experts in stage 'align'."""
    model.config.use_experts = stage != "align"
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED[stage]))


def print_plan(script_args: ParrotScriptArguments, training_args: ParrotSFTConfig) -> None:
    """Prints the stage and the precision of a run, which may be defaults, on the main process only."""
    if not PartialState().is_main_process:
        return
    stage = {
        "align": "1 of 2: it trains the projector. After it, train with --stage instruct",
        "instruct": "2 of 2: it trains all but the vision tower, in a model that --stage align has trained",
    }[script_args.stage]
    print(f"Stage {script_args.stage}, {stage}. Mixed precision: {training_args.mixed_precision}.")


def warn_of_untrained_projector(model: ParrotForConditionalGeneration, name: str) -> None:
    """Warns, on the main process only, if stage 2 would begin with a projector that stage 1 has not trained."""
    projector = model.model.multi_modal_projector
    biases = [layer.bias for layer in (projector.linear_1, projector.linear_2) if layer.bias is not None]
    # A new projector has biases of zero, and the first step of training moves them. In a shard, a bias may be empty.
    is_new = bool(biases) and all(bias.numel() and not bias.any() for bias in biases)
    if is_new and PartialState().is_main_process:
        print(
            f"Warning: the projector of {name} is untrained, so the language model would learn from noise. Train it "
            "first with --stage align."
        )


def print_trained(model: ParrotForConditionalGeneration) -> None:
    """Prints how many parameters of each part are trained and frozen, on the main process only."""
    if not PartialState().is_main_process:
        return
    print(f"The experts {'run' if model.config.use_experts else 'are bypassed'}.")
    for name, module in [*model.model.named_children(), ("lm_head", model.lm_head)]:
        counts = {True: 0, False: 0}
        for parameter in module.parameters():
            # bitsandbytes packs two weights into a byte, and ZeRO-3 shards weights. Both store the original shape.
            quant_state = getattr(parameter, "quant_state", None)
            shape = quant_state.shape if quant_state else getattr(parameter, "ds_shape", parameter.shape)
            counts[parameter.requires_grad] += shape.numel()
        print(f"  {name:22} {counts[True]:>15,} trained {counts[False]:>15,} frozen")


def check_model(script_args: ParrotScriptArguments, model_args: ParrotModelConfig) -> None:
    """
    Checks the model's files and arguments, without loading it.

    Raises:
        `ValueError`: if arguments contradict each other, or if the model does not exist or is an adapter.
    """
    name = model_args.model_name_or_path
    if not name:
        raise ValueError("model_name_or_path is missing: give a folder or Hub id of a Parrot.")
    check_parrot(name, "--model_name_or_path", revision=model_args.model_revision)
    if find_adapter_config_file(name, revision=model_args.model_revision):
        # from_pretrained would load the adapter into its base, and a new adapter or the final save would lose it:
        # https://github.com/huggingface/trl/issues/2418
        raise ValueError(
            f"{name} is a LoRA adapter. Merge it into its base with python -m trainer.publish --model {name} "
            "--repo_id ORG/NAME --license LICENSE --dry_run FOLDER, and give FOLDER as --model_name_or_path."
        )
    if model_args.dtype not in (None, *DTYPES):  # the parser checks the command line, but not a recipe
        raise ValueError(f"dtype={model_args.dtype!r}: give {', '.join(DTYPES)}.")
    if model_args.use_peft and script_args.stage == "align":
        raise ValueError("use_peft adapts the language model, but stage 'align' does not train it: use 'instruct'.")
    if model_args.load_in_4bit or model_args.load_in_8bit:
        if not model_args.use_peft:
            raise ValueError("load_in_4bit and load_in_8bit freeze the language model: train adapters with use_peft.")
        if model_args.dtype == "auto":
            raise ValueError("load_in_4bit and load_in_8bit need a dtype: set dtype to bfloat16 instead of 'auto'.")


def load_model(script_args: ParrotScriptArguments, model_args: ParrotModelConfig) -> ParrotForConditionalGeneration:
    """
    Loads a model that `check_model` has checked, with a quantised language model if the arguments say so.

    Raises:
        `ValueError`: if adapters would train a model without experts.
    """
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
    if script_args.stage == "instruct":
        warn_of_untrained_projector(model, model_args.model_name_or_path)
    return model


def lora_config(
    model_args: ParrotModelConfig, model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> LoraConfig | None:
    """TRL's LoRA configuration for the language model's linear layers and the chat's tokens; None without LoRA."""
    config = get_peft_config(model_args)
    if config is None:
        return None
    if model_args.lora_target_modules is None and model_args.lora_target_parameters is None:
        summary = set_lora_targets(config, model)
        model_args.lora_target_modules = config.target_modules  # for training.json
    else:
        summary = f"LoRA adapts {model_args.lora_target_modules or model_args.lora_target_parameters}."
    tokens = set_trained_tokens(config, model, processor)
    if PartialState().is_main_process:
        print(f"{summary} The tokens {' '.join(tokens)} are trained, too.")
    return config


def check_recipe(recipe: str, arguments: list[str]) -> None:
    """
    Checks that a recipe is a file of YAML with no other keys than the names of arguments.

    Raises:
        `ValueError`: in one line, if it is not.
    """
    if not Path(recipe).is_file():
        recipes = Path(__file__).parent / "recipes"
        near = get_close_matches(Path(recipe).name, [file.name for file in recipes.glob("*.yaml")], cutoff=0.7)
        hint = f" Did you mean {recipes / near[0]}?" if near else ""
        raise ValueError(f"--config={recipe!r}: there is no such file. Give a YAML recipe.{hint}")
    try:
        values = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{recipe} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{recipe} is not a recipe: write lines such as `stage: align`.")
    for name in values:
        if name not in (*arguments, "env"):  # TRL sets the variables of `env`
            near = get_close_matches(str(name), arguments, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{recipe}: there is no argument {name!r}.{hint} --help lists all of them.")


def read_arguments(words: list[str]) -> tuple[ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig]:
    """
    Reads the recipe and the command line.

    Raises:
        `ValueError`: in one line, if there is no such recipe, or if an argument is unknown or has a wrong value.
    """
    kinds = (ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig)
    parser = TrlParser(
        kinds,
        description=__doc__,
        usage="%(prog)s [--config RECIPE] [--ARGUMENT VALUE ...]",
        formatter_class=HelpFormatter,
    )
    # TrlParser takes --config out itself, and only in this form.
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    if "--config" in words:
        recipe = "".join(words[words.index("--config") + 1 :][:1])
        check_recipe(recipe, [argument.name for kind in kinds for argument in fields(kind)])
    try:
        arguments = parser.parse_args_and_config(words)
    except (TypeError, ValueError) as error:  # raised by TRL, argparse and dataclasses
        raise ValueError(" ".join(str(error).split())) from error
    values = {name: value for group in arguments for name, value in vars(group).items()}
    for name in ("model_name_or_path", "dataset_name", "dataset_config", "output_dir", "resume_from_checkpoint"):
        if not isinstance(values[name], str | None):  # the parser does not check the types of a recipe's values
            raise ValueError(f"{name}={values[name]!r} is not a text: give a path or a name.")
    return arguments


def main(script_args: ParrotScriptArguments, training_args: ParrotSFTConfig, model_args: ParrotModelConfig) -> None:
    """Checks the arguments, loads, trains and saves the model, and pushes it with `--push_to_hub`."""
    check_model(script_args, model_args)
    output_dir = training_args.output_dir
    check_output(output_dir, "--output_dir")
    checkpoint = training_args.resume_from_checkpoint or last_checkpoint(output_dir)
    print_plan(script_args, training_args)
    arguments = run_arguments(script_args, training_args, model_args)
    check_same_run(arguments, output_dir, checkpoint)  # before anything is loaded
    editions = list(dict.fromkeys([*editions_of(checkpoint), edition()]))
    set_seed(training_args.seed)  # load_mixture draws the test split with the global seed
    splits = [script_args.dataset_train_split]
    if training_args.eval_strategy != "no":
        splits.append(script_args.dataset_test_split)
    train_dataset, *eval_dataset = load_data(script_args, *splits)
    check_data(train_dataset, script_args.stage, training_args)
    arguments["rows of the training data"] = hash_of_rows(undecoded(train_dataset))
    check_same_run(arguments, output_dir, checkpoint)
    if not training_args.resume_from_checkpoint and is_finished(output_dir, training_args):
        print(f"{output_dir} holds the finished model of this run. Nothing is left to train.")
        return
    processor = ParrotProcessor.from_pretrained(model_args.model_name_or_path, revision=model_args.model_revision)
    needs_answer = training_args.assistant_only_loss
    train_dataset, *eval_dataset = [
        check_rows(data, processor, needs_answer) for data in (train_dataset, *eval_dataset)
    ]
    model = load_model(script_args, model_args)
    own_use_experts, own_dtype = model.config.use_experts, model.dtype
    if not model_args.use_peft:  # With LoRA, peft freezes all that it does not adapt.
        freeze(model, script_args.stage)
    trainer = ParrotTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset[0] if eval_dataset else None,
        processing_class=processor,
        callbacks=[RunRecord(arguments, editions)],
        peft_config=lora_config(model_args, model, processor),
    )
    print_trained(model)
    if checkpoint:
        print(f"Going on from {checkpoint}.")
    train_result = trainer.train(resume_from_checkpoint=checkpoint)
    if script_args.stage == "align":  # The experts were bypassed for this stage only.
        model.config.use_experts = own_use_experts
    if not model_args.use_peft:  # trained weights are in float32 so far, also in the checkpoints
        model.to(own_dtype)
    trainer.save_model()
    if trainer.is_world_process_zero():
        for picture in draw_run(trainer.state.log_history, Path(output_dir)):
            print(f"Drawn: {picture}")
        recipe = vars(training_args) | vars(model_args) | vars(script_args)
        record(recipe, Path(output_dir), train_result.metrics["train_runtime"], trainer.state, checkpoint, editions)
    trainer.save_state()  # last: it marks the run as finished
    if training_args.push_to_hub:
        name = script_args.dataset_name
        trainer.push_to_hub(dataset_name=None if name and Path(name).exists() else name)  # a folder is not a Hub id
    # A process that exits without destroying its process group may abort, and end processes that are still writing.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    with one_line_errors():
        main(*read_arguments(sys.argv[1:]))
