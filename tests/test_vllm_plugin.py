# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot in vLLM: the answers of transformers, by log probabilities; `make test-vllm` installs vLLM for a CPU."""

import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.hub import run_python
from tests.servers import ADDRESS, SNIPPETS, command, question, server
from tests.tiny import tiny_config, tiny_model, tiny_processor


vllm = pytest.importorskip("vllm", reason="make test-vllm")
pytestmark = [pytest.mark.slow, pytest.mark.serving]

NEW_TOKENS = 8
TOP = 5
HEADS = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}  # size 32: vLLM refuses 8 on a CPU
QWEN = HEADS
GEMMA = HEADS | {"model_type": "gemma3_text", "head_dim": 32, "sliding_window": 64}
CLIP = {}
SIGLIP = {"model_type": "siglip_vision_model"}
DINOV2 = {"model_type": "dinov2"}


def picture(seed: int) -> Image.Image:
    """Noise, so that no two patches are alike."""
    return Image.frombytes("RGB", (40, 30), random.Random(seed).randbytes(3 * 40 * 30))


A, B = picture(1), picture(2)


def turn(role: str, *parts: str | Image.Image) -> dict[str, Any]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return {"role": role, "content": content}


CHATS = {
    "Chinese": [turn("user", A, "图中是什么？")],
    "English": [turn("user", A, "What is this?")],
    "Turkish": [turn("user", A, "Bu ne?")],
    "Arabic": [turn("user", A, "ما هذا؟")],
    "another picture": [turn("user", B, "图中是什么？")],
    "two pictures": [turn("user", A, "?", B, "Что на картинках?")],
    "one picture twice": [turn("user", A, A, "Que é isto?")],
    "system message": [turn("system", "You are terse."), turn("user", A, "What is this?")],
    "several turns": [turn("user", A, "What is this?"), turn("assistant", "a boat"), turn("user", "Emin misin?")],
    "later picture": [turn("user", A, "What is this?"), turn("assistant", "a boat"), turn("user", B, "Bu ne?")],
    "text alone": [turn("user", "Merhaba, nasılsın?")],
    "picture last": [turn("user", "Bu ne?", A)],
    "picture alone": [turn("user", A)],
    "long": [turn("user", A, "What is this, please tell me in many words and slowly? " * 4)],
}


@dataclass
class Answer:
    """Greedy tokens, and the log probabilities of the first one, the likeliest first."""

    tokens: list[int]
    first: dict[int, float]


def save(folder: Path, text: dict[str, Any], vision: dict[str, Any], image_size: int = 28) -> Path:
    """Writes a tiny Parrot of these parts; its experts have an effect."""
    has_cls = vision is not SIGLIP
    tokens = (image_size // 14) ** 2 + has_cls
    config = tiny_config(
        text_config=text,
        vision_config=vision | {"image_size": image_size},
        image_seq_length=tokens,
        image_query="cls" if has_cls else "mean",
    )
    tiny_model(config).save_pretrained(folder)
    processor = tiny_processor(image_size)
    processor.num_additional_image_tokens = int(has_cls)
    processor.save_pretrained(folder)
    return folder


def answers_of_transformers(folder: Path, use_experts: bool = True) -> list[Answer]:
    """The answers to `CHATS`, each asked alone."""
    model = ParrotForConditionalGeneration.from_pretrained(folder).eval()
    model.config.use_experts = use_experts
    processor = ParrotProcessor.from_pretrained(folder)
    answers = []
    for chat in CHATS.values():
        inputs = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
        written = model.generate(**inputs, **options, output_scores=True, return_dict_in_generate=True)
        tokens = written.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        first = written.scores[0][0].log_softmax(dim=-1).sort(descending=True)
        answers.append(Answer(tokens, dict(zip(first.indices.tolist(), first.values.tolist(), strict=True))))
    return answers


def for_vllm(chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation in vLLM's format."""

    def part(content: dict[str, Any]) -> dict[str, Any]:
        return {"type": "image_pil", "image_pil": content["image"]} if "image" in content else content

    return [message | {"content": list(map(part, message["content"]))} for message in chat]


@contextmanager
def engine(folder: Path, **options: Any) -> Iterator[Any]:
    """A Parrot in vLLM, within the context."""
    defaults = {
        "dtype": "float32",
        "max_model_len": 512,
        "max_num_seqs": 4,
        "enforce_eager": True,
        "limit_mm_per_prompt": {"image": 2},
        "max_logprobs": 2 * TOP,
    }
    llm = vllm.LLM(str(folder), **(defaults | options))
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()


def answers_of_vllm(llm: Any, chats: list[list[dict[str, Any]]]) -> list[Answer]:
    options = vllm.SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=2 * TOP)
    answers = []
    for output in llm.chat(list(map(for_vllm, chats)), options, use_tqdm=False):
        first = {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
        answers.append(Answer(list(output.outputs[0].token_ids), first))
    return answers


def difference(answers: list[Answer], expected: list[Answer]) -> float:
    """The largest difference of the first token's top log probabilities; infinite if an answer lacks a token."""
    return max(
        abs(answer.first.get(token, float("-inf")) - value)
        for answer, other in zip(answers, expected, strict=True)
        for token, value in list(other.first.items())[:TOP]
    )


@pytest.fixture(autouse=True, scope="module")
def small_engines() -> Iterator[None]:
    """Engines have a gigabyte of cache, fork no process in which torch has threads, and do not look for the Hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_WORKER_MULTIPROCESSING_METHOD", "spawn")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("parrot"), QWEN, CLIP)


CASES = {
    "qwen, clip": (QWEN, CLIP, 28, {}),
    # An image has 65 tokens and a step 48, so a chunk of the prompt ends inside each image.
    "qwen, siglip, chunks that end inside an image": (
        QWEN,
        SIGLIP,
        112,
        {"max_num_batched_tokens": 48, "block_size": 32},
    ),
    "gemma, dinov2, no cache of prefixes": (GEMMA, DINOV2, 28, {"enable_prefix_caching": False}),
    "gemma, clip, no cache of processed images, code of the folder trusted": (
        GEMMA,
        CLIP,
        28,
        {"mm_processor_cache_gb": 0, "trust_remote_code": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_batched_repeated_and_alone_log_probabilities_and_greedy_tokens_are_those_of_transformers(
    case: str, tmp_path: Path
) -> None:
    text, vision, image_size, options = CASES[case]
    folder = save(tmp_path, text, vision, image_size)
    expected = answers_of_transformers(folder)
    chats = list(CHATS.values())
    moved = difference(answers_of_transformers(folder, use_experts=False), expected)
    with engine(folder, **options) as llm:
        batched, repeated = answers_of_vllm(llm, chats), answers_of_vllm(llm, chats)
        alone = [answers_of_vllm(llm, [chat])[0] for chat in chats]
    for answers in (batched, repeated, alone):
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in expected]
    differences = [difference(answers, expected) for answers in (batched, repeated, alone)]
    print(f"{case}: largest differences {differences}; without experts {moved}")
    assert max(differences) < 1e-4
    assert moved > 0.1  # so the test would see a Parrot without experts


IN_PROCESS = """
import torch
from PIL import Image
from vllm import LLM, SamplingParams

llm = LLM(
    FOLDER,
    dtype="float32",
    max_model_len=512,
    enforce_eager=True,
    limit_mm_per_prompt={"image": 1},
    enable_mm_embeds=True,
)
(model,) = llm.apply_model(lambda model: model)
encoded = []
model.model.vision_tower.register_forward_hook(lambda _module, inputs, _output: encoded.append(1))

def ask(color, text):
    content = [{"type": "image_pil", "image_pil": Image.new("RGB", (40, 30), color)}, {"type": "text", "text": text}]
    llm.chat([{"role": "user", "content": content}], SamplingParams(max_tokens=1), use_tqdm=False)

model.max_kept_images = 1
for color in ("red", "red", "blue", "red"):
    ask(color, f"? {len(encoded)} {color}")
    ask(color, f"? {len(encoded)} {color}, again")
print("ENCODED", len(encoded), "KEPT", len(model.kept))
try:
    embeds = torch.zeros(1, 5, 64)
    llm.generate({"prompt": "<image>?", "multi_modal_data": {"image": embeds}}, use_tqdm=False)
except ValueError as error:
    print("REFUSED", error)
"""


def test_the_tower_runs_once_for_several_prompts_and_embeddings_in_an_image_s_place_are_refused(
    parrot: Path, tmp_path: Path
) -> None:
    environment = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HOME": str(tmp_path / "home")}
    code = IN_PROCESS.replace("FOLDER", repr(str(parrot)))
    printed = run_python(code, environment, tmp_path, with_repository=True, new_interpreter=True)
    assert "ENCODED 3 KEPT 1\n" in printed  # red, blue, and red again, because blue had replaced it in the cache
    assert "REFUSED A Parrot's image tokens depend on the prompt" in printed


def test_the_server_gives_an_openai_client_the_tokens_of_transformers_streamed_and_several_at_once(
    parrot: Path, tmp_path: Path
) -> None:
    openai = pytest.importorskip("openai")
    chats = [CHATS[name] for name in ("Chinese", "English", "Turkish")]
    expected = dict(zip(CHATS, answers_of_transformers(parrot), strict=True))
    expected = [expected[name].tokens for name in ("Chinese", "English", "Turkish")]
    shutil.copytree(parrot, tmp_path / "org" / "parrot")
    line = [*command("python -m vllm"), "--dtype", "float32", "--enforce-eager"]
    with server(line, {}, tmp_path / "log.txt") as address:
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=300)

        def ask(chat: list[dict[str, Any]], **options: Any) -> Any:
            image, text = (part.get("image") or part["text"] for part in chat[0]["content"])
            common = {"model": "org/parrot", "max_tokens": NEW_TOKENS, "temperature": 0}
            return client.chat.completions.create(messages=question(image, text), **common, **options)

        def tokens(chat: list[dict[str, Any]]) -> list[int]:
            return ask(chat, extra_body={"return_token_ids": True}).choices[0].token_ids

        assert list(map(tokens, chats)) == expected
        with ThreadPoolExecutor(len(chats)) as pool:
            assert list(pool.map(tokens, chats)) == expected
        whole = ask(chats[0]).choices[0].message.content
        assert "".join(event.choices[0].delta.content or "" for event in ask(chats[0], stream=True)) == whole

        A.save(tmp_path / "picture.png")
        code = SNIPPETS[0].replace(ADDRESS, address)
        printed = run_python(code, {"HF_HOME": str(tmp_path / "home")}, tmp_path, new_interpreter=True)
        assert printed[:-1].startswith(whole.rstrip("\N{REPLACEMENT CHARACTER}"))  # the snippet asks for more tokens


WITHOUT_PLUGIN = """
from vllm import LLM
if __name__ == "__main__":
    LLM(FOLDER, trust_remote_code=True, dtype="float32", max_model_len=512, enforce_eager=True, hf_overrides=OVERRIDES)
"""


@pytest.mark.parametrize("auto_model", ["ParrotForConditionalGeneration", "ParrotModel"])
@pytest.mark.parametrize("architectures", [None, ["TransformersMultiModalForCausalLM"]])
def test_without_the_plugin_a_parrot_is_refused_however_it_is_loaded(
    auto_model: str, architectures: list[str] | None, parrot: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parrot"
    shutil.copytree(parrot, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = f"modeling_parrot.{auto_model}"
    (folder / "config.json").write_text(json.dumps(config))
    overrides = {"architectures": architectures} if architectures else {}
    code = WITHOUT_PLUGIN.replace("FOLDER", repr(str(folder))).replace("OVERRIDES", repr(overrides))
    environment = {"VLLM_PLUGINS": "", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HOME": str(tmp_path / "home")}
    with pytest.raises(RuntimeError, match=r"[Vv]alue ?[Ee]rror.*without Parrot's experts"):
        run_python(code, environment, tmp_path, new_interpreter=True)
