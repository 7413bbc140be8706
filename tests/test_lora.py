# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""LoRA reaches every linear layer of every kind of language model, and the tokens of the chat's markup."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import Qwen2Config

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import write_data
from tests.hub import LoopbackHub, run_python
from tests.test_compose import TEXT, composed, save_language_model, save_tower
from tests.test_sft import train
from tests.tiny import HEADER, IMAGE_TOKEN, tiny_config, tiny_model
from trainer.training.lora import LANGUAGE_MODEL, LAYERS, set_lora_targets


SIZES = {"head_dim": 8, "num_hidden_layers": 2}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 2},
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SHARED = {"shared_expert_intermediate_size": 16}
ATTENTION = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
LANGUAGE_MODELS: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "qwen2": ({}, {*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}, ""),
    "qwen3_moe": (MOE, {*ATTENTION, "mlp.experts.gate_up_proj", "mlp.experts.down_proj"}, "mlp.gate.weight"),
    "qwen3_next": (
        LINEAR | MOE | SHARED,
        {*ATTENTION, "linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba", "linear_attn.out_proj"}
        | {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.shared_expert_gate"}
        | {f"mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down")},
        "mlp.gate.weight",
    ),
    "qwen3_5_text": (
        LINEAR,
        {*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "linear_attn.out_proj"}
        | {f"linear_attn.in_proj_{name}" for name in ("qkv", "z", "b", "a")},
        "",
    ),
    "lfm2": (
        {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48},
        {"conv.in_proj", "conv.out_proj", "self_attn.out_proj"}
        | {"feed_forward.w1", "feed_forward.w2", "feed_forward.w3"}
        | {f"self_attn.{name}_proj" for name in "qkv"},
        "",
    ),
    "starcoder2": ({}, {*ATTENTION, "mlp.c_fc", "mlp.c_proj"}, ""),
    "llama4_text": (
        {"num_local_experts": 4, "intermediate_size_mlp": 16},
        {*ATTENTION, "feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"}
        | {f"feed_forward.shared_expert.{name}_proj" for name in ("gate", "up", "down")},
        "feed_forward.router",
    ),
    "falcon_h1": (
        {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8},
        {*ATTENTION, "mamba.in_proj"} | {f"feed_forward.{name}_proj" for name in ("gate", "up", "down")},
        "mamba.out_proj",
    ),
}


def forward(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    ids = torch.tensor([[*[IMAGE_TOKEN] * 5, 5, 6, 7, *HEADER, 8, 9]])
    return model(input_ids=ids, pixel_values=torch.randn(1, 3, 28, 28)).logits


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_lora_reaches_every_linear_layer_and_says_what_it_leaves_out(kind: str) -> None:
    text, expected, left_out = LANGUAGE_MODELS[kind]
    model = tiny_model(tiny_config(text_config={"model_type": kind} | SIZES | text))
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    linear = {name for name in linear if name.startswith(LAYERS)}
    before = forward(model)
    config = LoraConfig(lora_dropout=0.0, r=4)
    summary = set_lora_targets(config, model)
    adapted, _, rest = summary.removeprefix("LoRA adapts ").rstrip(".").partition(". It leaves out ")
    assert set(adapted.split(", ")) == expected
    assert rest == left_out
    model = get_peft_model(model, config)
    torch.testing.assert_close(forward(model), before, atol=1e-5, rtol=1e-4)
    layers = {name for name, module in model.get_base_model().named_modules() if isinstance(module, LoraLayer)}
    assert {name for name in linear - layers if not name.endswith(left_out or "nothing")} == set()
    assert all(name.startswith(LAYERS) for name in layers)
    forward(model).float().pow(2).sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if "lora_B" in name}
    assert {name for name, value in gradients.items() if value is None or not value.any()} == set()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    changed = forward(model)
    assert (changed - before).abs().max() > 0.01
    torch.testing.assert_close(forward(model.merge_and_unload()), changed, atol=1e-3, rtol=1e-3)


def test_a_head_with_trained_tokens_gives_a_loss() -> None:
    """peft hides the head's attributes, such as its size."""
    model, ids = tiny_model(), torch.tensor([[5, 6, *HEADER, 8, 9]])
    expected = model(input_ids=ids, labels=ids).loss
    tokens = {"lm_head": [HEADER[0]], f"{LANGUAGE_MODEL}embed_tokens": [HEADER[0]]}
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], trainable_token_indices=tokens))
    assert adapted(input_ids=ids, labels=ids).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_dropout_leaves_experts_that_are_parameters_and_says_so() -> None:
    model = tiny_model(tiny_config(text_config={"model_type": "qwen3_moe"} | SIZES | MOE))
    config = LoraConfig(lora_dropout=0.1)
    summary = set_lora_targets(config, model)
    assert "leaves out mlp.experts.down_proj (unless lora_dropout is 0)" in summary
    get_peft_model(model, config)


@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
def test_the_tokens_of_the_markup_are_trained_and_merged(
    is_tied: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = Qwen2Config(**TEXT, tie_word_embeddings=is_tied)
    language_model = save_language_model(config, tmp_path, template=None)
    base, processor = composed(save_tower("clip", tmp_path), language_model, tmp_path / "base")
    tokens = ["<image>", "<|im_start|>", "<|im_end|>"]
    ids = processor.tokenizer.convert_tokens_to_ids(tokens)
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "red"}]
    data = write_data(tmp_path / "data", [{"messages": messages, "images": [], "language": "en"}] * 8)
    arguments = ["--model_name_or_path", str(tmp_path / "base"), "--dataset_name", str(data)]
    output = train(tmp_path, tmp_path / "adapter", "--use_peft", *arguments)
    assert "The tokens <|im_start|> <|im_end|> <image> are trained, too." in capsys.readouterr().out

    model = PeftModel.from_pretrained(ParrotForConditionalGeneration.from_pretrained(tmp_path / "base"), output).eval()
    inputs = ParrotProcessor.from_pretrained(output).apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt"
    )
    logits = model(**inputs).logits
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = ParrotForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(merged(**inputs).logits, logits, atol=1e-4, rtol=1e-4)
    assert (merged.lm_head.weight is merged.get_input_embeddings().weight) == is_tied
    for before, after in (
        (base.get_input_embeddings().weight, merged.get_input_embeddings().weight),
        (base.lm_head.weight, merged.lm_head.weight),
    ):
        moved = set((before != after).any(dim=1).nonzero().flatten().tolist())
        assert moved == set(ids) if before is base.lm_head.weight else moved <= set(ids)
        assert set(ids[1:]) <= moved  # the embedding of <image> is replaced by the picture


@pytest.mark.parametrize("arguments", [[], ["--use_peft"], ["--stage", "align"]], ids=["full", "lora", "align"])
def test_an_adapter_as_the_model_is_refused_with_advice(arguments: list[str], world: Path, tmp_path: Path) -> None:
    adapter = train(world, tmp_path / "adapter", "--use_peft", "--max_steps", "1")
    for folder in (adapter, adapter / "checkpoint-1"):
        with pytest.raises(ValueError, match=r"is a LoRA adapter\. Merge it .* trainer\.publish .*--dry_run") as error:
            train(world, tmp_path / "out", "--model_name_or_path", str(folder), *arguments)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_adapter_on_the_hub_is_refused_too(world: Path, tmp_path: Path) -> None:
    adapter = train(world, tmp_path / "adapter", "--use_peft", "--max_steps", "1", "--save_strategy", "no")
    code = f"""
from pathlib import Path
from huggingface_hub import HfApi
from tests.test_sft import train
HfApi().create_repo("org/adapter")
HfApi().upload_folder(repo_id="org/adapter", folder_path={str(adapter)!r})
try:
    train(Path({str(world)!r}), Path("out"), "--model_name_or_path", "org/adapter", "--use_peft")
except ValueError as error:
    assert str(error).startswith("org/adapter is a LoRA adapter."), error
else:
    raise AssertionError("it was trained")
"""
    with LoopbackHub() as hub:
        run_python(code, hub.environment(tmp_path / "home"), tmp_path, with_repository=True)
        assert not any("safetensors" in request for request in hub.requests if request.startswith("GET"))
