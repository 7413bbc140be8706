# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The converted model gives the same numbers as the reference code; tests/parity holds the reference's numbers."""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from modeling_parrot.convert_parrot_weights_to_hf import convert, main
from modeling_parrot.modeling_parrot import ParrotForConditionalGeneration, ParrotMoE
from modeling_parrot.processing_parrot import ParrotProcessor
from tests.tiny import IMAGE_TOKEN, NUM_IMAGE_TOKENS, PARITY, chat_inputs, image_tokens, run_expert, tiny_config


CHECKPOINT = PARITY / "parrot-tiny"
TOWER = PARITY / "openai" / "clip-vit-tiny-patch14-28"
MODEL_CASES = sorted(path.stem for path in (PARITY / "cases").glob("[ab]_*.json"))
BLOCK_CASES = sorted(path.stem for path in (PARITY / "cases").glob("h_*.json"))


def load_case(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Settings and tensors that were recorded from the reference code."""
    folder = PARITY / "cases"
    return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")


def expand(rows: torch.Tensor, image_rows: torch.Tensor, value: int) -> torch.Tensor:
    """Replaces each image's position (-200 in the reference's ids) by one position for each visual token."""
    copies = torch.where(image_rows == -200, NUM_IMAGE_TOKENS, 1)
    return torch.stack(
        [
            row.masked_fill(ids == -200, value).repeat_interleave(n)
            for row, ids, n in zip(rows, image_rows, copies, strict=True)
        ]
    )


def edit_config(checkpoint: Path, **changes: object) -> None:
    """Changes values of a checkpoint's config; None removes one."""
    file = checkpoint / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted")
    convert(CHECKPOINT, TOWER, output)
    return output


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))


@pytest.mark.parametrize("case", MODEL_CASES)
def test_logits_router_and_loss_equal_the_reference(case: str, converted: Path) -> None:
    info, tensors = load_case(case)
    model = ParrotForConditionalGeneration.from_pretrained(converted)
    model.config.residual_scale = info["overrides"]["moe_weight"]
    ids = tensors["input_ids"]
    inputs = {"input_ids": expand(ids, ids, IMAGE_TOKEN), "pixel_values": tensors["pixel_values"]}
    mask = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    if "attention_mask" in tensors:
        inputs["attention_mask"] = mask = expand(tensors["attention_mask"], ids, 1).bool()
        inputs["labels"] = expand(tensors["labels"], ids, -100)

    outputs = model(**inputs, output_router_logits=True)

    torch.testing.assert_close(outputs.logits[mask], tensors["logits"][mask], atol=5e-5, rtol=0)
    torch.testing.assert_close(outputs.router_logits.softmax(-1), tensors["router_probs"], atol=2e-6, rtol=0)
    torch.testing.assert_close(image_tokens(outputs), tensors["moe_out"].flatten(0, 1), atol=5e-5, rtol=0)
    if "loss" in tensors:
        torch.testing.assert_close(outputs.loss[None], tensors["loss"], atol=1e-5, rtol=0)
        outputs.loss.backward()
        gradients = {
            "mm_projector.0": model.model.multi_modal_projector.linear_1,
            "moe_model.gate": model.model.moe.router,
        }
        for name, module in gradients.items():
            torch.testing.assert_close(module.weight.grad, tensors[f"grad.model.{name}.weight"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", BLOCK_CASES)
def test_expert_block_equals_the_reference_with_its_gradients(case: str) -> None:
    info, tensors = load_case(case)
    reference = info["config"]
    config = tiny_config(
        text_config={"hidden_size": reference["moe_hidden_size"]},
        num_experts=reference["num_experts"],
        moe_intermediate_size=reference["moe_intermediate_size"],
        residual_scale=reference["moe_weight"] if reference["use_moe_residual"] else 0.0,
    )
    weights = {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
    experts = [
        {part: weights[f"experts.{index}.{part}_proj.weight"] for part in ("gate", "up", "down")}
        for index in range(config.num_experts)
    ]
    block = ParrotMoE(config)
    block.load_state_dict(
        {
            "router.weight": weights["gate.weight"],
            "experts.gate_up_proj": torch.stack([torch.cat([expert["gate"], expert["up"]]) for expert in experts]),
            "experts.down_proj": torch.stack([expert["down"] for expert in experts]),
        }
    )
    text = tensors["input_embeds"][None].requires_grad_()
    image = tensors["image_features"][None].requires_grad_()

    output, router_logits = block(image, text, torch.ones(text.shape[:2], dtype=torch.bool))
    (output[0] * tensors["cotangent"]).sum().backward()

    torch.testing.assert_close(output[0], tensors["output"], atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(router_logits.softmax(-1), tensors["router_probs"], atol=2e-6, rtol=0)
    torch.testing.assert_close(image.grad[0], tensors["grad.image_features"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(text.grad[0], tensors["grad.input_embeds"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(block.router.weight.grad, tensors["grad.gate.weight"], atol=2e-5, rtol=1e-5)
    gate = tensors["grad.experts.0.gate_proj.weight"]
    torch.testing.assert_close(block.experts.gate_up_proj.grad[0, : gate.shape[0]], gate, atol=2e-5, rtol=1e-5)


def test_processor_makes_the_prompt_and_pixels_that_the_reference_made(converted: Path) -> None:
    info, tensors = load_case("a_single_image_w1.0")
    processor = ParrotProcessor.from_pretrained(converted)
    image = Image.fromarray(tensors["image_uint8_0"].numpy())
    inputs = chat_inputs(processor, image, info["query"].removeprefix("<image>\n"))
    assert inputs["input_ids"].tolist() == expand(tensors["input_ids"], tensors["input_ids"], IMAGE_TOKEN).tolist()
    torch.testing.assert_close(inputs["pixel_values"], tensors["pixel_values"], atol=1e-5, rtol=0)


def test_assistant_mask_equals_the_reference_labels(converted: Path) -> None:
    info, tensors = load_case("b_batch2_labels_w1.0")
    processor = ParrotProcessor.from_pretrained(converted)
    conversations = []
    for index, sample in enumerate(info["samples"]):
        question, answer = (turn["value"] for turn in sample["conversations"])
        image = Image.fromarray(tensors[f"image_uint8_{index}"].numpy())
        text = question.replace("<image>", "").strip()  # the reference moves the image to the front
        user = [{"type": "image", "image": image}, {"type": "text", "text": text}]
        conversations.append([{"role": "user", "content": user}, {"role": "assistant", "content": answer}])
    inputs = processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True, "padding_side": "right"},
    )
    labels = inputs["input_ids"].masked_fill(inputs["assistant_masks"] == 0, -100)
    expected = expand(tensors["labels"], tensors["input_ids"], -100)
    length = expected.shape[1]  # ours is one longer: the newline after the last answer
    assert labels[:, :length].tolist() == expected.tolist()
    assert (labels[:, length:] == -100).all()


@pytest.mark.parametrize("kind", ["bin", "sharded_safetensors", "sharded_bin"])
def test_every_file_format_gives_the_same_tensors(
    kind: str, checkpoint: Path, converted: Path, tmp_path: Path
) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    # In this order, the experts of one stack are in different shards.
    names = sorted(tensors, key=lambda name: zlib.crc32(name.encode()))
    parts = [names[i::3] for i in range(3)] if kind.startswith("sharded") else [names]
    for index, part in enumerate(parts):
        shard = {name: tensors[name] for name in part}
        if kind == "sharded_safetensors":
            save_file(shard, checkpoint / f"model-{index:05}-of-00003.safetensors")
        else:
            torch.save(shard, checkpoint / f"pytorch_model-{index:05}.bin")
    convert(checkpoint, TOWER, tmp_path / "output")
    result, expected = load_file(tmp_path / "output/model.safetensors"), load_file(converted / "model.safetensors")
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_stage_1_checkpoint_converts_with_its_experts_off(checkpoint: Path, tmp_path: Path) -> None:
    edit_config(checkpoint, use_moe=False)
    convert(checkpoint, TOWER, tmp_path / "output")
    model = ParrotForConditionalGeneration.from_pretrained(tmp_path / "output")
    _, tensors = load_case("a_single_image_w1.0")
    ids = expand(tensors["input_ids"], tensors["input_ids"], IMAGE_TOKEN)
    outputs = model(input_ids=ids, pixel_values=tensors["pixel_values"], output_router_logits=True)
    assert outputs.router_logits is None
    torch.testing.assert_close(image_tokens(outputs), tensors["projected_features"][0], atol=5e-5, rtol=0)
    assert model.model.moe.experts.down_proj.abs().sum() > 0


def test_the_residual_scale_is_the_configs_or_the_references_default(checkpoint: Path, tmp_path: Path) -> None:
    edit_config(checkpoint, use_moe_residual=False)
    convert(checkpoint, TOWER, tmp_path / "none")
    assert ParrotForConditionalGeneration.from_pretrained(tmp_path / "none").config.residual_scale == 0.0
    # The reference code's defaults for what a config lacks (its moe.py: use_moe, use_moe_residual, moe_weight).
    edit_config(checkpoint, use_moe=None, use_moe_residual=None, moe_weight=None)
    convert(checkpoint, TOWER, tmp_path / "default")
    config = ParrotForConditionalGeneration.from_pretrained(tmp_path / "default").config
    assert (config.residual_scale, config.use_experts) == (1.0, True)


@pytest.mark.parametrize("generation_config", [None, {}, {"eos_token_id": 480, "model_type": "parrot_qwen2"}])
def test_generation_ends_with_the_turn(generation_config: dict | None, checkpoint: Path, tmp_path: Path) -> None:
    file = checkpoint / "generation_config.json"
    file.unlink() if generation_config is None else file.write_text(json.dumps(generation_config))
    convert(checkpoint, TOWER, tmp_path / "output")
    model = ParrotForConditionalGeneration.from_pretrained(tmp_path / "output")
    assert model.generation_config.eos_token_id == ([482, 480] if generation_config else [482])
    # The likeliest token is always 482, <|im_end|>.
    model.lm_head.forward = lambda hidden: torch.nn.functional.one_hot(torch.full(hidden.shape[:2], 482), 512) * 9.0
    assert model.generate(input_ids=torch.tensor([[481, 60]]), max_new_tokens=9, do_sample=False).shape[1] == 3


def test_batches_equal_the_reference_computed_sample_by_sample(converted: Path) -> None:
    """
    The samples have several turns, an image in the middle of the prompt, or only text. The reference code computes one
    sample at a time, from its tokenizer's ids with -200 for an image, and from labels that mark the guiding words.
    """
    model = ParrotForConditionalGeneration.from_pretrained(converted)
    model.config.residual_scale = 0.1
    user, end, header = [481, 84, 82, 285, 198], [482, 198], [481, 281, 297, 455, 198]
    turn = [*user, 60, 61, *end, *header]
    samples = [  # (ids, positions of the answers)
        ([*user, 50, 51, -200, 52, *end, *header, 70, 71, *end, *turn, 72, 73, 482], [(16, 20), (34, 37)]),
        ([*turn, 74, 482], [(14, 16)]),
        ([*user, -200, 198, 53, *end, *header, 75, 76, 77, 482], [(15, 19)]),
    ]
    images = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    features = iter(model.get_image_features(images, return_dict=True).pooler_output)
    moe, expected = model.model.moe, []
    for ids, answers in samples:
        labels = torch.full((len(ids),), -100)
        for start, stop in answers:
            labels[start:stop] = torch.tensor(ids[start:stop])
        ids = torch.tensor(ids)
        text = model.get_input_embeddings()(ids.clamp(min=0))
        parts = []
        for position, token in enumerate(ids.tolist()):
            if token != -200:
                parts.append(text[position : position + 1])
                continue
            image, words = next(features), text[(labels == -100) & (ids != -200)]
            context = (image[0] @ words.T / 64**0.5).softmax(-1) @ words
            weights = (moe.router.weight @ context).softmax(-1)
            parts.append(0.1 * image + sum(w * run_expert(moe.experts, e, image) for e, w in enumerate(weights)))
        hidden = model.model.language_model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state
        expected.append(model.lm_head(hidden)[0])

    rows = [torch.tensor(ids) for ids, _ in samples]
    rows = [expand(row[None], row[None], IMAGE_TOKEN)[0] for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=480)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask, pixel_values=images).logits
    for row, alone in zip(logits, expected, strict=True):
        torch.testing.assert_close(row[: len(alone)], alone, atol=5e-5, rtol=0)


def test_a_checkpoint_without_head_tower_and_image_token_converts(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["lm_head.weight"]
    tensors = {name: value for name, value in tensors.items() if "vision_tower" not in name}
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:483].clone()
    tensors["model.moe_model.moe_top_k.gate.weight"] = tensors["model.moe_model.gate.weight"].clone()
    save_file(tensors, checkpoint / "model.safetensors")
    edit_config(checkpoint, tie_word_embeddings=True, vocab_size=483)
    convert(checkpoint, TOWER, tmp_path / "output")
    model, info = ParrotForConditionalGeneration.from_pretrained(tmp_path / "output", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model.lm_head.weight.shape[0] == 484
    tower = load_file(TOWER / "model.safetensors")["vision_model.embeddings.class_embedding"]
    assert torch.equal(model.model.vision_tower.embeddings.class_embedding, tower)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'; only 'mlp2x_gelu'"),
        ({"model_type": "llava_llama"}, "model_type is 'llava_llama'"),
        ({"mm_vision_select_feature": "patch"}, "mm_vision_select_feature"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'"),
        ({"num_experts": 5}, "router.weight has shape"),
        ({"num_hidden_layers": 3}, "missing .*layers.2"),
        ({"num_experts": None}, "has no num_experts"),
        ({"vocab_size": 600}, "embed_tokens.weight has shape"),
    ],
)
def test_what_cannot_be_converted_is_named(changes: dict, message: str, checkpoint: Path, tmp_path: Path) -> None:
    edit_config(checkpoint, **changes)
    with pytest.raises(ValueError, match=message):
        convert(checkpoint, TOWER, tmp_path / "output")


def test_an_unknown_tensor_and_an_existing_output_are_errors(
    checkpoint: Path, tmp_path: Path, converted: Path
) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    save_file(tensors | {"model.mystery.weight": torch.zeros(1)}, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"not in the table of names: model\.mystery\.weight"):
        convert(checkpoint, TOWER, tmp_path / "output")
    with pytest.raises(ValueError, match="already holds weights"):
        convert(CHECKPOINT, TOWER, converted)
    del tensors["model.moe_model.experts.2.up_proj.weight"]
    save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"gate_up_proj is made of 12 tensors; the checkpoint has 11"):
        convert(checkpoint, TOWER, tmp_path / "missing")
    save_file({"lm_head.weight": torch.zeros(512, 64)}, checkpoint / "stray.safetensors")
    with pytest.raises(ValueError, match=r"lm_head\.weight is in .*model\.safetensors and in .*stray"):
        convert(checkpoint, TOWER, tmp_path / "stray")
    save_file(load_file(CHECKPOINT / "model.safetensors"), checkpoint / "model.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model.safetensors") | {"lm_head.weight": "model.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    convert(checkpoint, TOWER, tmp_path / "indexed")


def test_a_source_that_does_not_exist_ends_as_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for checkpoint in (tmp_path, "org/none", "./none"):
        arguments = ["--checkpoint", str(checkpoint), "--vision_tower", str(TOWER), "--output", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["convert", *arguments])
        with pytest.raises(SystemExit, match=rf"^error: {checkpoint} cannot be converted: .+"):
            main()


MEMORY_SCRIPT = """
import re, sys
from pathlib import Path
from modeling_parrot.convert_parrot_weights_to_hf import convert

def memory(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present size
before = memory("VmRSS")
convert(*map(Path, sys.argv[1:]))
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_memory_stays_below_twice_the_largest_shard(suffix: str, checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    shard_size = 200 * 2**20
    rows = shard_size // (4 * 64)  # a large vocabulary makes a large model: each of its two matrices is one shard
    shards = [{"model.embed_tokens.weight": torch.rand(rows, 64)}, {"lm_head.weight": torch.rand(rows, 64)}]
    shards.append({name: value for name, value in tensors.items() if not any(name in shard for shard in shards)})
    for index, shard in enumerate(shards):
        if suffix == "bin":
            torch.save(shard, checkpoint / f"pytorch_model-{index}.bin")
        else:
            save_file(shard, checkpoint / f"model-{index}.safetensors")
    edit_config(checkpoint, vocab_size=rows)
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(checkpoint), str(TOWER), str(tmp_path / "output")]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    assert peak < 1.6 * shard_size
