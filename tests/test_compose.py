# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Composing a Parrot from tiny real parts: every kind of vision tower, language model and chat template."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LlavaImageProcessorPil,
    MiniMaxConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Siglip2VisionConfig,
    SiglipConfig,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from modeling_parrot.chat_format import ChatFormat
from tests.tiny import PARITY, chat_inputs, tiny_model, tiny_processor
from trainer.compose import ComposeArguments
from trainer.training.composition import compose, compose_into_folder, load_vision_tower, prepare_tokenizer, turn_ids


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = SIZES | {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 490, "pad_token_id": 480}
SIDE = {"vision_config": SIZES | {"image_size": 28, "patch_size": 14}, "text_config": SIZES | {"vocab_size": 50}}
TOWERS = {
    "clip": CLIPConfig(**SIDE),
    "siglip": SiglipConfig(**SIDE),
    "siglip2": Siglip2VisionConfig(**SIZES, patch_size=14, num_patches=4),
    "registers": Dinov2WithRegistersConfig(
        **{key: value for key, value in SIZES.items() if "inter" not in key}, image_size=28, patch_size=14
    ),
    "dinov2": Dinov2Config(**{key: value for key, value in SIZES.items() if "inter" not in key}, image_size=28),
}
LANGUAGE_MODELS = {
    "qwen2": Qwen2Config(**TEXT),
    "qwen3": Qwen3Config(**TEXT, tie_word_embeddings=True),
    "llama": LlamaConfig(**TEXT),
    "padded": Qwen2Config(**(TEXT | {"vocab_size": 512}), use_sliding_window=True, sliding_window=8),
    "gemma3": Gemma3TextConfig(**TEXT, bos_token_id=480),
}
LLAMA_3 = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set first = '' %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + "
    "'\n' + (first if loop.first else '') + message.content + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
VICUNA = "{% for m in messages %}{{ m.role.upper() + ': ' + m.content + ' ' }}{% endfor %}ASSISTANT:"
# EXAONE 3.5's template, as published: each role has its own token, and only answers have a token at their end.
EXAONE = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "{{ '[|system|][|endofturn|]\n' }}{% endif %}{{ '[|' + message.role + '|]' + message.content }}"
    "{{ '\n' if message.role == 'user' else '[|endofturn|]\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)
KIMI = (
    "{% if messages[0].role != 'system' %}{{ '<|im_system|>system<|im_middle|>You are Kimi.<|im_end|>' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_' + message.role + '|>' + message.role + '<|im_middle|>' + message.content "
    "+ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}"
)
# Only the assistant has a token: nothing ends an answer before the user's next words.
ANSWERER = (
    "{% for m in messages %}{{ ('<|bot|>' if m.role == 'assistant' else m.role + ': ') + m.content + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|bot|>' }}{% endif %}"
)
# "assistant" and an answer's first letters may be one token.
GLUED = (
    "{% for m in messages %}{{ '<|turn|>' + m.role + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant' }}{% endif %}"
)
TEMPLATES = {
    "llama3": (LLAMA_3, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "gemma": (GEMMA, ["<bos>", "<start_of_turn>", "<end_of_turn>"], "<end_of_turn>"),
    "exaone": (EXAONE, ["[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"], "[|endofturn|]"),
    "kimi": (KIMI, ["<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"], "<|im_end|>"),
    "vicuna": (VICUNA, [], "<|im_end|>"),
    "answerer": (ANSWERER, ["<|bot|>", "<|end|>"], "<|im_end|>"),
    "glued": (GLUED, ["<|turn|>", "<|end|>"], "<|im_end|>"),
    "endless": (LLAMA_3, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"], "<|im_end|>"),
    "none": (None, [], "<|im_end|>"),
}
USABLE = ("llama3", "gemma", "exaone", "kimi")  # the others fall back to ChatML
CHAT = [
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "是一只猫。"},
    {"role": "user", "content": "Точно?"},
    {"role": "assistant", "content": "\nHayır."},
]


def save_tower(name: str, folder: Path) -> str:
    """Writes a tiny tower and its image processor. Returns the folder."""
    torch.manual_seed(0)
    AutoModel.from_config(TOWERS[name]).save_pretrained(folder / name)
    LlavaImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder / name)
    return str(folder / name)


def save_language_model(
    config: PreTrainedConfig, folder: Path, template: str | None = "", tokens: list[str] | None = None
) -> str:
    """Writes a tiny language model, with further special tokens. If empty, the template is the tokenizer's own."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(PARITY / "parrot-tiny", config=Qwen2Config())
    if template != "":
        tokenizer.chat_template = template
    tokenizer.add_special_tokens({"additional_special_tokens": tokens or []}, replace_extra_special_tokens=False)
    tokenizer.save_pretrained(folder / "lm")
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = 480
    model.save_pretrained(folder / "lm")
    return str(folder / "lm")


def composed(tower: str, language_model: str, output: Path, **kwargs: Any) -> tuple:
    """Composes a Parrot, saves it and loads it again, with its processor."""
    arguments = ComposeArguments(tower, language_model, str(output), **kwargs)
    model, processor = compose(arguments)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    return ParrotForConditionalGeneration.from_pretrained(output).eval(), ParrotProcessor.from_pretrained(output)


@pytest.mark.parametrize(("tower", "language_model"), [*zip(TOWERS, LANGUAGE_MODELS, strict=True)])
def test_parts_keep_their_weights_and_the_whole_generates(tower: str, language_model: str, tmp_path: Path) -> None:
    tower_folder = save_tower(tower, tmp_path)
    lm_folder = save_language_model(LANGUAGE_MODELS[language_model], tmp_path)
    model, processor = composed(tower_folder, lm_folder, tmp_path / "parrot")

    has_cls = tower in ("clip", "dinov2", "registers")
    assert model.config.image_seq_length == 4 + has_cls + 4 * (tower == "registers")
    assert model.config.text_config.vocab_size == max(LANGUAGE_MODELS[language_model].vocab_size, 484)
    assert model.config.image_query == ("cls" if has_cls else "mean")
    original = AutoModelForCausalLM.from_pretrained(lm_folder).eval()
    ids = torch.arange(3, 30)[None]
    torch.testing.assert_close(model(ids).logits, original(ids).logits, rtol=0, atol=0)
    own_tower, _ = load_vision_tower(tower_folder, None)
    for name, value in own_tower.state_dict().items():
        assert torch.equal(value, model.model.vision_tower.state_dict()[name]), name
    assert model.model.moe.experts.down_proj.abs().sum() == 0

    inputs = chat_inputs(processor, Image.new("RGB", (40, 30), "red"), "Что это?")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == model.config.image_seq_length
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[1] > inputs["input_ids"].shape[1]
    words = model.get_input_embeddings()(torch.arange(400))
    features = model.get_image_features(inputs["pixel_values"].float(), return_dict=True).pooler_output[0]
    assert 0.2 < features.std() / words.std() < 5


def test_experts_that_begin_at_random_add_something_and_change_nothing_else(tmp_path: Path) -> None:
    tower, language_model = save_tower("clip", tmp_path), save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path)
    at_zero, _ = composed(tower, language_model, tmp_path / "at_zero")
    at_random, _ = composed(tower, language_model, tmp_path / "at_random", experts_begin="at_random")
    experts = at_random.model.moe.experts
    assert experts.down_proj.std().item() == pytest.approx(experts.gate_up_proj.std().item(), rel=0.05)
    for (name, one), other in zip(at_zero.state_dict().items(), at_random.state_dict().values(), strict=True):
        assert torch.equal(one, other) == (name != "model.moe.experts.down_proj"), name


def test_the_experts_settings_are_in_the_composed_config(tmp_path: Path) -> None:
    tower, language_model = save_tower("clip", tmp_path), save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path)
    model, _ = composed(tower, language_model, tmp_path / "parrot", num_experts_per_tok=2, moe_scale=0.5)
    assert (model.config.num_experts_per_tok, model.config.moe_scale) == (2, 0.5)
    model, _ = composed(tower, language_model, tmp_path / "paper")
    assert (model.config.num_experts_per_tok, model.config.moe_scale) == (None, 1.0)


def test_parts_in_bfloat16_stay_in_bfloat16(tmp_path: Path) -> None:
    lm_folder = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path)
    AutoModelForCausalLM.from_pretrained(lm_folder, dtype=torch.bfloat16).save_pretrained(lm_folder)
    composed(save_tower("clip", tmp_path), lm_folder, tmp_path / "parrot")
    loaded = ParrotForConditionalGeneration.from_pretrained(tmp_path / "parrot", dtype="auto")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2"])
@pytest.mark.parametrize("image_size", [14, 56])
def test_another_image_size_has_interpolated_positions(tower: str, image_size: int, tmp_path: Path) -> None:
    folder = save_tower(tower, tmp_path)
    own, _ = load_vision_tower(folder, None)
    resized, size = load_vision_tower(folder, image_size)
    assert size == image_size
    pixels = torch.randn(1, 3, image_size, image_size)
    extra = {} if tower == "dinov2" else {"interpolate_pos_encoding": True}
    torch.testing.assert_close(resized(pixels).last_hidden_state, own(pixels, **extra).last_hidden_state)


@pytest.mark.parametrize(
    ("image_size", "patch_size"), [(384, 14), (224, 14), (224, 16), (256, 16), (384, 16), (512, 16), (256, 32)]
)
def test_every_published_siglip_is_a_tower(image_size: int, patch_size: int, tmp_path: Path) -> None:
    sizes = {"image_size": image_size, "patch_size": patch_size}
    config = SiglipConfig(vision_config=SIDE["vision_config"] | sizes, text_config=SIDE["text_config"])
    AutoModel.from_config(config).save_pretrained(tmp_path / "tower")
    LlavaImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(tmp_path / "tower")
    lm_folder = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path)
    model, processor = compose(ComposeArguments(str(tmp_path / "tower"), lm_folder, ""))
    tokens = (image_size // patch_size) ** 2
    assert (model.config.image_seq_length, processor.num_additional_image_tokens) == (tokens, 0)
    inputs = processor(images=[Image.new("RGB", (50, 40), "red")], text="<image>?", return_tensors="pt")
    assert inputs["pixel_values"].shape[-2:] == (image_size, image_size)
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == tokens
    assert model(**inputs).logits.isfinite().all()
    assert model.generate(**inputs, max_new_tokens=2, min_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2


def test_siglip2_sees_the_patches_that_its_own_processor_would_cut(tmp_path: Path) -> None:
    model, _ = composed(
        save_tower("siglip2", tmp_path), save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path), tmp_path / "parrot"
    )
    pixels = torch.randn(2, 3, 28, 42)
    patches = torch.stack([torch.tensor(convert_image_to_patches(p.numpy(), 14)) for p in pixels])
    expected = model.model.vision_tower(
        patches, torch.ones(2, 6, dtype=torch.long), torch.tensor([[2, 3]] * 2), output_hidden_states=True
    ).hidden_states[-2]
    actual = torch.stack(model.get_image_features(pixels, return_dict=True).pooler_output)
    torch.testing.assert_close(actual, model.model.multi_modal_projector(expected))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_chat_format_follows_the_language_model(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template, tokens, end = TEMPLATES[kind]
    lm_folder = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path, template, tokens)
    model, processor = composed(save_tower("clip", tmp_path), lm_folder, tmp_path / "parrot")
    own = AutoTokenizer.from_pretrained(lm_folder)
    if kind in USABLE:
        chat = CHAT[:3]
        for messages in (chat, [{"role": "system", "content": "Be brief."}, *chat]):
            expected = own.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            assert processor.apply_chat_template(messages, add_generation_prompt=True) == expected
    assert processor.tokenizer.eos_token == end
    assert model.generation_config.eos_token_id == [processor.tokenizer.eos_token_id, 480]

    inputs = processor.apply_chat_template(
        CHAT, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids, answers = inputs["input_ids"], inputs["assistant_masks"].bool()
    labelled = processor.tokenizer.decode(ids[answers], skip_special_tokens=True).replace("\n", "")
    assert labelled == "是一只猫。Hayır."
    guides = model.model.get_guidance_mask(ids, model.get_input_embeddings()(ids))
    assert not (guides & answers).any()
    guiding = processor.tokenizer.decode(ids[guides])
    assert "What is it?" in guiding
    assert "Точно?" in guiding
    assert ("Chats are written in ChatML." in capsys.readouterr().out) == (kind not in USABLE)


@pytest.mark.parametrize("kind", ["exaone", "kimi", "gemma", "answerer"])
def test_the_second_question_guides_the_experts_and_the_first_answer_does_not(kind: str, tmp_path: Path) -> None:
    template, tokens, _ = TEMPLATES[kind]
    lm_folder = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path, template, tokens)
    model, processor = composed(save_tower("clip", tmp_path), lm_folder, tmp_path / "parrot")
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    image = Image.new("RGB", (40, 30), "red")
    router_logits = []
    model.model.moe.register_forward_hook(lambda _module, _inputs, output: router_logits.append(output[1]))
    for answer, question in (("Evet.", "Bu ne?"), ("是。", "Bu ne?"), ("Evet.", "Что это?")):
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        chat = [*CHAT[:1], {"role": "assistant", "content": answer}, {"role": "user", "content": content}]
        options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
        inputs = processor.apply_chat_template(chat, add_generation_prompt=True, **options)
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    first, other_answer, other_question = router_logits
    torch.testing.assert_close(other_answer, first)
    assert (other_question - first).abs().max() > 1e-3


def test_a_base_model_uses_the_chat_template_of_another_tokenizer(tmp_path: Path) -> None:
    tokens = TEMPLATES["gemma"][1]
    base = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path / "base", None, tokens)
    instruct = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path / "instruct", GEMMA, tokens)
    arguments = ComposeArguments(save_tower("clip", tmp_path), base, "", chat_template_path=instruct)
    model, processor = compose(arguments)
    expected = AutoTokenizer.from_pretrained(instruct).apply_chat_template(CHAT[:3], tokenize=False)
    assert processor.apply_chat_template(CHAT[:3]) == expected
    assert processor.tokenizer.eos_token == "<end_of_turn>"
    assert model.config.assistant_header_ids == processor.tokenizer.encode("<start_of_turn>model\n")


def test_a_chat_template_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    plain = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path / "plain", None)
    with pytest.raises(ValueError, match="has no chat template: name the tokenizer of an instruct model"):
        prepare_tokenizer(plain, plain)
    gemma = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path / "gemma", GEMMA)
    with pytest.raises(ValueError, match=r"gemma/lm cannot be used: the assistant header .* special token"):
        prepare_tokenizer(plain, gemma)


def test_parts_that_cannot_be_composed_are_named(tmp_path: Path) -> None:
    tower = save_tower("clip", tmp_path)
    for size in (30, 0, -14, 7):
        with pytest.raises(
            ValueError, match=rf"--image_size={size} is not a multiple of .*patch size 14: give (14|28),"
        ):
            load_vision_tower(tower, size)
    with pytest.raises(ValueError, match=r"vision_feature_layer=9: .* has 4 hidden states"):
        load_vision_tower(tower, vision_feature_layer=9)
    gpt2 = save_language_model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=490), tmp_path)
    with pytest.raises(ValueError, match="GPT2LMHeadModel is not a decoder with `embed_tokens`"):
        compose(ComposeArguments(tower, gpt2, str(tmp_path / "parrot")))
    capped = save_language_model(Gemma2Config(**TEXT, final_logit_softcapping=0.1), tmp_path)
    with pytest.raises(ValueError, match="scales or caps logits after its head"):
        compose(ComposeArguments(tower, capped, str(tmp_path / "parrot")))


@pytest.mark.parametrize("kind", ["gemma4", "minimax"])
def test_a_language_model_that_cannot_read_a_picture_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    if kind == "minimax":  # it generates only with its own class of cache
        config = MiniMaxConfig(**TEXT, num_local_experts=2, num_experts_per_tok=1)
    elif not hasattr(transformers, "Gemma4TextConfig"):
        pytest.skip("this transformers has no Gemma 4")
    else:  # its decoder reads more than embeddings: it looks up further vectors by token ids
        layers = {"layer_types": ["sliding_attention"] * 2 + ["full_attention"], "num_kv_shared_layers": 0}
        per_layer = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 490, "global_head_dim": 8}
        config = transformers.Gemma4TextConfig(**TEXT, **layers, **per_layer)
    lm_folder = save_language_model(config, tmp_path)
    tower = save_tower("clip", tmp_path)
    with pytest.raises(
        ValueError, match=r"--language_model='.*' \((Gemma4|MiniMax)ForCausalLM\) cannot read pictures, name"
    ) as error:
        compose(ComposeArguments(tower, lm_folder, str(tmp_path / "parrot")))
    assert "\n" not in str(error.value)


def test_impossible_arguments_are_named_in_one_line(tmp_path: Path) -> None:
    clip = save_tower("clip", tmp_path)
    qwen = save_language_model(LANGUAGE_MODELS["qwen2"], tmp_path)
    tiny_model().save_pretrained(tmp_path / "parrot")
    tiny_processor().save_pretrained(tmp_path / "parrot")
    parrot, empty, nowhere = str(tmp_path / "parrot"), str(tmp_path / "empty"), str(tmp_path / "nowhere")
    Path(empty).mkdir()
    cases = [
        ({"vision_tower": nowhere}, "--vision_tower='.*nowhere': there is no such folder"),
        ({"vision_tower": qwen}, "--vision_tower='.*lm' is a model of the type 'qwen2': name a CLIP"),
        ({"vision_tower": parrot}, "--vision_tower='.*parrot' is a model of the type 'parrot': name a CLIP"),
        ({"vision_tower": empty}, r"--vision_tower='.*empty' holds no model that transformers knows \(name a CLIP"),
        ({"language_model": nowhere}, "--language_model='.*nowhere': there is no such folder"),
        ({"language_model": clip}, "--language_model='.*clip' is a model of the type 'clip': name a decoder"),
        ({"language_model": parrot}, "--language_model='.*parrot' is a model of the type 'parrot': name a decoder"),
        ({"chat_template_path": nowhere}, "--chat_template_path='.*nowhere': there is no such folder"),
        ({"chat_template_path": empty}, "--chat_template_path='.*empty' holds no tokenizer"),
        ({"num_experts": 0}, "num_experts=0"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size=0"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok=7"),
    ]
    for changed, message in cases:
        arguments = {"vision_tower": clip, "language_model": qwen, "output": ""} | changed
        with pytest.raises(ValueError, match=message) as error:
            compose(ComposeArguments(**arguments))
        assert "\n" not in str(error.value), changed
    (Path(clip) / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"--vision_tower='.*clip' has no image processor"):
        compose(ComposeArguments(clip, qwen, ""))


def test_an_output_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    for output, reason in ((tmp_path, "already holds weights"), (tmp_path / "model.safetensors", "is a file")):
        with pytest.raises(ValueError) as error:
            compose_into_folder(ComposeArguments(vision_tower="x", language_model="x", output=str(output)))
        assert str(error.value) == f"--output={str(output)!r} {reason}: give a new folder."


def test_an_unknown_word_begins_no_turn() -> None:
    """An answer may contain unknown words, too. Then the words after them would guide the experts."""
    vocabulary = {"<unk>": 0, "<|bot|>": 1, "<|end|>": 2}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary, "<unk>")), unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|bot|>", "<|end|>"]})
    chat_format = ChatFormat(user_before="Human: ", assistant_header="<|bot|>", assistant_end="<|end|>")
    with pytest.raises(ValueError, match="no special token ends an answer before a user's turn"):
        turn_ids(tokenizer, chat_format)
