# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The model: its equations, the words that guide the router, and the behaviour of transformers' own models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, DynamicCache, LlavaForConditionalGeneration, set_seed
from trl import SFTConfig, SFTTrainer

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration
from modeling_parrot.modeling_parrot import ParrotModel, ParrotMoE, ParrotPreTrainedModel
from tests.tiny import (
    HEADER,
    IMAGE_TOKEN,
    NUM_IMAGE_TOKENS,
    chat_inputs,
    image_tokens,
    run_expert,
    tiny_config,
    tiny_model,
    tiny_processor,
)


USER, END, PAD = [481, 84, 82, 285, 198], [482, 198], 480
IMAGE = [IMAGE_TOKEN] * NUM_IMAGE_TOKENS
PROMPT = [*USER, *IMAGE, 198, 60, 61, 62, *END, *HEADER]
OTHER = [*USER, 50, *IMAGE, 51, *IMAGE, 52, 53, 54, 55, *END, *HEADER]
ANSWER = [70, 71, 72, *END]
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


def pixels(number: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def padded(*rows: list[int], side: str = "left") -> dict[str, torch.Tensor]:
    """A batch of rows of token ids."""
    length = max(map(len, rows))
    padding = [[PAD] * (length - len(row)) for row in rows]
    ids = torch.tensor([pad + row if side == "left" else row + pad for row, pad in zip(rows, padding, strict=True)])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def router_logits(
    model: ParrotForConditionalGeneration, *rows: list[int], side: str = "left", **kwargs: Any
) -> torch.Tensor:
    return model(**padded(*rows, side=side), output_router_logits=True, **kwargs).router_logits


@contextmanager
def recorded_router_logits(model: ParrotForConditionalGeneration) -> Iterator[list[torch.Tensor]]:
    """Records the router logits of each call within the context."""
    record = []
    handle = model.model.moe.register_forward_hook(lambda _module, _inputs, output: record.append(output[1].detach()))
    yield record
    handle.remove()


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that is made within the context."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.size = max(self.size, output.numel() if isinstance(output, torch.Tensor) else 0)
        return output


@pytest.fixture(scope="module")
def model() -> ParrotForConditionalGeneration:
    return tiny_model()


# The method


def test_tokens_follow_equations_1_to_5_image_by_image(model: ParrotForConditionalGeneration) -> None:
    inputs, images = padded(PROMPT, OTHER, side="right"), pixels(3)
    outputs = model(**inputs, pixel_values=images, output_router_logits=True)

    moe, embed = model.model.moe, model.get_input_embeddings()
    hidden = model.model.vision_tower(images, output_hidden_states=True).hidden_states[-2]
    projected = model.model.multi_modal_projector(hidden)  # eq. 1
    expected = []
    for image, sample in enumerate((PROMPT, OTHER, OTHER)):
        words = embed(torch.tensor([token for token in sample if token != IMAGE_TOKEN]))
        attention = (projected[image, 0] @ words.T / 32**0.5).softmax(-1)
        logits = moe.router.weight @ (attention @ words)  # eq. 2
        torch.testing.assert_close(outputs.router_logits[image], logits)
        tokens = projected[image]
        for expert, weight in enumerate(logits.softmax(-1)):  # eq. 3, 4
            tokens = tokens + weight * run_expert(moe.experts, expert, projected[image])  # eq. 5
        expected.append(tokens)
    torch.testing.assert_close(image_tokens(outputs), torch.cat(expected))
    assert outputs.router_logits.softmax(-1).std(0).max() > 0.01  # the images are routed differently


def test_the_router_reads_unscaled_embeddings_where_the_language_model_scales_them() -> None:
    gemma = {"model_type": "gemma3_text", "head_dim": 8, "pad_token_id": PAD}
    model = tiny_model(tiny_config(text_config=gemma))
    images = pixels(1)
    outputs = model(**padded(PROMPT), pixel_values=images, output_router_logits=True)
    query = model.model.get_image_features(images, return_dict=True).pooler_output[0][0]
    table = model.get_input_embeddings().weight
    assert model.get_input_embeddings()(torch.tensor(3)).equal(table[3] * table.new_tensor(32**0.5))
    words = table[[token for token in PROMPT if token != IMAGE_TOKEN]]
    attention = (query @ words.T / 32**0.5).softmax(-1)
    torch.testing.assert_close(outputs.router_logits[0], model.model.moe.router.weight @ (attention @ words))


def test_the_two_scales_weigh_residual_and_experts() -> None:
    model = tiny_model()
    inputs = padded(PROMPT) | {"pixel_values": pixels(1)}
    both = image_tokens(model(**inputs))
    model.config.moe_scale = 0
    residual = image_tokens(model(**inputs))
    model.config.residual_scale, model.config.moe_scale = 0.1, 2.0
    torch.testing.assert_close(image_tokens(model(**inputs)), 0.1 * residual + 2.0 * (both - residual))


def test_a_tower_without_cls_is_queried_by_its_mean() -> None:
    model = tiny_model(tiny_config(image_query="mean"))
    block: ParrotMoE = model.model.moe
    features, words = torch.randn(1, 5, 32), torch.randn(1, 7, 32)
    _, logits = block(features, words, torch.ones(1, 7, dtype=torch.bool))
    attention = (features[0].mean(0) @ words[0].T / 32**0.5).softmax(-1)
    torch.testing.assert_close(logits[0], block.router.weight @ (attention @ words[0]))


def test_fresh_experts_change_nothing_bit_for_bit() -> None:
    model = tiny_model(trained=False)
    inputs = padded(PROMPT, OTHER) | {"pixel_values": pixels(3)}
    with_experts = model(**inputs, output_router_logits=True)
    model.config.use_experts = False
    without = model(**inputs, output_router_logits=True)
    assert torch.equal(with_experts.logits, without.logits)
    assert with_experts.router_logits.shape == (3, 4)
    assert without.router_logits is None


def test_only_the_selected_experts_run_with_renormalised_weights() -> None:
    model = tiny_model()
    features, words, mask = torch.randn(6, 5, 32), torch.randn(6, 7, 32), torch.ones(6, 7, dtype=torch.bool)
    block = model.model.moe
    flops = {}

    def added_product(_sum: torch.Size, left: torch.Size, right: torch.Size, **_kwargs: Any) -> int:
        return 2 * left.numel() * right[1]

    for number in (4, 2, 1):
        model.config.num_experts_per_tok = number
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as counter:
            output, logits = block(features, words, mask)
        flops[number] = counter.get_total_flops()
        top = logits.softmax(-1).topk(number)
        weights = top.values / top.values.sum(-1, keepdim=True)
        for image in range(6):
            experts = [run_expert(block.experts, int(index), features[image]) for index in top.indices[image]]
            expected = features[image] + sum(w * e for w, e in zip(weights[image], experts, strict=True))
            torch.testing.assert_close(output[image], expected)
    per_expert = (flops[4] - flops[2]) / 2
    assert flops[2] - flops[1] == per_expert
    assert per_expert == 6 * 5 * 2 * (32 * 32 + 16 * 32)  # images, tokens, multiply-add, gate and up and down


def test_selected_experts_get_gradients_and_the_others_none() -> None:
    model = tiny_model(tiny_config(num_experts_per_tok=1))
    outputs = model(**padded(PROMPT), pixel_values=pixels(1), output_router_logits=True)
    outputs.logits.sum().backward()
    chosen = outputs.router_logits.argmax().item()
    norms = model.model.moe.experts.down_proj.grad.flatten(1).norm(dim=1)
    assert [index for index in range(4) if norms[index] > 0] == [chosen]


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch before 2.10 has no grouped_mm")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_grouped_mm_gives_what_the_loop_over_experts_gives(number: int) -> None:
    experts = tiny_model().model.moe.experts
    features = torch.randn(6, 5, 32, requires_grad=True)
    logits = torch.randn(6, 4)
    logits[:, 3] = -9.0  # an expert that no image selects
    selected = logits.topk(number).indices
    weights = torch.zeros(6, 4).scatter(1, selected, torch.rand(6, number)).requires_grad_()
    inputs = [features, weights, *experts.parameters()]
    outputs = [experts._run_selected(features, weights, selected)]
    outputs.append(experts._run_grouped(features, weights, selected, torch.float32))
    outputs.append(experts._run_all(features, weights, is_autocast=False))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])
    upstream = torch.randn_like(features)
    expected, *gradients = (torch.autograd.grad(output, inputs, upstream) for output in outputs)
    for gradient in gradients:
        of_features, of_weights, *of_experts = gradient
        torch.testing.assert_close((of_features, of_weights * (weights > 0), *of_experts), expected)


@pytest.mark.parametrize("number", [None, 2])
def test_under_autocast_the_products_are_in_half_precision_and_the_sum_is_not(number: int | None) -> None:
    block = tiny_model(tiny_config(num_experts_per_tok=number)).model.moe
    features, words, mask = torch.randn(3, 5, 32), torch.randn(3, 7, 32), torch.ones(3, 7, dtype=torch.bool)
    expected, _ = block(features, words, mask)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = block(features, words, mask)
    assert output.dtype == torch.float32
    assert not output.equal(output.bfloat16().float())
    assert 0 < (output - expected).norm() < 0.02 * expected.norm()


def test_router_logits_have_one_row_per_image_and_only_when_asked(model: ParrotForConditionalGeneration) -> None:
    assert router_logits(model, PROMPT, OTHER, USER, pixel_values=pixels(3)).shape == (3, 4)
    assert router_logits(model, USER) is None
    outputs = model(**padded(PROMPT), pixel_values=pixels(1))
    assert outputs.router_logits is None
    assert "router_logits" not in outputs
    base = model.model(**padded(PROMPT), pixel_values=pixels(1), output_router_logits=True, return_dict=False)
    assert base[-1].shape == (1, 4)
    assert not hasattr(model.config.get_text_config(), "output_router_logits")  # TRL would ask for an auxiliary loss


def test_memory_grows_with_the_number_of_pictures_and_not_with_its_square() -> None:
    model = tiny_model()
    largest = []
    for number in (32, 64):
        ids = torch.tensor([[*USER, *[60, *IMAGE] * number, *END, *HEADER]])
        image_outputs = model.get_image_features(pixels(number), return_dict=True)
        embeds = model.get_input_embeddings()(ids)
        with torch.no_grad(), LargestTensor() as record:
            model.model.condition_image_features(image_outputs, ids, embeds)
        largest.append(record.size)
    assert largest[1] < 2.5 * largest[0]


# The words that guide the router


def test_the_answer_does_not_route_its_own_image(model: ParrotForConditionalGeneration) -> None:
    alone = router_logits(model, PROMPT, pixel_values=pixels(1))
    for answer in (ANSWER, [90], [91] * 20):
        with_answer = router_logits(model, PROMPT + answer, pixel_values=pixels(1))
        torch.testing.assert_close(with_answer, alone)
    model_without_header = tiny_model(tiny_config(assistant_header_ids=None))
    before, after = (router_logits(model_without_header, PROMPT + a, pixel_values=pixels(1)) for a in ([], ANSWER))
    assert (before - after).abs().max() > 0.01  # if answers guided the router, the comparison above would fail


@pytest.mark.parametrize("side", ["left", "right"])
def test_routing_is_the_same_padded_batched_and_alone(side: str, model: ParrotForConditionalGeneration) -> None:
    images = pixels(3)
    alone = torch.cat(
        [router_logits(model, PROMPT, pixel_values=images[:1]), router_logits(model, OTHER, pixel_values=images[1:])]
    )
    rows = (PROMPT + ANSWER, USER, OTHER) if side == "right" else (PROMPT, USER, OTHER)
    batch = router_logits(model, *rows, side=side, pixel_values=images)
    torch.testing.assert_close(batch, alone)


def test_all_words_except_the_answers_guide_the_router(model: ParrotForConditionalGeneration) -> None:
    again = [*USER, 80, 81, *END, *HEADER]
    chat = [*PROMPT, *ANSWER, *again, 90, 91, *END]
    ids = torch.tensor([chat])
    mask = model.model.get_guidance_mask(ids, model.get_input_embeddings()(ids))[0].tolist()
    image = len(USER)
    expected = [True] * len(chat)
    expected[image : image + len(IMAGE)] = [False] * len(IMAGE)
    expected[len(PROMPT) : len(PROMPT + ANSWER)] = [False] * len(ANSWER)
    expected[-4:] = [False] * 4
    assert mask == expected
    other_role = [*HEADER[:-1], 99, 98]  # begins like the header, but is not a header
    ids = torch.tensor([[*PROMPT, *ANSWER, *other_role]])
    assert model.model.get_guidance_mask(ids, model.get_input_embeddings()(ids))[0, -6:].all()


def test_where_each_role_has_its_own_token_the_words_of_every_user_turn_guide_the_router() -> None:
    user, assistant, end = 485, 486, [487, 198]
    model = tiny_model(tiny_config(assistant_header_ids=[assistant, 198], turn_start_ids=[user]))

    def chat(answer: int, question: int) -> list[int]:
        first = [484, 50, *end, user, *IMAGE, 60, *end, assistant, 198, answer, answer, *end]
        return [*first, user, *IMAGE, question, *end, assistant, 198]

    images = pixels(2)
    alone = router_logits(model, chat(70, 80), pixel_values=images)
    other_words = router_logits(model, chat(70, 81), pixel_values=images)
    assert (other_words - alone).abs().amax(dim=1).min() > 1e-3
    torch.testing.assert_close(router_logits(model, chat(71, 80), pixel_values=images), alone)
    torch.testing.assert_close(router_logits(model, [*chat(70, 80), 72, *end], pixel_values=images), alone)
    for side, answer in (("left", []), ("right", [72, 73, *end])):
        rows = (chat(70, 80) + answer, [user, 60, *end, assistant, 198], chat(70, 81) + answer)
        batch = router_logits(model, *rows, side=side, pixel_values=torch.cat([images, images]))
        torch.testing.assert_close(batch, torch.cat([alone, other_words]))
    with recorded_router_logits(model) as record:
        model.generate(**padded(chat(70, 80), [user, 60]), pixel_values=images, **GREEDY)
    torch.testing.assert_close(record[0], alone)
    embeds = model.get_input_embeddings()(torch.tensor([chat(70, 80)]))
    by_embeds = model(inputs_embeds=embeds, pixel_values=images, output_router_logits=True).router_logits
    torch.testing.assert_close(by_embeds, alone)
    # Without the users' token, the second question does not guide the router: the first comparison above would fail.
    model.config.turn_start_ids = None
    assert torch.equal(*[router_logits(model, chat(70, question), pixel_values=images) for question in (80, 81)])


def test_guidance_is_the_reference_label_mask_of_the_chat_template(model: ParrotForConditionalGeneration) -> None:
    processor = tiny_processor()
    image = Image.new("RGB", (30, 30), "green")
    chat = []
    for question, answer in (("Что это?", "Кот."), ("¿Seguro?", " \nSim."), ("真的吗?", "是的。")):
        chat += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    chat[2]["content"] = [{"type": "image", "image": image}, {"type": "text", "text": "¿Seguro?"}]
    inputs = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids = inputs["input_ids"]
    guides = model.model.get_guidance_mask(ids, model.get_input_embeddings()(ids), inputs["attention_mask"])
    expected = (inputs["assistant_masks"] == 0) & (ids != IMAGE_TOKEN)
    expected[:, -1] = False  # the newline after the last answer: the reference code does not write it
    assert torch.equal(guides, expected)


def test_no_gradient_flows_from_an_answer_to_the_router(model: ParrotForConditionalGeneration) -> None:
    embeds = model.get_input_embeddings()(torch.tensor([PROMPT + ANSWER])).detach().requires_grad_()
    image_outputs = model.get_image_features(pixels(1), return_dict=True)
    conditioned = model.model.condition_image_features(image_outputs, torch.tensor([PROMPT + ANSWER]), embeds)
    conditioned.router_logits.square().sum().backward()
    gradient = embeds.grad[0].abs().sum(-1)
    assert (gradient[len(PROMPT) :] == 0).all()
    assert (gradient[: len(USER)] > 0).all()


def test_a_sample_without_visible_text_routes_uniformly(model: ParrotForConditionalGeneration) -> None:
    ids = torch.tensor([[PAD, PAD, *IMAGE], [60, 61, *IMAGE]])
    mask = torch.tensor([[0, 0, *[1] * 5], [1] * 7])
    outputs = model(input_ids=ids, attention_mask=mask, pixel_values=pixels(2), output_router_logits=True)
    assert outputs.router_logits[0].tolist() == [0.0] * 4
    assert torch.isfinite(outputs.logits).all()
    outputs.logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


def test_sft_trainer_routes_as_inference_does(tmp_path: Path) -> None:
    model, processor = tiny_model(), tiny_processor()
    images = [Image.new("RGB", (30, 20), color) for color in ("red", "blue", "green")]
    chats = [("Que animal?", "um gato"), ("Bu ne?", "kedi, beyaz bir kedi"), ("这是什么？", "猫")]
    rows = [
        {
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            "images": [image],
        }
        for image, (question, answer) in zip(images, chats, strict=True)
    ]
    arguments = SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=3,
        max_steps=1,
        max_length=None,
        assistant_only_loss=True,
        learning_rate=0.0,
        report_to="none",
        use_cpu=True,
        bf16=False,
        data_seed=0,
        seed=0,
    )
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=processor
    )
    with recorded_router_logits(model) as record:
        trainer.train()
    trained = torch.cat(record)

    model.eval()
    expected = []
    for image, (question, _) in zip(images, chats, strict=True):
        inputs = chat_inputs(processor, image, question)
        with recorded_router_logits(model) as record:
            model.generate(**inputs, **GREEDY)
        assert len(record) == 1  # the experts see the prompt once, not every step
        expected += record
    expected = torch.cat(expected)
    order = torch.cdist(trained, expected).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(trained, expected[order], atol=1e-5, rtol=1e-5)


# As transformers' own models behave


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    return padded(PROMPT, OTHER, [*USER, 60, *END, *HEADER]) | {"pixel_values": pixels(3)}


@pytest.fixture(scope="module")
def greedy(model: ParrotForConditionalGeneration, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model.generate(**batch, **GREEDY)


def test_left_padded_generation_equals_single(model: ParrotForConditionalGeneration, greedy: torch.Tensor) -> None:
    for row, (prompt, images) in enumerate(((PROMPT, pixels(3)[:1]), (OTHER, pixels(3)[1:]))):
        alone = model.generate(input_ids=torch.tensor([prompt]), pixel_values=images, **GREEDY)
        assert torch.equal(alone[0, len(prompt) :], greedy[row, -5:])


@pytest.mark.parametrize(
    "options",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 3, "suppress_tokens": [IMAGE_TOKEN]},  # otherwise it proposes the prompt's images
    ],
    ids=str,
)
def test_other_options_of_generate_give_the_same_tokens(
    options: dict, model: ParrotForConditionalGeneration, batch: dict[str, torch.Tensor], greedy: torch.Tensor
) -> None:
    if "prompt_lookup_num_tokens" in options:  # it takes only one sample
        batch, greedy = {"input_ids": torch.tensor([PROMPT]), "pixel_values": pixels(3)[:1]}, greedy[:1, -5:]
    generated = model.generate(**batch, **GREEDY, **options)
    assert torch.equal(generated[:, -5:], greedy[:, -5:])


@pytest.mark.skipif(
    not hasattr(transformers.generation.utils, "_slice_mm_encoder_output"),
    reason="transformers 5.18 prefills in chunks without the images, in silence, LLaVA's too",
)
@pytest.mark.parametrize("chunk", [3, 7, 64])
def test_chunked_prefill_equals_whole(chunk: int, model: ParrotForConditionalGeneration, greedy: torch.Tensor) -> None:
    inputs = {"input_ids": torch.tensor([OTHER]), "pixel_values": pixels(3)[1:]}
    generated = model.generate(**inputs, **GREEDY, prefill_chunk_size=chunk)
    assert torch.equal(generated[0, -5:], greedy[1, -5:])


def test_assisted_decoding_equals_greedy(model: ParrotForConditionalGeneration, greedy: torch.Tensor) -> None:
    inputs = {"input_ids": torch.tensor([OTHER]), "pixel_values": pixels(3)[1:]}
    generated = model.generate(**inputs, **GREEDY, assistant_model=tiny_model(seed=1))
    assert torch.equal(generated[0, -5:], greedy[1, -5:])


def test_beams_of_a_batch_equal_beams_alone(model: ParrotForConditionalGeneration) -> None:
    beams = {"num_beams": 3, "num_return_sequences": 2} | GREEDY
    rows, images = (OTHER, [*OTHER[:-1], 77]), pixels(4)
    together = model.generate(**padded(*rows), pixel_values=images, **beams)
    alone = [
        model.generate(input_ids=torch.tensor([row]), pixel_values=images[2 * i : 2 * i + 2], **beams)
        for i, row in enumerate(rows)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_samples_repeat_with_the_seed_and_see_their_own_image(model: ParrotForConditionalGeneration) -> None:
    inputs = padded(PROMPT, PROMPT) | {"pixel_values": pixels(2)}
    sampling = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 4}
    set_seed(0)
    first = model.generate(**inputs, **sampling)
    set_seed(0)
    assert torch.equal(model.generate(**inputs, **sampling), first)
    options = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 1}
    logits = model.generate(**inputs, **(sampling | options)).logits[0]
    for row in range(2):
        alone = model(**padded(PROMPT), pixel_values=pixels(2)[row : row + 1]).logits[:, -1]
        torch.testing.assert_close(logits[3 * row : 3 * row + 3], alone.expand(3, -1), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits[0], logits[3])


def test_embeddings_instead_of_ids_give_the_same(
    model: ParrotForConditionalGeneration, batch: dict[str, torch.Tensor], greedy: torch.Tensor
) -> None:
    embeds = model.get_input_embeddings()(batch["input_ids"])
    others = {key: value for key, value in batch.items() if key != "input_ids"}
    by_ids, by_embeds = model(**batch), model(inputs_embeds=embeds, **others)
    torch.testing.assert_close(by_embeds.logits, by_ids.logits)
    assert torch.equal(model.generate(inputs_embeds=embeds, **others, **GREEDY), greedy[:, -5:])
    both = model.generate(input_ids=batch["input_ids"], inputs_embeds=embeds, **others, **GREEDY)
    assert torch.equal(both[:, -5:], greedy[:, -5:])


def test_an_image_encoded_once_serves_several_prompts(model: ParrotForConditionalGeneration) -> None:
    encoded = model.get_image_features(pixels(2), return_dict=True)
    for middle in ([60, 61], [62, 63]):
        row = [*USER, *IMAGE, *middle, *IMAGE, *END, *HEADER]
        expected = model(**padded(row), pixel_values=pixels(2), output_router_logits=True)
        outputs = model(**padded(row), mm_encoder_outputs={"image": encoded}, output_router_logits=True)
        torch.testing.assert_close(outputs.logits, expected.logits)
        torch.testing.assert_close(outputs.router_logits, expected.router_logits)
        whole = model.generate(**padded(row), pixel_values=pixels(2), **GREEDY, num_beams=2)
        again = model.generate(**padded(row), mm_encoder_outputs={"image": encoded}, **GREEDY, num_beams=2)
        assert torch.equal(whole, again)


def test_a_chat_goes_on_from_its_cache(model: ParrotForConditionalGeneration) -> None:
    first = model.generate(
        input_ids=torch.tensor([PROMPT]), pixel_values=pixels(2)[:1], return_dict_in_generate=True, **GREEDY
    )
    cached_length = first.past_key_values.get_seq_length()
    chat = [*first.sequences[0].tolist(), *END, *USER, 64, *IMAGE, 65, *END, *HEADER]
    ids = torch.tensor([chat])
    with recorded_router_logits(model) as record:
        cached = model.generate(
            input_ids=ids, pixel_values=pixels(2)[1:], past_key_values=first.past_key_values, **GREEDY
        )
    # The new image is routed by the whole chat, as without a cache; the images in the cache stay as they were.
    expected = router_logits(model, chat, pixel_values=pixels(2))
    torch.testing.assert_close(record[0], expected[1:])
    cache = DynamicCache(config=model.config.text_config)
    model(input_ids=ids[:, :cached_length], pixel_values=pixels(2)[:1], past_key_values=cache)
    new = model.model.condition_image_features(
        model.get_image_features(pixels(2)[1:], return_dict=True),
        ids,
        model.get_input_embeddings()(ids),
        past_length=cached_length,
    )
    logits = model(input_ids=ids[:, cached_length:], mm_encoder_outputs={"image": new}, past_key_values=cache).logits
    assert cached[0, len(chat)] == logits[0, -1].argmax()


def test_a_chat_goes_on_with_its_new_tokens_alone(model: ParrotForConditionalGeneration) -> None:
    first = model.generate(
        input_ids=torch.tensor([PROMPT]), pixel_values=pixels(2)[:1], return_dict_in_generate=True, **GREEDY
    )
    cached = first.past_key_values.get_seq_length()
    new = torch.tensor([[*first.sequences[0, cached:].tolist(), *END, *USER, 64, *IMAGE, 65, *END, *HEADER]])
    mask = torch.ones(1, cached + new.shape[1], dtype=torch.long)
    with recorded_router_logits(model) as record:
        model.generate(
            input_ids=new,
            attention_mask=mask,
            pixel_values=pixels(2)[1:],
            past_key_values=first.past_key_values,
            **GREEDY,
        )
    torch.testing.assert_close(record[0], router_logits(model, new[0].tolist(), pixel_values=pixels(2)[1:]))


def test_text_alone_generates(model: ParrotForConditionalGeneration) -> None:
    ids = torch.tensor([[*USER, 60, *END, *HEADER]])
    logits = model(input_ids=ids).logits
    greedy = model.generate(input_ids=ids, mm_encoder_outputs=None, **GREEDY)
    assert greedy[0, ids.shape[1]] == logits[0, -1].argmax()


def test_logits_are_kept_as_llava_keeps_them(model: ParrotForConditionalGeneration) -> None:
    ids = torch.tensor([[*USER, 60, *END, *HEADER], [*USER, 61, *END, *HEADER]])
    logits = model(input_ids=ids).logits
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    mask[0, :3] = mask[1, 5] = True
    kept = [
        (0, logits),
        (2, logits[:, -2:]),
        (torch.tensor([0, 3]), logits[:, [0, 3]]),
        (torch.tensor([[1, 3], [2, 5]]), torch.stack([logits[0, [1, 3]], logits[1, [2, 5]]])),
        (mask, torch.cat([logits[0, :3], logits[1, 5:6]])),
    ]
    llava = LlavaForConditionalGeneration(model.config).eval()
    llava.load_state_dict(model.state_dict(), strict=False)
    for keep, expected in kept:
        torch.testing.assert_close(model(input_ids=ids, logits_to_keep=keep).logits, expected)
        if getattr(keep, "ndim", 0) < 2 or hasattr(transformers.modeling_utils, "slice_logits_to_keep"):
            torch.testing.assert_close(llava(input_ids=ids, logits_to_keep=keep).logits, expected)


def test_positional_arguments_are_llavas(model: ParrotForConditionalGeneration) -> None:
    inputs = padded(PROMPT)
    for own in (model, model.model):
        cache = DynamicCache(config=model.config.text_config)
        own(inputs["input_ids"], pixels(1), inputs["attention_mask"], None, cache, None, -2, "full")
        assert cache.get_seq_length() == len(PROMPT)


def test_images_of_another_size_have_interpolated_positions(model: ParrotForConditionalGeneration) -> None:
    larger = torch.randn(1, 3, 42, 42)
    prompt = [*USER, *[IMAGE_TOKEN] * 10, 60, *END, *HEADER]
    hidden = model.model.vision_tower(larger, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    inputs = padded(prompt) | {"pixel_values": larger, "interpolate_pos_encoding": True}
    model.config.use_experts = False
    torch.testing.assert_close(image_tokens(model(**inputs)), model.model.multi_modal_projector(hidden[-2])[0])
    model.config.use_experts = True
    assert model.generate(**inputs, **GREEDY)[0, len(prompt)] == model(**inputs).logits[0, -1].argmax()
    with pytest.raises(ValueError, match="doesn't match model"):
        model(**inputs | {"interpolate_pos_encoding": False})


def test_another_feature_layer_is_used_and_another_strategy_refused(model: ParrotForConditionalGeneration) -> None:
    inputs = padded(PROMPT) | {"pixel_values": pixels(1)}
    hidden = model.model.vision_tower(pixels(1), output_hidden_states=True).hidden_states
    model.config.use_experts = False
    for layer in (1, -1):
        tokens = image_tokens(model(**inputs, vision_feature_layer=layer))
        torch.testing.assert_close(tokens, model.model.multi_modal_projector(hidden[layer])[0])
    model.config.use_experts = True
    with recorded_router_logits(model) as record:
        model.generate(**inputs, **GREEDY, vision_feature_layer=1)
        model(**inputs, vision_feature_layer=1)
        model(**inputs)
    torch.testing.assert_close(record[0], record[1])
    assert not torch.allclose(record[0], record[2])
    model(**inputs, vision_feature_select_strategy="full")
    for call in (model, model.generate):
        with pytest.raises(ValueError, match="vision_feature_select_strategy='default' differs from the config's"):
            call(**inputs, vision_feature_select_strategy="default")


def test_image_sizes_reach_the_tower_as_in_llava(model: ParrotForConditionalGeneration) -> None:
    model.model.vision_tower.patch_size = 14  # Only a Pixtral tower has it; LLaVA has the argument for this tower.
    inputs = padded(PROMPT[len(USER) + 1 :]) | {"pixel_values": pixels(1)}
    with pytest.raises(RuntimeError, match="split_with_sizes"):  # four patches, without the [CLS] token
        model(**inputs, image_sizes=torch.tensor([[28, 28]]))
    del model.model.vision_tower.patch_size


def test_sdpa_equals_eager(model: ParrotForConditionalGeneration, batch: dict[str, torch.Tensor]) -> None:
    eager = tiny_model()
    eager.set_attn_implementation("eager")
    visible = batch["attention_mask"].bool()
    torch.testing.assert_close(eager(**batch).logits[visible], model(**batch).logits[visible], atol=1e-4, rtol=1e-4)
    assert eager(**batch, output_attentions=True).attentions is not None


def test_gradient_checkpointing_gives_the_same_gradients(batch: dict[str, torch.Tensor]) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert {"model.moe.router.weight", "model.multi_modal_projector.linear_1.weight"} <= gradients[0].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_changes_little(dtype: torch.dtype, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    config = tiny_config(text_config={"initializer_range": 0.05}, vision_config={"initializer_range": 0.05})
    model = tiny_model(config)
    with torch.no_grad():  # otherwise, the experts of this small model would change less than the tolerance
        model.model.multi_modal_projector.linear_2.weight.mul_(10)
        model.model.moe.experts.gate_up_proj.mul_(20)
    model.save_pretrained(tmp_path)
    half = ParrotForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype).eval()
    outputs = half(**batch, output_router_logits=True)
    expected = model(**batch, output_router_logits=True)
    assert outputs.logits.dtype == dtype
    visible = batch["attention_mask"].bool()
    torch.testing.assert_close(outputs.logits[visible].float(), expected.logits[visible], atol=0.1, rtol=0.1)
    torch.testing.assert_close(outputs.router_logits.float(), expected.router_logits, atol=0.02, rtol=0.05)
    tokens, scale = image_tokens(outputs).float(), image_tokens(expected).abs().max()
    torch.testing.assert_close(tokens / scale, image_tokens(expected) / scale, atol=0.02, rtol=0)
    model.config.use_experts = False  # if the experts did not run, the comparison above would fail
    assert (image_tokens(model(**batch)) / scale - tokens / scale).abs().max() > 0.1
    first = half.generate(**batch, max_new_tokens=1, do_sample=False)[:, -1]
    assert torch.equal(first, outputs.logits[:, -1].argmax(dim=-1))


def test_tied_embeddings_stay_tied_when_resized(batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    model = tiny_model(tiny_config(text_config={"tie_word_embeddings": True}))
    before = model(**batch).logits
    model.resize_token_embeddings(600, mean_resizing=False)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model.config.text_config.vocab_size == 600
    torch.testing.assert_close(model(**batch).logits[..., :512], before)
    model.save_pretrained(tmp_path)
    loaded = ParrotForConditionalGeneration.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)
    assert loaded(**batch, labels=batch["input_ids"]).loss.isfinite()


def test_router_and_experts_begin_with_the_spread_of_the_language_model() -> None:
    block = tiny_model(tiny_config(num_experts=64), trained=False).model.moe
    for weight in (block.router.weight, block.experts.gate_up_proj):
        torch.testing.assert_close(weight.std(), torch.tensor(0.2), rtol=0.1, atol=0)


def test_tower_weights_that_a_checkpoint_lacks_begin_as_the_tower_would(tmp_path: Path) -> None:
    model = tiny_model(tiny_config(vision_config={"hidden_size": 64}))
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "vision_tower.encoder.layers.0.self_attn.q_proj.weight"
    save_file({key: value for key, value in tensors.items() if name not in key}, tmp_path / "model.safetensors")
    loaded = ParrotForConditionalGeneration.from_pretrained(tmp_path)
    own = AutoModel.from_config(model.config.vision_config)
    expected = own.get_parameter(name.removeprefix("vision_tower.")).std()
    torch.testing.assert_close(loaded.model.get_parameter(name).std(), expected, rtol=0.1, atol=0)


def test_device_map_with_parts_on_disk_gives_the_same(
    model: ParrotForConditionalGeneration, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    device_map = {"model.vision_tower": "cpu", "model.multi_modal_projector": "disk", "model.moe": "disk"}
    device_map |= {"model.language_model": "cpu", "lm_head": "disk"}
    split = ParrotForConditionalGeneration.from_pretrained(
        tmp_path, device_map=device_map, offload_folder=tmp_path / "offload"
    ).eval()
    torch.testing.assert_close(split(**batch).logits, model(**batch).logits)


COMPILED = [(None, torch.float32), (2, torch.float32), (2, torch.bfloat16)]
new_torch = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="torch 2.6 cannot trace the decorators of transformers' models; 2.13 can, and none between was tried",
)


@new_torch
@pytest.mark.slow
@pytest.mark.parametrize(("number", "dtype"), COMPILED)
def test_the_whole_model_compiles_without_graph_breaks(
    number: int | None, dtype: torch.dtype, batch: dict[str, torch.Tensor]
) -> None:
    model = tiny_model(tiny_config(num_experts_per_tok=number)).to(dtype)
    inputs = batch | {"pixel_values": batch["pixel_values"].to(dtype), "use_cache": False}
    with torch.no_grad():
        # The model is called without the compiler first: in its first call, the tower gets hooks under a lock, and the
        # compiler cannot trace the lock: https://github.com/huggingface/transformers/pull/44638
        expected = model(**inputs).logits
        compiled = torch.compile(model, fullgraph=True, backend="eager")(**inputs).logits
    torch.testing.assert_close(compiled, expected, atol=1e-4 if dtype == torch.float32 else 0.5, rtol=0)


@new_torch
@pytest.mark.slow
@pytest.mark.parametrize(("number", "dtype"), COMPILED)
def test_the_experts_compile_with_their_gradients(number: int | None, dtype: torch.dtype) -> None:
    set_seed(0)
    block = tiny_model(tiny_config(num_experts_per_tok=number)).model.moe.to(dtype)
    features, words = torch.randn(3, 5, 32, dtype=dtype), torch.randn(3, 7, 32, dtype=dtype)
    mask = torch.ones(3, 7, dtype=torch.bool)
    results = []
    for call in (block, torch.compile(block, fullgraph=True, backend="aot_eager")):
        block.zero_grad()
        output, _ = call(features, words, mask)
        output.square().sum().backward()
        results.append([output, *(parameter.grad for parameter in block.parameters())])
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2  # the sums are taken in another order
    torch.testing.assert_close(*results, atol=tolerance, rtol=tolerance)


# Errors


def test_different_numbers_of_images_and_placeholders_are_an_error(model: ParrotForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match=r"2 images of 5 tokens each were given, and the samples hold \[5, 10\]"):
        model(**padded(PROMPT, OTHER), pixel_values=pixels(2))
    cut = padded(PROMPT[: len(USER) + 3], OTHER + IMAGE[:2])
    for use_experts in (True, False):  # without experts, as in stage 1, the images of two samples would be mixed
        model.config.use_experts = use_experts
        with pytest.raises(ValueError, match=r"hold \[3, 12\].*: sample 0 cuts an image, sample 1 cuts an image"):
            model(**cut, pixel_values=pixels(3))
    model.config.use_experts = True
    with pytest.raises(ValueError, match="either pixel_values or mm_encoder_outputs"):
        model(**padded(PROMPT), pixel_values=pixels(1), mm_encoder_outputs={})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_experts": 0}, "num_experts=0"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "num_experts_per_tok=5 must be from 1 to num_experts=4"),
        ({"image_query": "first"}, "image_query"),
        ({"image_query": "cls", "vision_feature_select_strategy": "default"}, "image_query='cls' needs"),
        ({"assistant_header_ids": []}, "assistant_header_ids is empty"),
        ({"turn_start_ids": [1]}, r"turn_start_ids=\[1\] end an answer"),
        ({"moe_scale": "big"}, "moe_scale"),
    ],
)
def test_a_config_value_that_means_nothing_is_an_error(values: dict, message: str) -> None:
    with pytest.raises(Exception, match=message):
        ParrotConfig(**values)


def test_the_default_config_is_made_without_arguments_and_holds_no_path(tmp_path: Path) -> None:
    config = ParrotConfig()
    assert (config.num_experts, config.num_experts_per_tok, config.image_query) == (6, None, "cls")
    tiny_config().save_pretrained(tmp_path / "own")
    config = ParrotConfig.from_pretrained(tmp_path / "own")
    config.vision_config._name_or_path = str(tmp_path)
    config.save_pretrained(tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()
    assert ParrotConfig.from_pretrained(tmp_path / "again").to_dict() == config.to_dict()


# Engines that run transformers' models with generic code


@pytest.mark.parametrize("model_class", [ParrotModel, ParrotForConditionalGeneration])
def test_an_engine_that_checks_whether_it_can_run_a_parrot_gets_an_error_that_says_what_to_do(
    model_class: type[ParrotPreTrainedModel],
) -> None:
    with pytest.raises(ValueError, match=r"without Parrot's experts\. .* pip install -e '\.\[vllm\]'"):
        model_class.is_backend_compatible()


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_engine_that_does_not_check_cannot_build_a_parrot(engine: str) -> None:
    config = tiny_config()
    config.text_config._attn_implementation = engine  # as the engine's generic code does
    with pytest.raises(ValueError, match="without Parrot's experts"):
        ParrotModel(config)
