# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot under `transformers serve` and transformers' exporters; `make test-serving` installs what they need."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from transformers import exporters
from transformers.exporters.utils import decompose_for_generation

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.hub import run_python
from tests.servers import ADDRESS, PROGRAMS, SNIPPETS, command, question, server
from tests.tiny import tiny_config, tiny_model, tiny_processor


NEW_TOKENS = 8
GREEDY = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
QUESTIONS = [("red", "图中是什么？"), ("blue", "What is this, tell me?"), ("green", "Bu ne?")]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Parrot with the code for the Hub, and with sizes that bitsandbytes' CPU kernels take."""
    folder = tmp_path_factory.mktemp("parrot")
    sizes = {"hidden_size": 64, "intermediate_size": 64}
    config = tiny_config(text_config=sizes | {"num_key_value_heads": 4}, vision_config=sizes)
    tiny_model(config).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


SERVE_LOADER = """
from transformers import AutoConfig
from transformers.cli.serving.model_manager import ModelManager
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

AutoConfig.from_pretrained(FOLDER, trust_remote_code=True)
if not IN_TABLE:
    del MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES["parrot"]
manager = ModelManager(trust_remote_code=True, device="cpu", model_timeout=1)
model, processor = manager.load_model_and_processor(FOLDER)
print(type(model).__name__, manager.get_model_modality(model, processor).name)
"""


needs_new_loader = pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 24),
    reason="the loader of transformers 5.18 takes other names of models; none before 5.24 was tried",
)


def load_as_serve_does(folder: Path, cwd: Path, in_table: bool) -> str:
    """Loads a model with the loader of `transformers serve`. Returns its class and modality."""
    code = SERVE_LOADER.replace("FOLDER", repr(str(folder))).replace("IN_TABLE", str(in_table))
    return run_python(code, {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd)}, cwd).splitlines()[-1]


@needs_new_loader
@pytest.mark.slow
def test_the_loader_of_transformers_serve_loads_a_model_that_reads_images(parrot: Path, tmp_path: Path) -> None:
    assert load_as_serve_does(parrot, tmp_path, in_table=True) == "ParrotForConditionalGeneration MULTIMODAL"


@needs_new_loader
@pytest.mark.slow
def test_transformers_serve_still_needs_the_entry_in_its_table(parrot: Path, tmp_path: Path) -> None:
    """When this fails, the last lines of configuration_parrot.py can go."""
    with pytest.raises(RuntimeError, match="transformers has no attribute ParrotForConditionalGeneration"):
        load_as_serve_does(parrot, tmp_path, in_table=False)


def inputs_of(folder: Path, color: str, text: str) -> dict[str, torch.Tensor]:
    content = [{"type": "image", "image": Image.new("RGB", (40, 30), color)}, {"type": "text", "text": text}]
    return dict(
        ParrotProcessor.from_pretrained(folder).apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )


@pytest.fixture(scope="module")
def prompts(parrot: Path) -> list[dict[str, torch.Tensor]]:
    """The model's inputs for each of `QUESTIONS`; the questions differ in length."""
    return [inputs_of(parrot, color, text) for color, text in QUESTIONS]


def greedy(model: ParrotForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> list[int]:
    return model.generate(**inputs, **GREEDY)[0, inputs["input_ids"].shape[1] :].tolist()


# transformers serve


@pytest.mark.slow
@pytest.mark.serving
def test_transformers_serve_answers_an_openai_client_as_generate_does_streamed_and_several_at_once(
    parrot: Path, prompts: list[dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    pytest.importorskip("fastapi", reason="make test-serving")
    openai = pytest.importorskip("openai", reason="make test-serving")
    model, processor = ParrotForConditionalGeneration.from_pretrained(parrot).eval(), tiny_processor()
    expected = [processor.decode(greedy(model, inputs), skip_special_tokens=True) for inputs in prompts]
    shutil.copytree(parrot, tmp_path / "org" / "parrot")
    environment = {"HF_HOME": str(tmp_path / "home")}
    with server(command("transformers serve"), environment, tmp_path / "log.txt") as address:
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=300)

        def ask(color: str, text: str, **options: Any) -> Any:
            common = {"model": "org/parrot", "max_tokens": NEW_TOKENS, "temperature": 0}
            messages = question(Image.new("RGB", (40, 30), color), text)
            return client.chat.completions.create(messages=messages, **common, **options)

        def answer(about: tuple[str, str]) -> str:
            return ask(*about).choices[0].message.content

        assert list(map(answer, QUESTIONS)) == expected
        with ThreadPoolExecutor(len(QUESTIONS)) as pool:
            assert list(pool.map(answer, QUESTIONS)) == expected
        events = [event.choices[0].delta.content for event in ask(*QUESTIONS[0], stream=True) if event.choices]
        # transformers' streamer holds back a character that may be incomplete, even at the end.
        assert "".join(filter(None, events)) == expected[0].rstrip("\N{REPLACEMENT CHARACTER}")

        color, text = QUESTIONS[0]
        Image.new("RGB", (40, 30), color).save(tmp_path / "picture.png")
        assert text in SNIPPETS[0]
        printed = run_python(SNIPPETS[0].replace(ADDRESS, address), environment, tmp_path, new_interpreter=True)
        assert printed.startswith(expected[0].rstrip("\N{REPLACEMENT CHARACTER}"))

        chat = subprocess.run(
            [
                *PROGRAMS["transformers"],
                "chat",
                "org/parrot",
                address,
                f"max_new_tokens={NEW_TOKENS}",
                "do_sample=False",
            ],
            input="Merhaba\nn\n!exit\n",  # n: do not go on after the limit of tokens
            env=os.environ | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert chat.returncode == 0, chat.stderr[-2000:]
        assert "tok/s" in chat.stdout  # the line about the model's speed


# Exporters


def generate_by_graphs(prefill: Any, decode: Any, inputs: dict[str, torch.Tensor]) -> list[int]:
    """Greedy tokens from two graphs: one for the prompt with its images, one for a token after a cache."""
    outputs, mask, tokens = prefill(**inputs), inputs["attention_mask"], []
    while True:
        tokens.append(outputs.logits[0, -1].argmax().item())
        if len(tokens) == NEW_TOKENS:
            return tokens
        mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
        outputs = decode(
            input_ids=torch.tensor([[tokens[-1]]]),
            attention_mask=mask,
            position_ids=torch.tensor([[mask.shape[1] - 1]]),
            cache=outputs.cache,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "options", "runtime", "tolerance"),
    [
        ("Dynamo", "torch", {}, {}, 0.0),
        pytest.param("Onnx", "onnxruntime", {}, {}, 1e-4, marks=pytest.mark.serving),
        pytest.param(
            *("OpenVINO", "openvino", {"stateful": False}, {"config": {"INFERENCE_PRECISION_HINT": "f32"}}, 1e-4),
            marks=pytest.mark.serving,
        ),
    ],
)
def test_a_graph_with_tower_and_experts_gives_the_same_logits_and_generates_with_a_cache(
    name: str,
    package: str,
    options: dict[str, Any],
    runtime: dict[str, Any],
    tolerance: float,
    parrot: Path,
    prompts: list[dict[str, torch.Tensor]],
) -> None:
    if not hasattr(exporters, "ExportedModel"):
        pytest.skip("transformers 5.24 or later")
    pytest.importorskip(package, reason="make test-serving")
    model = ParrotForConditionalGeneration.from_pretrained(parrot).eval()
    exporter = getattr(exporters, f"{name}Exporter")()
    config = getattr(exporters, f"{name}Config")(dynamic=True, **options)
    steps = decompose_for_generation(model, prompts[0], multi_token_decode=True)
    prefill = exporter.export(model, prompts[0], config).to(**runtime)
    decode = exporter.export(*steps["decode"], config).to(**runtime)
    with torch.no_grad():
        for inputs in prompts:
            difference = (prefill(**inputs).logits - model(**inputs).logits).abs().max().item()
            print(f"{name}: largest difference of a logit {difference}")
            assert difference <= tolerance
            assert generate_by_graphs(prefill, decode, inputs) == greedy(model, inputs)


@pytest.mark.slow
@pytest.mark.serving
def test_the_readme_s_snippet_writes_a_graph_within_1e_4_of_the_model(parrot: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="make test-serving")
    shutil.copytree(parrot, tmp_path / "org" / "parrot")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "picture.png")
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    printed = run_python(SNIPPETS[1], environment, tmp_path, new_interpreter=True)
    assert float(printed.splitlines()[-1]) < 1e-4
    assert list((tmp_path / "parrot-onnx").glob("*.onnx"))
