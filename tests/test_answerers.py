# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""How a Parrot and the baselines answer."""

import base64
import io
import string
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image as PILImage
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, LlamaConfig, PreTrainedTokenizerFast

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import assert_alike, encode
from tests.test_compose import GEMMA
from tests.tiny import tiny_config, tiny_model, tiny_processor
from trainer.evaluation.answerers import Answerer, ParrotAnswerer, Way, ask_all
from trainer.evaluation.benchmark_files import Question, open_image, read_benchmark
from trainer.training.composition import prepare_tokenizer


@pytest.fixture
def questions(benchmark: str) -> list[Question]:
    """Three questions in English, and the same in Turkish."""
    return [
        question
        for language in ("en", "tr")
        for question in read_benchmark(Path(benchmark.format(language=language)), language)
    ]


@pytest.fixture(scope="module")
def model(world: Path) -> ParrotForConditionalGeneration:
    """A model whose experts and router change the answers."""
    model = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.model.moe.experts.down_proj, std=0.5)
    torch.nn.init.normal_(model.model.moe.router.weight, std=2.0)
    return model


@pytest.fixture(scope="module")
def processor(world: Path) -> ParrotProcessor:
    return ParrotProcessor.from_pretrained(world / "model")


def alone(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor, question: Question, prompt: str, sees: bool
) -> tuple[str, dict[str, torch.Tensor]]:
    """A question by itself, without cache, batch or padding: its chat and inputs."""
    content = [{"type": "image"}] * sees + [{"type": "text", "text": prompt}]
    chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [PILImage.open(io.BytesIO(base64.b64decode(question.image)))] if sees else None
    return chat, processor(images=images, text=chat, return_tensors="pt")


def log_likelihoods(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    question: Question,
    prompt: str,
    sees: bool,
    option: str,
) -> torch.Tensor:
    """The log-likelihoods of the labels that training has for an answer, in one pass over its chat without a cache."""
    content = [{"type": "image", "image": open_image(question)}] * sees + [{"type": "text", "text": prompt}]
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": option}]}]
    inputs = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    (labels,) = inputs.pop("assistant_masks")[0].nonzero(as_tuple=True)
    with torch.no_grad():
        logits = model(**inputs).logits[0].log_softmax(-1)  # (L, V)
    return logits[labels - 1].gather(1, inputs["input_ids"][0, labels, None]).squeeze(1)


def largest_difference(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    questions: list[Question],
    way: Way,
    is_blind: bool = False,
) -> float:
    """The largest difference between the scores of a batch and those of each option asked alone."""
    answerer = ParrotAnswerer(model, processor, way, is_blind=is_blind)
    answers = answerer.answer(questions, answerer.encode(questions))
    differences = []
    for question, answer in zip(questions, answers, strict=True):
        expected = []
        for letter, text in question.options.items():
            if way == "letter":  # a letter is scored without the turn's end
                tokens = log_likelihoods(model, processor, question, question.prompt, not is_blind, letter)[:-1]
            else:
                tokens = log_likelihoods(model, processor, question, question.open_prompt, not is_blind, text)
            score = tokens.sum() if way == "pmi" else tokens.mean()
            if way == "pmi":
                score -= log_likelihoods(model, processor, question, question.open_prompt, False, text).sum()
            expected.append(score.item())
        assert answer["letter"] == list(question.options)[expected.index(max(expected))]
        differences += [abs(one - other) for one, other in zip(answer["scores"], expected, strict=True)]
    assert len(differences) == sum(len(question.options) for question in questions)
    return max(differences)


@pytest.mark.parametrize(
    ("way", "is_blind"), [("letter", False), ("letter", True), ("text", False), ("text", True), ("pmi", False)]
)
def test_each_option_of_a_batch_scores_as_it_does_alone(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    questions: list[Question],
    way: Way,
    is_blind: bool,
) -> None:
    assert largest_difference(model, processor, questions, way, is_blind) < 1e-4


WORDS = ["the red car", "a red cat a blue thing", "assistant", "user", "kırmızı mavi yeşil", "? en ? tr", "A B C D"]
GEMMA_TOKENS = ["<bos>", "<start_of_turn>", "<end_of_turn>"]


def train_tokenizer(kind: str) -> Tokenizer:
    """
    Trains a small tokenizer with all characters of `WORDS`.

    Args:
        kind: `llama2` and `unigram` put a space before every text, `first` only before a text's first word, `gemma`
            before none; `merging` has tokens that begin in the chat's header and end in the answer.
    """
    words = WORDS + ["assistant\nred car", "assistant\ncor red"] * 50 * (kind == "merging")
    alphabet = sorted(set("".join(words)) | set(string.printable) | {"▁"})
    special = ["<pad>", "<unk>", *(GEMMA_TOKENS if kind == "gemma" else [])]
    options = {"vocab_size": 200, "special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    if kind == "unigram":
        tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(unk_token="<unk>", **options)
    else:
        tokenizer, trainer = Tokenizer(models.BPE(unk_token="<unk>")), trainers.BpeTrainer(**options)
    if kind == "llama2":
        space = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(space)
    elif kind == "gemma":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    elif kind != "merging":
        scheme = "first" if kind == "first" else "always"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


@pytest.mark.parametrize("kind", ["llama2", "first", "unigram", "gemma", "merging"])
@pytest.mark.parametrize("way", ["letter", "text"])
def test_options_are_scored_by_the_tokens_that_training_has_for_them(
    kind: str, way: Way, questions: list[Question], tmp_path: Path
) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(kind), pad_token="<pad>", unk_token="<unk>", eos_token="<pad>"
    )
    tokenizer.chat_template = GEMMA if kind == "gemma" else None
    tokenizer.save_pretrained(tmp_path)
    LlamaConfig().save_pretrained(tmp_path)  # with Llama's config, AutoTokenizer does not change the tokenizer
    tokenizer, chat_format, turn_ids = prepare_tokenizer(str(tmp_path))
    processor = ParrotProcessor(
        image_processor=tiny_processor().image_processor,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=chat_format.template(),
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    model = tiny_model(tiny_config(**turn_ids, image_token_index=image_token))
    options = {"A": "red car", "B": "cat", "C": " A", "D": "ABC"}
    with_options = [replace(question, options=options) for question in questions]
    own = [ids for _, _, ids in ParrotAnswerer(model, processor, "text")._encode_options([*options.values()]).values()]
    alone = processor.tokenizer([text.lstrip() for text in options.values()], add_special_tokens=False)["input_ids"]
    assert ([ids[:-1] for ids in own] == alone) == (kind == "gemma")
    # In training, an answer that merges with its header guides the experts. In a benchmark, no answer does.
    assert largest_difference(model, processor, with_options, way, is_blind=kind == "merging") < 1e-4


LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False}
RECURRENT = {
    "qwen3_5_text": LINEAR | {"head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "jamba": MAMBA | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1},
    "zamba": MAMBA
    | {"layers_block_type": ["mamba", "hybrid"] * 2, "num_hidden_layers": 4}
    | {"attention_hidden_size": 64, "attention_head_dim": 16},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "head_dim": 8},
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "head_dim": 8, "num_local_experts": 2},
    "recurrent_gemma": {"block_types": ("recurrent", "attention"), "lru_width": 32, "head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 4},
}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("way", ["letter", "pmi"])
def test_options_have_the_same_scores_whatever_cache_a_language_model_has(
    kind: str, way: Way, processor: ParrotProcessor, questions: list[Question]
) -> None:
    if kind not in CONFIG_MAPPING:
        pytest.skip(f"This version of transformers has no {kind}.")
    if kind == "recurrent_gemma" and Version(transformers.__version__) < Version("5.24"):
        pytest.skip("LLaVA before transformers 5.24 needs a cache in the language model's output, and this has none.")
    model = tiny_model(tiny_config(text_config={"model_type": kind} | RECURRENT[kind]))
    assert largest_difference(model, processor, questions, way) < 1e-4


def test_written_answers_of_a_batch_are_those_of_generate_for_each_question_alone(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor, questions: list[Question]
) -> None:
    answerer = ParrotAnswerer(model, processor, "generate", max_new_tokens=6)
    answers = answerer.answer(questions, answerer.encode(questions))
    texts = set()
    for question, answer in zip(questions, answers, strict=True):
        _, inputs = alone(model, processor, question, question.prompt, True)
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=6)
        text = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert answer == {"prompt": question.prompt, "prediction": text, "router": answer["router"]}
        router = model(**inputs, output_router_logits=True).router_logits[0].softmax(-1)
        torch.testing.assert_close(torch.tensor(answer["router"]), router, atol=1e-5, rtol=0)
        texts.add(text)
    assert len(texts) > 1


def test_written_answers_are_greedy_even_if_the_checkpoint_samples_or_penalises_repetition(
    processor: ParrotProcessor, questions: list[Question]
) -> None:
    written = []
    for own in ({}, {"do_sample": True, "temperature": 9.0, "repetition_penalty": 1.8, "no_repeat_ngram_size": 1}):
        model = tiny_model()
        model.generation_config.update(**own)
        answerer = ParrotAnswerer(model, processor, "generate", max_new_tokens=24)
        written.append([row["prediction"] for row in answerer.answer(questions, answerer.encode(questions))])
    assert written[0] == written[1]


def test_short_answers_do_not_wait_for_the_longest(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [
        Question(str(number), "en", encode(color), f"? {'x ' * number}", {"A": "x", "B": "y"}, "A")
        for number, color in enumerate(("red", "green", "blue", "white") * 4)
    ]
    answerer = ParrotAnswerer(model, processor, "generate", max_new_tokens=60)
    encoded = answerer.encode(questions)
    inputs, images = answerer._prepare(questions, [question.prompt for question in questions], encoded)
    tokens = model.generate(**inputs, mm_encoder_outputs={"image": images}, max_new_tokens=60, do_sample=False)
    answers = tokens[:, inputs["input_ids"].shape[1] :].tolist()
    long = answers[5]
    ends = sorted({token for row in answers for token in row[1:8]} - set(long))  # one answer has none of them
    monkeypatch.setattr(model.generation_config, "eos_token_id", ends)
    lengths = [min((row.index(end) for end in ends if end in row), default=60) for row in answers]
    assert lengths[5] == 60
    assert sum(length < 8 for length in lengths) >= 12
    rows = []
    with model.register_forward_hook(lambda _module, _args, outputs: rows.append(len(outputs.logits))):
        written = [answer["prediction"] for answer in answerer.answer(questions, encoded)]
    for text, row, length in zip(written, answers, lengths, strict=True):
        assert text == processor.decode(row[: length + 1], skip_special_tokens=True).strip()
    assert sum(rows) < 16 * 60 / 3


def test_a_picture_is_encoded_once_for_all_its_questions_and_batches_do_not_depend_on_the_processes(
    model: ParrotForConditionalGeneration,
    processor: ParrotProcessor,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.evaluation.answerers.IMAGES_AT_ONCE", 2)
    answerer = ParrotAnswerer(model, processor, "text")
    encoded = []
    monkeypatch.setattr(
        answerer,
        "encode",
        lambda batch: encoded.extend(question.image for question in batch) or ParrotAnswerer.encode(answerer, batch),
    )
    whole = [row for rows in ask_all(answerer, questions, set(), 4, (0, 1)) for row in rows]
    assert len(encoded) == len(set(encoded)) == 3
    shared = [row for rank in (0, 1) for rows in ask_all(answerer, questions, set(), 4, (rank, 2)) for row in rows]
    assert_alike(shared, whole)
    done = {(row["language"], row["index"]) for row in whole[:1]}
    assert_alike([row for rows in ask_all(answerer, questions, done, 4, (0, 1)) for row in rows], whole)
    done = {(row["language"], row["index"]) for row in whole[:4]}
    assert_alike([row for rows in ask_all(answerer, questions, done, 4, (0, 1)) for row in rows], whole[4:])


@pytest.mark.parametrize(("images", "groups"), [(5, 1), (40, 5), (130, 8), (335, 8), (600, 16)])
def test_processes_have_equal_shares_of_the_pictures(
    images: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [Question(str(index), "en", str(index), "?", {"A": "x"}, "A") for index in range(images)]
    batches = [list(ask_all(Answerer(), questions, set(), images, (rank, groups))) for rank in range(groups)]
    shares = [sum(map(len, of_rank)) for of_rank in batches]
    assert sum(shares) == images and max(shares) - min(shares) <= 1 and max(shares) <= 64


def test_chance_answers_with_every_option_alike() -> None:
    questions = [
        Question(str(index), "en", "", "?", dict.fromkeys("ABC", "x"), "A", category="c") for index in range(3000)
    ]
    letters = [answer["letter"] for answer in Answerer().answer(questions, [None] * 3000)]
    for letter in "ABC":
        assert 900 < letters.count(letter) < 1100
    assert letters == [answer["letter"] for answer in Answerer().answer(questions, [None] * 3000)]


def test_a_picture_that_cannot_be_read_is_named(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    question = Question("7", "tr", "QQ==", "?", {"A": "x", "B": "y"}, "A", place="b.tsv, line 8")
    with pytest.raises(ValueError, match=r"b.tsv, line 8: the image cannot be read"):
        ParrotAnswerer(model, processor, "text").encode([question])


def test_an_image_mark_in_a_question_is_named(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    question = Question("7", "tr", encode("red"), "<image>?", {"A": "x", "B": "y"}, "A", place="b.tsv, line 8")
    answerer = ParrotAnswerer(model, processor, "text")
    with pytest.raises(ValueError, match=r"b.tsv, line 8: the text holds '<image>'"):
        answerer.answer([question], answerer.encode([question]))


def test_a_transparent_picture_is_seen_as_the_processor_shows_it(
    model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> None:
    answerer = ParrotAnswerer(model, processor, "text")
    questions = [
        Question("1", "en", image, "?", {"A": "x", "B": "y"}, "A")
        for image in (encode("#00000000", "RGBA"), encode("white"))
    ]
    images = [open_image(question) for question in questions]
    assert torch.equal(*processor(images=images, text="<image><image>", return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(*answerer.encode(questions), atol=1e-5, rtol=1e-4)
