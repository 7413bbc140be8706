# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Training with `python trainer/sft.py`: the parts that each stage trains, resuming, LoRA."""

import copy
import json
import pickle
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import load_dataset
from peft import PeftModel
from PIL import Image as PILImage
from safetensors.torch import load_file
from trl import SFTTrainer, TrlParser
from trl.scripts.utils import DatasetConfig
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import ANSWERS, write_data
from tests.hub import LoopbackHub, run_python
from trainer import sft
from trainer.sft import (
    TRAINED,
    ParrotModelConfig,
    ParrotScriptArguments,
    ParrotSFTConfig,
    check_model,
    load_data,
    load_model,
    lora_config,
    main,
    read_arguments,
    warn_of_untrained_projector,
)
from trainer.training.parrot_trainer import ParrotTrainer


def train(world: Path, output: Path, *arguments: str) -> Path:
    """Trains for four steps as `trainer/sft.py` does with these arguments. Returns the output folder."""
    parser = TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig))
    common = {
        "model_name_or_path": world / "model",
        "dataset_name": world / "data",
        "output_dir": output,
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "activation_checkpointing": False,
    }
    line = [text for name, value in common.items() for text in (f"--{name}", str(value))]
    main(*parser.parse_args_and_config([*line, *arguments]))
    return output


@pytest.mark.parametrize("has_accelerator", [False, True])
def test_an_accelerator_computes_in_bfloat16_and_a_cpu_in_float32_unless_one_asks_for_another(
    has_accelerator: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("trainer.sft", "transformers.training_args"):
        monkeypatch.setattr(f"{module}.is_torch_bf16_gpu_available", lambda: has_accelerator)
    common = {"output_dir": str(tmp_path), "report_to": "none"}
    assert ParrotSFTConfig(**common).bf16 == has_accelerator
    assert not ParrotSFTConfig(**common, bf16=False).bf16
    assert not ParrotSFTConfig(**common, use_cpu=True).bf16
    assert ParrotSFTConfig(**common, use_cpu=True, bf16=True).bf16
    if not has_accelerator:
        with pytest.raises(ValueError, match=r"bf16=True: this machine has no accelerator.*Leave bf16 out"):
            ParrotSFTConfig(**common, bf16=True)


def history(output: Path) -> list[dict[str, float]]:
    return json.loads((output / "trainer_state.json").read_text())["log_history"]


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in history(output) if "loss" in entry]


@pytest.mark.parametrize("stage", TRAINED)
def test_every_tensor_of_the_stage_moves_and_no_other(
    stage: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = train(world, tmp_path, "--stage", stage)
    printed = capsys.readouterr().out
    assert printed.startswith(f"Stage {stage}, {list(TRAINED).index(stage) + 1} of 2: it trains ")
    assert printed.splitlines()[0].endswith("Mixed precision: no.")
    assert ("The experts are bypassed." in printed) == (stage == "align")
    assert ("the projector of" in printed) == (stage == "instruct")  # it is untrained
    before, after = (load_file(folder / "model.safetensors") for folder in (world / "model", output))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(TRAINED[stage])}
    assert ParrotForConditionalGeneration.from_pretrained(output).config.use_experts


def test_stage_2_begins_exactly_where_stage_1_ended(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(world, tmp_path / "align", "--stage", "align")
    aligned = ParrotForConditionalGeneration.from_pretrained(tmp_path / "align").eval()
    aligned.config.use_experts = False
    processor = ParrotProcessor.from_pretrained(tmp_path / "align")
    inputs = processor(images=[PILImage.new("RGB", (9, 9), "red")], text="<image>?", return_tensors="pt")
    ended = aligned(**inputs).logits
    aligned.config.use_experts = True
    assert torch.equal(aligned(**inputs).logits, ended)
    capsys.readouterr()
    warn_of_untrained_projector(aligned, "it")
    assert not capsys.readouterr().out


def test_resumed_equals_uninterrupted_step_by_step(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft, "edition", lambda: "0.1.0+g1")
    whole = train(world, tmp_path / "whole", "--save_steps", "2", "--save_total_limit", "5")
    monkeypatch.setattr(sft, "edition", lambda: "0.1.0+g2")
    shutil.copytree(whole / "checkpoint-2", tmp_path / "killed" / "checkpoint-2")
    (tmp_path / "killed" / "checkpoint-3").mkdir()  # killed while this was written
    shutil.copy(whole / "checkpoint-4" / "model.safetensors", tmp_path / "killed" / "checkpoint-3")
    resumed = train(world, tmp_path / "killed", "--save_steps", "2")
    assert len(losses(whole)) == 4
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-6)
    runs = [json.loads((folder / "training.json").read_text())[0] for folder in (whole, resumed)]
    assert [(run["resumed_from"], run["editions"]) for run in runs] == [
        (None, ["0.1.0+g1"]),
        ("checkpoint-2", ["0.1.0+g1", "0.1.0+g2"]),
    ]
    before, after = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=1e-6)


def test_each_language_has_its_loss_and_its_experts(world: Path, tmp_path: Path) -> None:
    output = train(
        world,
        tmp_path,
        "--dataloader_num_workers",
        "1",
        "--max_steps",
        "3",
        "--learning_rate",
        "0",
        "--train_sampling_strategy",
        "sequential",
    )
    logs = [log for log in history(output) if "loss" in log]
    rows = load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    model = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    collate = DataCollatorForVisionLanguageModeling(
        ParrotProcessor.from_pretrained(world / "model"), assistant_only_loss=True
    )
    for step, log in enumerate(logs):
        batch = [rows[index] for index in range(4 * step, 4 * step + 4)]
        for language in ANSWERS:
            own = [row for row in batch if row["language"] == language]
            assert (f"loss_{language}" in log) == bool(own)
            if own:
                outputs = model(**collate(copy.deepcopy(own)), output_router_logits=True)
                assert log[f"loss_{language}"] == pytest.approx(outputs.loss.item(), rel=1e-4)
            if own and outputs.router_logits is not None:
                weights = [log[f"router_{language}_{expert}"] for expert in range(4)]
                assert weights == pytest.approx(outputs.router_logits.softmax(-1).mean(0).tolist(), rel=1e-4)
    for name in ("loss.png", "router.png"):
        with PILImage.open(output / name) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize("peft", [False, True])
def test_only_answers_pass_the_head_and_the_loss_and_gradients_are_the_same(
    peft: bool, world: Path, tmp_path: Path
) -> None:
    model = ParrotForConditionalGeneration.from_pretrained(world / "model")
    processor = ParrotProcessor.from_pretrained(world / "model")
    trainer = ParrotTrainer(
        model=model,
        args=ParrotSFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none"),
        train_dataset=load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"],
        processing_class=processor,
        peft_config=lora_config(ParrotModelConfig(use_peft=peft, lora_dropout=0.0), model, processor),
    )
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    heads = []
    trainer.model.register_forward_hook(lambda _module, _args, output: heads.append(output.log_probs.numel()))
    none = torch.full_like(batch["labels"], -100)
    for labels in (batch["labels"], none):
        results = []
        for trainer_class in (SFTTrainer, ParrotTrainer):
            inputs = {key: batch[key] for key in batch if "language" not in key} | {"labels": labels}
            trainer.model.zero_grad()
            loss = trainer_class.compute_loss(trainer, trainer.model, inputs)
            loss.backward()
            gradients = {name: value.grad for name, value in trainer.model.named_parameters() if value.requires_grad}
            results.append((loss, gradients))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
        assert (results[1][0] > 0) == (labels is not none)
    assert heads == [none[:, 1:].numel(), (batch["labels"] != -100).sum(), none[:, 1:].numel(), 0]


def test_the_collator_can_be_sent_to_workers(world: Path, tmp_path: Path) -> None:
    trainer = ParrotTrainer(
        model=ParrotForConditionalGeneration.from_pretrained(world / "model"),
        args=ParrotSFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none"),
        train_dataset=load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"],
        processing_class=ParrotProcessor.from_pretrained(world / "model"),
    )
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    rows = [{"messages": messages, "images": [], "language": "tr"}]
    sent = pickle.loads(pickle.dumps(trainer.data_collator))
    assert sent(rows)["language_of_samples"] == ["tr"]


def test_an_adapter_on_a_base_without_experts_is_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "model", tmp_path / "off")
    config = json.loads((tmp_path / "off" / "config.json").read_text()) | {"use_experts": False}
    (tmp_path / "off" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="set use_experts to true"):
        train(world, tmp_path / "out", "--use_peft", "--model_name_or_path", str(tmp_path / "off"))


def test_lora_adapts_the_language_model_alone_and_merges_to_the_same(world: Path, tmp_path: Path) -> None:
    output = train(world, tmp_path / "adapter", "--use_peft", "--lora_r", "4")
    names = load_file(output / "adapter_model.safetensors").keys()
    adapted = {name for name in names if ".lora_" in name}
    assert len(adapted) == 2 * 2 * 7  # A and B, layers, projections
    assert all(".model.language_model.layers." in name for name in adapted)
    tokens = {name for name in names if ".token_adapter." in name}
    assert {name.split(".token_adapter")[0].rpartition(".")[2] for name in tokens} == {
        "embed_tokens",
        "lm_head",
    }
    assert {name.split(".")[3] for name in names - adapted - tokens} == {"multi_modal_projector", "moe"}

    base = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    inputs = ParrotProcessor.from_pretrained(output)(
        images=[PILImage.new("RGB", (9, 9), "red")], text="<image>?", return_tensors="pt"
    )
    untrained = base(**inputs).logits
    model = PeftModel.from_pretrained(base, output).eval()
    adapted_logits = model(**inputs).logits
    assert (adapted_logits - untrained).abs().max() > 0.01
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(**inputs).logits, adapted_logits, atol=1e-4, rtol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    loaded = ParrotForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(loaded(**inputs).logits, adapted_logits, atol=1e-4, rtol=1e-4)


def test_streamed_data_trains_the_same_and_evaluation_has_each_language_too(world: Path, tmp_path: Path) -> None:
    # With a learning rate of 0, an epoch of training has the losses of an evaluation on the same rows.
    common = ["--max_steps", "3", "--learning_rate", "0", "--train_sampling_strategy", "sequential"]
    evaluate = ["--eval_strategy", "steps", "--eval_steps", "3", "--dataset_test_split", "train"]
    streamed = train(
        world, tmp_path / "streamed", *common, *evaluate, "--per_device_eval_batch_size", "4", "--dataset_streaming"
    )
    assert losses(streamed) == pytest.approx(losses(train(world, tmp_path / "read", *common)), abs=1e-6)
    logs = history(streamed)
    evaluated = next(log for log in logs if "eval_loss" in log)
    for language in ANSWERS:
        seen = [log[f"loss_{language}"] for log in logs if f"loss_{language}" in log]
        assert evaluated[f"eval_loss_{language}"] == pytest.approx(sum(seen) / len(seen), rel=1e-4)


def test_tensorboard_shows_each_language(world: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    output = train(world, tmp_path, "--report_to", "tensorboard", "--max_steps", "1")
    events = accumulator.EventAccumulator(str(next(output.glob("runs/*")))).Reload()
    for key, value in history(output)[0].items():
        if key.startswith(("loss", "router")):
            assert events.Scalars(f"train/{key}")[0].value == pytest.approx(value), key


def test_a_mixture_is_split_the_same_in_every_process(world: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mixture.yaml"
    recipe.write_text(yaml.safe_dump({"datasets": [{"path": str(world / "data")}], "test_split_size": 0.5}))
    logged = []
    for state in (1, 2):
        np.random.seed(state)  # two processes begin with different states
        output = train(world, tmp_path / str(state), "--config", str(recipe), "--dataset_name", "", "--max_steps", "2")
        logged.append(losses(output))
    assert logged[0] == logged[1]


def test_a_mixture_holds_each_data_set_in_its_fraction(world: Path, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": role, "content": role[0]} for role in ("user", "assistant")]} for _ in range(8)]
    text = write_data(tmp_path / "text", rows)  # has neither images nor languages
    recipe = tmp_path / "mixture.yaml"

    def read(*parts: dict[str, Any], **kwargs: Any) -> ParrotScriptArguments:
        recipe.write_text(yaml.safe_dump({"datasets": list(parts), "output_dir": str(tmp_path), **kwargs}))
        parser = TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig))
        return parser.parse_args_and_config(["--config", str(recipe), "--use_cpu", "true"])[0]

    def count(*parts: dict[str, Any], **kwargs: Any) -> list[tuple[int, int]]:
        data = load_data(read(*parts, **kwargs), "train", *(["test"] if kwargs else []))
        return [(sum(row["language"] is not None for row in split), len(split)) for split in data]

    pictures = {"path": str(world / "data")}  # 12 rows
    assert count({"path": str(text)}, pictures) == [(12, 20)]
    assert count({"path": str(text), "fraction": 1}, pictures | {"fraction": 3}) == [(12, 16)]
    assert count({"path": str(text), "fraction": 2}, *[pictures | {"fraction": 3}] * 2) == [(24, 32)]
    assert [rows for _, rows in count({"path": str(text)}, pictures, test_split_size=0.2)] == [16, 4]
    with pytest.raises(ValueError, match=r"fraction=-1 of .*text in datasets must be positive"):
        count({"path": str(text), "fraction": -1}, pictures | {"fraction": 1})
    with pytest.raises(ValueError, match="fraction"):
        count({"path": str(text), "fraction": 1}, pictures)
    with pytest.raises(ValueError, match="fractoin"):
        count({"path": str(text), "fractoin": 1})
    with pytest.raises(ValueError, match=r"path in datasets=.*nowhere'"):
        count({"path": str(tmp_path / "nowhere")})

    read({"path": str(text)}, pictures)
    output = train(world, tmp_path / "out", "--config", str(recipe), "--dataset_name", "")
    keys = {key for log in history(output) for key in log if key.startswith(("loss_", "router_"))}
    assert {key.split("_")[1] for key in keys} == set(ANSWERS)


@pytest.mark.parametrize("is_mixture", [False, True])
def test_a_folder_does_not_get_the_cached_rows_of_another_folder_of_its_name(tmp_path: Path, is_mixture: bool) -> None:
    card = {"configs": [{"config_name": "instruct", "data_files": [{"split": "train", "path": "train-*.parquet"}]}]}
    for number, parent in enumerate(("one", "one", "other")):
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": str(number)}]
        folder = tmp_path / parent / f"read-as-it-is-{is_mixture}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        write_data(folder, [{"messages": messages}])
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        if is_mixture:
            arguments = ParrotScriptArguments(datasets=[DatasetConfig(path=str(folder), name="instruct")])
        else:
            arguments = ParrotScriptArguments(dataset_name=str(folder), dataset_config="instruct")
        (data,) = load_data(arguments, "train")
        assert data[0]["messages"] == messages


def test_the_features_that_a_card_states_are_used(tmp_path: Path) -> None:
    folder = tmp_path / uuid.uuid4().hex  # such a card is cached under the folder's name
    folder.mkdir()
    PILImage.new("RGB", (4, 4), "red").save(folder / "red.png")
    (folder / "rows.jsonl").write_text(json.dumps({"images": [str(folder / "red.png")]}) + "\n")
    card = {
        "configs": [{"config_name": "instruct", "data_files": [{"split": "train", "path": "rows.jsonl"}]}],
        "dataset_info": {"config_name": "instruct", "features": [{"name": "images", "list": "image"}]},
    }
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    (data,) = load_data(ParrotScriptArguments(dataset_name=str(folder), dataset_config="instruct"), "train")
    assert data[0]["images"][0].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.slow
def test_the_trained_model_is_pushed_with_its_code_and_pictures(world: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.test_sft import train
train(Path({str(world)!r}), Path("out"), "--push_to_hub", "--hub_model_id", "org/parrot", "--save_steps", "2")
"""
    with LoopbackHub() as hub:
        run_python(code, hub.environment(tmp_path / "home"), tmp_path, with_repository=True)
        files = hub.files("org/parrot")
    for name in ("config.json", "modeling_parrot.py", "processing_parrot.py", "loss.png", "router.png"):
        assert name in files, name
    assert "README.md" not in files
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_row_whose_image_would_be_cut_is_named_and_cut_text_is_not_an_error(
    workers: str, world: Path, tmp_path: Path
) -> None:
    arguments = ["--train_sampling_strategy", "sequential", "--dataloader_num_workers", workers, "--max_length", "45"]
    train(world, tmp_path / "text", *arguments)  # the longest row has 49 tokens
    rows = load_dataset(str(world / "data"), cache_dir=str(tmp_path / "cache"))["train"].to_list()
    for index in (4, 6):  # without and with an image
        rows[index]["messages"].insert(0, {"role": "system", "content": "Kind. " * 20})
    write_data(tmp_path / "data", rows)
    with pytest.raises(ValueError, match=r"data \(train\), row 6, with max_length=45: .*increase `max_length`"):
        train(world, tmp_path / "image", *arguments, "--dataset_name", str(tmp_path / "data"))


@pytest.mark.parametrize("arguments", [["--stage", "align"], ["--stage", "instruct"], ["--use_peft"]], ids=" ".join)
def test_a_model_in_half_precision_learns_updates_that_half_precision_would_round_away(
    arguments: list[str], world: Path, tmp_path: Path
) -> None:
    half = ["--dtype", "bfloat16", "--bf16", "true", "--learning_rate", "1e-5"]
    output = train(world, tmp_path / "out", *half, *arguments, "--save_steps", "4")
    name = "adapter_model.safetensors" if "--use_peft" in arguments else "model.safetensors"
    began, checkpoint, saved = (
        {key.removeprefix("base_model.model."): value for key, value in load_file(file).items()}
        for file in (world / "model" / "model.safetensors", output / "checkpoint-4" / name, output / name)
    )
    trained = TRAINED["align" if "align" in arguments else "instruct"]
    for key, value in checkpoint.items():
        assert value.dtype == (torch.float32 if key.startswith(trained) else torch.bfloat16), key
    for key in ("model.multi_modal_projector.linear_1.weight", "model.moe.experts.gate_up_proj"):
        before = began[key].bfloat16().float()  # 4 steps of 1e-5 on weights of 0.1: in bfloat16 they are 0.0005 apart
        moved = (checkpoint[key].float() != before)[before.abs() > 0.1]
        assert moved.float().mean() == pytest.approx(float(key.startswith(trained)), abs=0.1), key
    dtype = torch.float32 if "--use_peft" in arguments else torch.bfloat16
    assert {value.dtype for value in saved.values()} == {dtype}
    for key, value in saved.items():
        assert torch.equal(value, checkpoint[key].to(value.dtype)), key

    loaded = ParrotForConditionalGeneration.from_pretrained(world / "model", dtype="bfloat16")
    if "--use_peft" in arguments:
        loaded = PeftModel.from_pretrained(loaded, output).merge_and_unload()
    else:
        loaded = ParrotForConditionalGeneration.from_pretrained(output)
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}


def test_half_precision_without_autocast_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set bf16 to true"):
        train(world, tmp_path, "--dtype", "bfloat16")


def test_resumed_equals_uninterrupted_with_lora_in_half_precision(world: Path, tmp_path: Path) -> None:
    arguments = ["--use_peft", "--save_steps", "2", "--dtype", "bfloat16", "--bf16", "true"]
    whole = train(world, tmp_path / "whole", *arguments)
    shutil.copytree(whole / "checkpoint-2", tmp_path / "killed" / "checkpoint-2")
    resumed = train(world, tmp_path / "killed", *arguments)
    assert len(losses(whole)) == 4
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-6)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (whole, resumed))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_qlora_quantizes_the_language_model_alone_and_its_adapter_fits_the_whole_model(
    world: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason='pip install -e ".[qlora]"')
    half = ["--dtype", "bfloat16", "--bf16", "true"]
    output = train(world, tmp_path / "qlora", "--use_peft", "--load_in_4bit", *half)
    assert load_file(output / "adapter_model.safetensors")["base_model.model.model.moe.router.weight"].any()
    unquantized = train(world, tmp_path / "lora", "--use_peft", *half)
    assert losses(output) == pytest.approx(losses(unquantized), rel=0.1)
    assert losses(output) != losses(unquantized)

    arguments = ParrotModelConfig(str(world / "model"), use_peft=True, load_in_4bit=True, dtype="bfloat16")
    model = load_model(ParrotScriptArguments(), arguments)
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    quantized = {name for name, module in linears.items() if module.weight.dtype == torch.uint8}
    assert quantized == {name for name in linears if name.startswith("model.language_model.")}

    base = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    merged = PeftModel.from_pretrained(base, output).merge_and_unload()
    inputs = ParrotProcessor.from_pretrained(output)(
        images=[PILImage.new("RGB", (9, 9), "red")], text="<image>?", return_tensors="pt"
    )
    assert merged(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--use_peft", "--stage", "align"], "stage 'align' does not train"),
        (["--use_peft", "--load_in_4bit", "--stage", "align"], "stage 'align' does not train"),
        (["--load_in_4bit"], "with use_peft"),
        (["--load_in_8bit"], "with use_peft"),
        (["--load_in_4bit", "--use_peft", "--dtype", "auto"], "bfloat16 instead of 'auto'"),
        (["--lerning_rate", "1"], "lerning_rate"),
        (["--datasets", "data"], r"^dataset_name='.*' and datasets \(data\): give only one of them\."),
        (["--dataset_name", ""], r"^dataset_name='': there are no data to train on\. Give a Hub id or a folder\.$"),
        (["--test_split_size", "0.5"], r"test_split_size=0\.5 is for datasets, and not for dataset_name="),
        (["--eval_strategy", "epoch"], r"no split 'test' in .*, only \['train'\]"),
    ],
)
def test_arguments_that_contradict_each_other_are_errors(
    arguments: list[str], message: str, world: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(world, tmp_path, *arguments)


def test_a_recipe_and_a_data_set_s_name_contradict_each_other(world: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mixture.yaml"
    recipe.write_text(yaml.safe_dump({"datasets": [{"path": "data/mine"}]}))
    with pytest.raises(ValueError, match=r"^dataset_name='.*' and datasets \(data/mine\): give only one of them\."):
        train(world, tmp_path / "out", "--config", str(recipe))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nope.yaml"], r"^--config='nope\.yaml': there is no such file\. Give a YAML recipe\.$"),
        (["--config=nope.yaml"], r"^--config='nope\.yaml': there is no such file"),
        (["--config", "demo_alin.yaml"], r"Did you mean .*trainer/recipes/demo_align\.yaml\?$"),
        (["--config"], r"^--config='': there is no such file"),
        (["--config", "trainer"], r"^--config='trainer': there is no such file"),
    ],
)
def test_a_recipe_that_does_not_exist_is_an_error_that_names_it(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_arguments(words)


@pytest.mark.parametrize("argument", ["model_name_or_path", "dataset_name", "resume_from_checkpoint"])
def test_a_path_of_a_recipe_that_is_not_a_text_is_named(argument: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"use_cpu": True, argument: True}))
    with pytest.raises(ValueError, match=f"{argument}=True is not a text"):
        read_arguments(["--config", str(tmp_path / "recipe.yaml")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("datasets", "data/mine"),
        ("datasets", ["data/mine"]),
        ("datasets", {"path": "data/mine"}),
        ("datasets", [{"name": "align"}]),
        ("datasets", [{"path": "data/mine", "fractoin": 0.2}]),
        ("datasets", [{"path": "data/mine", "fraction": "half"}]),
        ("per_device_train_batch_size", 0),
        ("gradient_accumulation_steps", 1.5),
    ],
)
def test_a_value_of_a_recipe_in_a_wrong_form_is_named(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"use_cpu": True, name: value}))
    with pytest.raises(ValueError, match=name):
        read_arguments(["--config", str(tmp_path / "recipe.yaml")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learningrate: 0.1", r"recipe\.yaml: there is no argument 'learningrate'\. Did you mean learning_rate\?"),
        ("- stage", r"recipe\.yaml is not a recipe: write lines such as"),
        ("stage: [align", r"recipe\.yaml is not YAML: while parsing a flow sequence"),
    ],
)
def test_a_recipe_that_has_unknown_arguments_or_none_is_an_error_that_names_it(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_arguments(["--config", str(tmp_path / "recipe.yaml")])


def test_an_unknown_dtype_of_a_recipe_is_an_error_before_the_model_is_loaded(world: Path) -> None:
    with pytest.raises(ValueError, match="dtype='flaot': give auto, bfloat16"):
        check_model(ParrotScriptArguments(), ParrotModelConfig(str(world / "model"), dtype="flaot"))


def test_an_output_folder_that_is_a_file_is_an_error_before_anything_is_loaded(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"^--output_dir='.*file/out' lies in .*file, which is a file: give a new folder\.$"
    ):
        train(world, tmp_path / "file" / "out", "--dataset_name", "nowhere")
