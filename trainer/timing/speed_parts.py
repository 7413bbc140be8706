# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The measurements of trainer/speed.py, part by part."""

import base64
import copy
import gc
import io
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
import trl
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from peft import LoraConfig
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoProcessor,
    BatchFeature,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    StoppingCriteria,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration, ParrotProcessor
from modeling_parrot.chat_format import ChatFormat
from trainer import REPOSITORY
from trainer.common.sources import check_parrot
from trainer.evaluation.answerers import ParrotAnswerer, ask_all
from trainer.evaluation.benchmark_files import Question, find_benchmark, first_of_each_category, read_benchmark
from trainer.sft import ParrotSFTConfig
from trainer.speed import SpeedArguments
from trainer.timing.benchmark_speed import compare_ways
from trainer.toy_world.demo_parts import train_tokenizer
from trainer.training.parrot_trainer import ParrotTrainer


QUESTION = "What is in the picture? A. a bus B. a cat C. a dog D. an owl. Answer with the option's letter."
SENTENCE = "It is a picture of noise, of all the colours of the rainbow. "


@dataclass(frozen=True)
class Size:
    """A model's dimensions, by the names in its configs, and the amount of its data."""

    vision: dict[str, int]
    text: dict[str, int]
    moe_intermediate_size: int
    batch_size: int
    sentences: int  # in a training row's answer
    questions: int
    expert_images: int  # enough that two of six experts get large matrices


SIZES = {
    "tiny": Size(
        vision={"image_size": 28, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3},
        text={"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2},
        moe_intermediate_size=32,
        batch_size=4,
        sentences=1,
        questions=16,
        expert_images=32,
    ),
    "small": Size(
        vision={"image_size": 112, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12},
        text={"vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18},
        moe_intermediate_size=640,
        batch_size=8,
        sentences=2,
        questions=16,
        expert_images=32,
    ),
    "7b": Size(
        vision={"image_size": 336, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
        text={"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
        moe_intermediate_size=4096,
        batch_size=8,
        sentences=12,
        questions=96,
        expert_images=8,
    ),
}


@dataclass
class Line:
    """A line of the table. A `ratio` of 2 says that ours is twice as fast, or half as large."""

    what: str
    ratio: float = field(init=False)
    ours: float
    peer: float
    unit: str
    peer_name: str

    def __post_init__(self) -> None:
        more_is_better = "/s" in self.unit or self.unit == "%"
        self.ratio = self.ours / self.peer if more_is_better else self.peer / self.ours

    def __str__(self) -> str:
        return (
            f"| {self.what} | {self.ratio:.2f} | {self.ours:.4g} | {self.peer:.4g} | {self.unit} | {self.peer_name} |"
        )


def memory_rows(what: str, memory: dict[str, float], peer_name: str) -> list[Line]:
    """Returns a line about two peaks in MiB; none if one is as small as the allocator's own changes."""
    if not min(memory.values()) > 8:  # this is also true for NaN
        return []
    return [Line(what, **memory, unit="MiB", peer_name=peer_name)]


class Bench:
    """A Parrot with random weights, its processor, a peer with the same weights, and tools to measure them."""

    def __init__(self, size: Size, rounds: int) -> None:
        self.size, self.rounds = size, rounds
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        tokenizer = train_tokenizer([QUESTION, SENTENCE], vocab_size=480)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
        pixels = size.vision["image_size"]
        self.processor_arguments = {
            "tokenizer": tokenizer,
            "patch_size": 14,
            "vision_feature_select_strategy": "full",
            "num_additional_image_tokens": 1,
            "chat_template": ChatFormat().template(),
        }
        self.image_processor = LlavaImageProcessorPil(
            size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels}, do_pad=True
        )
        self.processor = ParrotProcessor(self.image_processor, **self.processor_arguments)
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        heads = size.text["hidden_size"] // 128 or 4
        self.config = {
            "text_config": {
                "model_type": "qwen2",
                "num_attention_heads": heads,
                "num_key_value_heads": 4 if heads % 4 == 0 else 1,
                **size.text,
                **ids,
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                "patch_size": 14,
                "num_attention_heads": size.vision["hidden_size"] // 64 or 4,
                **size.vision,
            },
            "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
            "image_seq_length": (pixels // 14) ** 2 + 1,
            "vision_feature_select_strategy": "full",
        }
        header = tokenizer("<|im_start|>assistant\n")["input_ids"]
        config = ParrotConfig(
            **self.config, moe_intermediate_size=size.moe_intermediate_size, assistant_header_ids=header
        )
        default = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        with self.device:
            self.model = ParrotForConditionalGeneration(config).eval()
        torch.set_default_dtype(default)
        nn.init.normal_(self.model.model.moe.experts.down_proj, std=0.02)  # new experts add zero

    def peer(self) -> LlavaForConditionalGeneration:
        """Returns a LLaVA that shares the Parrot's modules, without the experts."""
        with torch.device("meta"):
            llava = LlavaForConditionalGeneration(LlavaConfig(**self.config)).eval()
        for name in ("vision_tower", "multi_modal_projector", "language_model"):
            setattr(llava.model, name, getattr(self.model.model, name))
        llava.lm_head = self.model.lm_head
        return llava

    def synchronize(self) -> None:
        """Waits for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def time(self, **ways: Callable[[], Any]) -> dict[str, float]:
        """
        Times ways that take turns. Returns the least seconds of each. A single thread is timed by its CPU time,
        because other programs disturb that less.
        """
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        is_alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.process_time if is_alone else time.perf_counter
        for number in range(self.rounds + 1):
            for name, way in ways.items():
                self.synchronize()
                start = clock()
                way()
                self.synchronize()
                if number:  # the first round does not count
                    seconds[name].append(clock() - start)
        return {name: min(rounds) for name, rounds in seconds.items()}

    def peak_memory(self, way: Callable[[], Any]) -> float:
        """Returns the peak of the additional memory that a way needs, in MiB; NaN if it cannot be measured."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            allocated = torch.cuda.memory_allocated()
            way()
            return (torch.cuda.max_memory_allocated() - allocated) / 2**20
        reset = Path("/proc/self/clear_refs")
        if not reset.exists():  # only Linux has this file
            return float("nan")
        reset.write_text("5")  # reset the peak
        before = _resident()
        way()
        return _resident(peak=True) - before

    def product(self) -> tuple[Callable[[], torch.Tensor], float]:
        """Returns a function that multiplies large matrices, the fastest work of a machine, and its FLOP."""
        side = 8192 if self.device.type == "cuda" else 1024
        left, right = torch.randn(2, side, side, device=self.device, dtype=self.dtype)
        return lambda: left @ right, 2 * side**3

    def picture(self, seed: int) -> Image.Image:
        """Returns a picture of noise."""
        pixels = self.size.vision["image_size"]
        return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (pixels, pixels, 3), dtype=np.uint8))


def _resident(peak: bool = False) -> float:
    """Returns the resident memory of this process in MiB, or its peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0]) / 1024


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def training_rows(bench: Bench, number: int) -> Dataset:
    """Returns conversations with two questions about a picture."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": "B"},
                {"role": "user", "content": "In detail, please."},
                {"role": "assistant", "content": SENTENCE * bench.size.sentences},
            ],
            "images": [{"bytes": _jpeg(bench.picture(index)), "path": None}],
        }
        for index in range(number)
    ]
    features = {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "images": List(ImageFeature()),
    }
    return Dataset.from_list(rows, features=Features(features))


def measure_data(bench: Bench) -> list[Line]:
    """Measures reading and collating training rows on one core."""
    data = training_rows(bench, 32)
    plain = LlavaProcessor(bench.image_processor, **bench.processor_arguments)
    collators = {
        name: DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
        for name, processor in (("ours", bench.processor), ("peer", plain))
    }

    def collate(name: str) -> None:
        for start in range(0, 32, 8):
            collators[name]([data[index] for index in range(start, start + 8)])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = bench.time(ours=lambda: collate("ours"), peer=lambda: collate("peer"))
    torch.set_num_threads(threads)
    speeds = {name: 32 / duration for name, duration in seconds.items()}
    length = len(collators["ours"]([data[0]])["input_ids"][0])
    return [Line(f"data, {length} tokens a row", **speeds, unit="rows/s a core", peer_name="LlavaProcessor")]


@torch.inference_mode()
def measure_experts(bench: Bench) -> list[Line]:
    """Measures all, two and one of the experts."""
    experts = bench.model.model.moe.experts
    number, size, inner = experts.down_proj.shape
    shape = (bench.size.expert_images, bench.config["image_seq_length"], size)
    features = torch.randn(shape, device=bench.device, dtype=bench.dtype)
    weights = torch.rand(shape[0], number, device=bench.device).softmax(dim=-1)

    def stacked() -> torch.Tensor:
        gate, up = torch.einsum("nkc,eic->neki", features, experts.gate_up_proj).chunk(2, dim=-1)
        outputs = torch.einsum("neki,eci->nekc", nn.functional.silu(gate) * up, experts.down_proj)
        return torch.einsum("nekc,ne->nkc", outputs, weights.to(outputs.dtype))

    ways = {"all": lambda: experts(features, weights)}
    for chosen in (2, 1):
        selected = weights.topk(chosen).indices
        sparse = torch.zeros_like(weights).scatter(1, selected, weights.gather(1, selected))
        ways[f"{chosen} of {number}"] = partial(experts, features, sparse, selected)
    product, flop = bench.product()
    seconds = bench.time(product=product, **ways)
    product_speed = flop / seconds.pop("product") / 1e12
    rows = []
    for name, duration in seconds.items():
        active = number if name == "all" else int(name.split()[0])
        # An expert has three matrices. Each weight costs two FLOP, a multiplication and an addition.
        speed = 6 * shape[0] * shape[1] * size * inner * active / duration / 1e12
        what = f"experts, {name}, {shape[0]} images"
        rows.append(Line(what, speed, product_speed, "TFLOP/s", "matrix product"))
        if name != "all":
            rows.append(Line(what, 1e3 * duration, 1e3 * seconds["all"], "ms", "all experts"))
    memory = {name: bench.peak_memory(way) for name, way in (("ours", ways["all"]), ("peer", stacked))}
    return rows + memory_rows("experts, all, memory", memory, "experts stacked")


class TokenClock(StoppingCriteria):
    """Notes the time of each token. It stops nothing."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Returns False for each sequence, so that none stops, (B,)."""
        self.ends.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@torch.inference_mode()
def measure_latency(bench: Bench) -> list[Line]:
    """Measures generation, one prompt alone and a batch."""
    models = {"ours": bench.model, "peer": bench.peer()}
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    chat = bench.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    rows = []
    for number in (1, 8):
        images = [[bench.picture(index)] for index in range(number)]
        inputs = bench.processor(images=images, text=[chat] * number, return_tensors="pt").to(bench.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(bench.dtype)

        def generate(name: str, tokens: int, inputs: Any = inputs, **options: Any) -> Any:
            options |= {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens}
            return models[name].generate(**inputs, **options)

        def seconds_after_first(name: str, generate: Callable[..., Any] = generate) -> float:
            # A difference of two runs could be negative on a busy machine.
            clock = TokenClock()
            generate(name, 17, stopping_criteria=[clock])
            return clock.ends[-1] - clock.ends[0]

        first = bench.time(**{name: partial(generate, name, 1) for name in models})
        further = [{name: seconds_after_first(name) for name in models} for _ in range(bench.rounds)]
        what = f"batch {number}, {inputs['input_ids'].shape[1]} tokens"
        rows.append(Line(f"first token, {what}", 1e3 * first["ours"], 1e3 * first["peer"], "ms", "LLaVA"))
        speeds = {name: 16 * number / min(seconds[name] for seconds in further) for name in models}
        rows.append(Line(f"further tokens, {what}", **speeds, unit="tokens/s", peer_name="LLaVA"))
    return rows + _bfloat16_rows(bench, inputs)


@torch.inference_mode()
def _bfloat16_rows(bench: Bench, inputs: BatchFeature) -> list[Line]:
    """Compares the first token of a batch in bfloat16 with float32, on a CPU that multiplies matrices in bfloat16."""
    if bench.device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return []
    model = copy.deepcopy(bench.model).bfloat16()
    seconds = bench.time(
        ours=lambda: model(**inputs | {"pixel_values": inputs["pixel_values"].bfloat16()}, logits_to_keep=1),
        peer=lambda: bench.model(**inputs, logits_to_keep=1),
    )
    what = f"bfloat16, first token, batch {len(inputs['input_ids'])}"
    return [Line(what, 1e3 * seconds["ours"], 1e3 * seconds["peer"], "ms", "float32")]


def benchmark_questions(bench: Bench) -> list[Question]:
    """Returns questions in four languages about pictures of noise."""
    pictures = [base64.b64encode(_jpeg(bench.picture(index))).decode() for index in range(bench.size.questions // 4)]
    options = {"A": "a bus", "B": "a cat", "C": "a dog", "D": "an owl"}
    return [
        Question(str(index), language, picture, f"What is in {index}?", options, "A", matched_options=options)
        for index, picture in enumerate(pictures)
        for language in ("en", "zh", "ar", "ru")
    ]


def measure_benchmark(bench: Bench, arguments: SpeedArguments) -> list[Line]:
    """Measures answers of trainer/benchmark.py and of the reference's loop."""
    if arguments.model and arguments.benchmark:  # the arguments have both or neither
        check_parrot(arguments.model, "--model")
        model = AutoModel.from_pretrained(arguments.model, trust_remote_code=True, device_map="auto").eval()
        processor = AutoProcessor.from_pretrained(arguments.model, trust_remote_code=True)
        files = find_benchmark([arguments.benchmark], None, "main")
        questions = [
            question
            for language, file in files.items()
            for question in first_of_each_category(read_benchmark(file, language), arguments.per_category)
        ]
    else:
        model, processor = bench.model, bench.processor
        questions = benchmark_questions(bench)
    speeds, same = compare_ways(model, processor, questions, rounds=min(arguments.rounds, 3), batch_size=48)
    rows = [
        Line(f"benchmark, {way}", speed, speeds["reference"], "questions/s", "reference")
        for way, speed in speeds.items()
        if way != "reference"
    ]
    return [*rows, Line("benchmark, same letters", 100 * same, 100.0, "%", "reference")]


class _Clock(TrainerCallback):
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ends: list[float] = []

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        """Records the time."""
        self.bench.synchronize()
        self.ends.append(time.perf_counter())


def train_some_steps(bench: Bench, name: str, with_lora: bool, folder: str) -> tuple[SFTTrainer, dict[str, float]]:
    """Trains some steps. Returns the trainer, the least seconds of a step, and the peak memory of all steps in MiB."""
    steps = bench.rounds + 1
    is_ours = name == "ours"
    args = (ParrotSFTConfig if is_ours else SFTConfig)(
        output_dir=folder,
        per_device_train_batch_size=bench.size.batch_size,
        max_steps=steps,
        max_length=None,
        assistant_only_loss=True,
        gradient_checkpointing=bench.device.type == "cuda",
        bf16=bench.device.type == "cuda",
        use_cpu=bench.device.type == "cpu",
        save_strategy="no",
        report_to="none",
        dataloader_num_workers=4 if bench.device.type == "cuda" else 0,
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=64,
        lora_alpha=128,
        target_modules=r".*language_model\.layers\..*_proj",
        modules_to_save=["multi_modal_projector", *(["moe"] if is_ours else [])],
    )
    clock = _Clock(bench)
    trainer = (ParrotTrainer if is_ours else SFTTrainer)(
        model=bench.model if is_ours else bench.peer(),
        args=args,
        train_dataset=training_rows(bench, bench.size.batch_size * steps),
        processing_class=bench.processor
        if is_ours
        else LlavaProcessor(bench.image_processor, **bench.processor_arguments),
        peft_config=lora if with_lora else None,
        callbacks=[clock],
    )
    memory = bench.peak_memory(trainer.train)
    return trainer, {"seconds": min(after - before for before, after in pairwise(clock.ends)), "memory": memory}


def _step_flops(trainer: SFTTrainer) -> float:
    """Returns the FLOP of a step, including recomputation."""
    batch = next(iter(trainer.get_train_dataloader()))

    def added_product(_sum: torch.Size, left: torch.Size, right: torch.Size, **_kwargs: Any) -> int:
        return 2 * left.numel() * right[1]

    # FlopCounterMode counts addmm but not addmm_, which adds the experts' products to their sum.
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as counter:
        trainer.training_step(trainer.model, batch)
    trainer.model.zero_grad()
    return counter.get_total_flops()


def _compare_heads(bench: Bench, trainer: SFTTrainer) -> list[Line]:
    """Compares forward and backward of a batch with the reference's way, which computes logits at every position."""
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    model = trainer.model
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values", "labels")}

    def run(compute: Callable[[], torch.Tensor]) -> None:
        compute().backward()
        model.zero_grad()

    def reference() -> torch.Tensor:
        with trainer.compute_loss_context_manager():
            return model(**plain, use_cache=False).loss

    def ours() -> torch.Tensor:
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, dict(batch))

    model.train()
    seconds = bench.time(ours=lambda: run(ours), peer=lambda: run(reference))
    memory = {name: bench.peak_memory(partial(run, way)) for name, way in (("ours", ours), ("peer", reference))}
    name = "the head on every position"
    return [
        Line("forward and backward", **seconds, unit="s", peer_name=name),
        *memory_rows("forward and backward, memory", memory, name),
    ]


def measure_training(bench: Bench) -> list[Line]:
    """Measures training with LoRA and, if optimizer states and gradients fit, in full."""
    product, flop = bench.product()
    product_speed = flop / bench.time(product=product)["product"] / 1e12
    parameters = sum(parameter.numel() for parameter in bench.model.parameters())
    available = torch.cuda.mem_get_info()[1] if bench.device.type == "cuda" else 16 * 2**30
    rows = []
    for with_lora in (True, False):
        if not with_lora and 16 * parameters > available:  # float32 weights, gradients and AdamW's two moments
            print(f"Training in full is left out: it takes {16 * parameters / 2**30:.0f} GiB without activations.")
            continue
        results = {}
        for name in ("peer", "ours"):
            for parameter in bench.model.parameters():
                parameter.requires_grad_(True)
            bench.model.model.vision_tower.requires_grad_(False)
            with TemporaryDirectory() as folder:
                trainer, results[name] = train_some_steps(bench, name, with_lora, folder)
            if name == "ours":
                speed = _step_flops(trainer) / results[name]["seconds"] / 1e12
                further = [] if with_lora else _compare_heads(bench, trainer)
            if with_lora:
                trainer.model.unload()  # ours and the peer share modules, so remove the adapters
            del trainer
        way = "LoRA" if with_lora else "full"
        seconds, memory = (
            {name: result[measure] for name, result in results.items()} for measure in ("seconds", "memory")
        )
        what, peer_name = f"training, {way}, a step of {bench.size.batch_size}", "SFTTrainer, LLaVA"
        rows.append(Line(what, **seconds, unit="s", peer_name=peer_name))
        rows += memory_rows(f"training, {way}, memory", memory, peer_name)
        rows.append(Line(f"training, {way}", speed, product_speed, "TFLOP/s", "matrix product"))
        rows += further
    return rows


def measure_processes(size: str, rounds: int) -> list[Line]:
    """
    Measures training and the benchmark with one process and with two.

    Returns:
        a line for each; none on a machine with a single core or GPU.
    """
    places = torch.cuda.device_count() or len(os.sched_getaffinity(0))
    if places < 2:
        print("The part `processes` is left out: it needs two cores or two GPUs.")
        return []
    alone, shared = (_launch(number, size, rounds) for number in (1, 2))
    units = {"training": "s a step", "benchmark": "s"}
    return [
        Line(f"two processes, {what}", shared[what], alone[what], unit, "one process") for what, unit in units.items()
    ]


def _launch(processes: int, size: str, rounds: int) -> dict[str, float]:
    """Returns the seconds of training and benchmark with this number of processes."""
    # accelerate starts several processes on one machine by --multi_gpu, on a CPU too; with --cpu it starts only one.
    kind = ["--multi_gpu"] if processes > 1 else []
    with TemporaryDirectory() as folder:
        output = Path(folder) / "seconds.json"
        line = [sys.executable, "-m", "accelerate.commands.launch", *kind, "--num_processes", str(processes)]
        line += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        line += ["--main_process_port", "0", "-m", "trainer.timing.speed_processes", "--size", size]
        line += ["--rounds", str(rounds), "--output", str(output)]
        # Each process gets one thread, even if this process has more.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(line, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return json.loads(output.read_text())


def measure_share(size: str, rounds: int) -> dict[str, float]:
    """Measures the seconds of a training step and of all questions. This process does its share of both."""
    state = PartialState(cpu=not torch.cuda.is_available())
    whole = SIZES[size]
    share = replace(whole, batch_size=whole.batch_size // state.num_processes, questions=64)
    bench = Bench(share, rounds)
    questions = benchmark_questions(bench)
    answerer = ParrotAnswerer(bench.model.eval(), bench.processor, "letter")
    seconds = []
    for _ in range(3):  # the first round does not count
        state.wait_for_everyone()
        start = time.perf_counter()
        for _ in ask_all(answerer, questions, set(), 16, (state.process_index, state.num_processes)):
            pass
        state.wait_for_everyone()
        seconds.append(time.perf_counter() - start)
    bench.model.model.vision_tower.requires_grad_(False)
    with TemporaryDirectory() as folder:
        _, step = train_some_steps(bench, "ours", with_lora=True, folder=folder)
    return {"training": step["seconds"], "benchmark": min(seconds[1:])}


def write_share(arguments: SpeedArguments) -> None:
    """Runs `measure_share`. The first process writes the seconds to `arguments.output`."""
    seconds = measure_share(arguments.size, arguments.rounds)
    if PartialState().is_main_process and arguments.output:
        Path(arguments.output).write_text(json.dumps(seconds), encoding="utf-8")
    PartialState().destroy_process_group()


def measure_speed(arguments: SpeedArguments) -> list[Line]:
    """Measures the parts and prints a table row by row."""
    torch.manual_seed(0)
    random.seed(0)
    bench = Bench(SIZES[arguments.size], arguments.rounds)
    device = torch.cuda.get_device_name() if bench.device.type == "cuda" else platform.processor() or "CPU"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__}"
    print(f"{arguments.size}, {bench.dtype}, {device}, {torch.get_num_threads()} threads, {versions}")
    print("| what | ratio | ours | peer | unit | the peer |\n|---|---|---|---|---|---|", flush=True)
    ways: dict[str, Callable[[], list[Line]]] = {
        "data": lambda: measure_data(bench),
        "experts": lambda: measure_experts(bench),
        "latency": lambda: measure_latency(bench),
        "benchmark": lambda: measure_benchmark(bench, arguments),
        "training": lambda: measure_training(bench),  # training changes the model
        "processes": lambda: measure_processes(arguments.size, arguments.rounds),
    }
    rows = []
    for part, way in ways.items():
        if part in arguments.parts:
            for row in way():
                print(row, flush=True)
                rows.append(row)
            if arguments.output:
                table = {
                    "size": arguments.size,
                    "device": device,
                    "versions": versions,
                    "rows": list(map(asdict, rows)),
                }
                Path(arguments.output).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return rows
