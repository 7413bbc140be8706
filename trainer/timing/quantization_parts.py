# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The measurements of quantised Parrots for `python -m trainer.quantization`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitsandbytes  # noqa: F401  # otherwise a missing bitsandbytes is an error only after two models are measured
import torch
from torchao.quantization import Int8WeightOnlyConfig
from transformers import BitsAndBytesConfig, TorchAoConfig

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer.common.pictures import open_picture
from trainer.common.sources import check_parrot
from trainer.quantization import QuantizationArguments


def ways() -> dict[str, dict[str, Any]]:
    """For each way to load a model, the arguments of `from_pretrained`; float32 comes first."""
    return {
        "float32": {"dtype": "float32"},
        "bfloat16": {"dtype": "bfloat16"},
        "bitsandbytes, 8-bit": {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "dtype": "float32"},
        "bitsandbytes, 4-bit": {"quantization_config": BitsAndBytesConfig(load_in_4bit=True), "dtype": "float32"},
        "torchao, int8": {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig()), "dtype": "float32"},
    }


def saved_bytes(model: ParrotForConditionalGeneration) -> int:
    """Size of the saved weights files."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))


def answers(model: ParrotForConditionalGeneration, prompts: list[Any], length: int) -> Iterator[tuple[Any, list[int]]]:
    """For each prompt, the logits of the first token of the answer, (V,), and the greedy answer's tokens."""
    for inputs in prompts:
        inputs = inputs | {"pixel_values": inputs["pixel_values"].to(model.dtype)}
        with torch.no_grad():
            logits = model(**inputs, logits_to_keep=1).logits[0, -1].float()
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=length)
        yield logits, tokens[0, inputs["input_ids"].shape[1] :].tolist()


def measure_quantized(arguments: QuantizationArguments) -> dict[str, dict[str, float]]:
    """
    Loads the model in each way and prints a table.

    Returns:
        for each way: `bytes`, `difference` (the largest difference of a logit from float32), and `same` (the number of
        answers that equal float32's).
    """
    check_parrot(arguments.model, "--model")
    processor = ParrotProcessor.from_pretrained(arguments.model)
    image = open_picture(Path(arguments.image), f"--image {arguments.image}", "Give another picture.")
    picture = {"type": "image", "image": image.convert("RGB")}
    chats = [[{"role": "user", "content": [picture, {"type": "text", "text": text}]}] for text in arguments.question]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    prompts = [dict(processor.apply_chat_template(chat, **options)) for chat in chats]
    results: dict[str, dict[str, float]] = {}
    expected: list[tuple[Any, list[int]]] = []
    print("| loaded as | size in MB | largest difference of a logit | same answers |\n|---|---|---|---|")
    for way, kwargs in ways().items():
        model = ParrotForConditionalGeneration.from_pretrained(arguments.model, **kwargs).eval()
        outputs = list(answers(model, prompts, arguments.max_new_tokens))
        expected = expected or outputs
        pairs = list(zip(outputs, expected, strict=True))
        results[way] = {
            "bytes": saved_bytes(model),
            "difference": max((logits - exact).abs().max().item() for (logits, _), (exact, _) in pairs),
            "same": sum(tokens == exact for (_, tokens), (_, exact) in pairs),
        }
        size, difference, same = results[way].values()
        print(f"| {way} | {size / 1e6:.1f} | {difference:.2g} | {same} of {len(prompts)} |", flush=True)
    return results
