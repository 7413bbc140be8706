# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The ways to answer that `python -m trainer.vllm_speed` times."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from vllm import LLM, SamplingParams

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration, ParrotProcessor
from trainer.common.sources import check_parrot
from trainer.evaluation.benchmark_files import find_benchmark, open_image, read_benchmark
from trainer.vllm_speed import VllmSpeedArguments


def conversations(arguments: VllmSpeedArguments) -> list[list[dict[str, Any]]]:
    """A chat for each question about each picture; the pictures alternate."""
    files = find_benchmark([arguments.benchmark], arguments.languages, "main")
    columns = [read_benchmark(file, language) for language, file in files.items()]
    rows = list({row.image: row for row in columns[0]}.values())[: arguments.pictures]
    prompts = islice((row.prompt for group in zip(*columns, strict=False) for row in group), arguments.questions)
    pictures = list(map(open_image, rows))
    return [
        [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": prompt}]}]
        for prompt in prompts
        for picture in pictures
    ]


def by_transformers(arguments: VllmSpeedArguments, chats: list[list[dict[str, Any]]]) -> Callable[[], list[list[int]]]:
    """Answers with `generate` in batches."""
    model = ParrotForConditionalGeneration.from_pretrained(arguments.model).eval()
    processor = ParrotProcessor.from_pretrained(arguments.model)
    processor.tokenizer.padding_side = "left"
    template = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}

    def answer() -> list[list[int]]:
        answers = []
        for start in range(0, len(chats), arguments.batch_size):
            batch = chats[start : start + arguments.batch_size]
            inputs = processor.apply_chat_template(batch, processor_kwargs={"padding": True}, **template)
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            with torch.inference_mode():
                tokens = model.generate(**inputs, do_sample=False, max_new_tokens=arguments.max_new_tokens)
            answers += tokens[:, inputs["input_ids"].shape[1] :].tolist()
        return answers

    return answer


def by_vllm(arguments: VllmSpeedArguments, chats: list[list[dict[str, Any]]]) -> dict[str, Callable[[], list[Any]]]:
    """The ways to answer with vLLM, by name."""
    dtype = ParrotConfig.from_pretrained(arguments.model).dtype or torch.float32
    llm = LLM(
        arguments.model,
        dtype=str(dtype).removeprefix("torch."),  # by default vLLM rounds float32 to 16 bits
        max_num_seqs=arguments.batch_size,
        enforce_eager=True,
        limit_mm_per_prompt={"image": 1},
    )
    options = SamplingParams(temperature=0, max_tokens=arguments.max_new_tokens)
    vllm_chats = [
        [
            {
                "role": "user",
                "content": [{"type": "image_pil", "image_pil": chat[0]["content"][0]["image"]}, chat[0]["content"][1]],
            }
        ]
        for chat in chats
    ]
    llm.chat(vllm_chats[:2], options, use_tqdm=False)

    def answer() -> list[list[int]]:
        return [list(output.outputs[0].token_ids) for output in llm.chat(vllm_chats, options, use_tqdm=False)]

    def answer_without_caches(kept_images: int) -> list[list[int]]:
        llm.llm_engine.reset_mm_cache()
        llm.llm_engine.reset_encoder_cache()
        llm.reset_prefix_cache()
        (model,) = llm.apply_model(lambda model: model)
        model.kept.clear()
        model.max_kept_images = kept_images
        return answer()

    return {
        "vLLM, the tower run for each prompt": lambda: answer_without_caches(0),
        "vLLM": lambda: answer_without_caches(256),
        "vLLM, all asked before": answer,
    }


def all_ways(
    arguments: VllmSpeedArguments, chats: list[list[dict[str, Any]]]
) -> Iterator[tuple[str, Callable[[], list[list[int]]]]]:
    """All ways. transformers comes first, because vLLM changes the classes of transformers in its process."""
    yield "transformers, in batches", by_transformers(arguments, chats)
    yield from by_vllm(arguments, chats).items()


def measure_serving(arguments: VllmSpeedArguments) -> dict[str, float]:
    """
    Times all ways and prints a table.

    Returns:
        the questions per second of each way.
    """
    check_parrot(arguments.model, "--model")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # otherwise vLLM takes cores from transformers
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # in GB, on a CPU
    chats = conversations(arguments)
    print(f"{len(chats)} questions about {arguments.pictures} pictures, {torch.get_num_threads()} threads")
    print("| way | questions a second | same answers |\n|---|---|---|")
    speeds: dict[str, float] = {}
    expected: list[list[int]] = []
    for way, answer in all_ways(arguments, chats):
        seconds = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            answers = answer()
            seconds.append(time.perf_counter() - start)
        speeds[way] = len(chats) / statistics.median(seconds)
        expected = expected or answers  # `generate` pads the answers of a batch at the end
        same = sum(tokens == padded[: len(tokens)] for tokens, padded in zip(answers, expected, strict=True))
        print(f"| {way} | {speeds[way]:.1f} | {same} of {len(chats)} |", flush=True)
    return speeds
