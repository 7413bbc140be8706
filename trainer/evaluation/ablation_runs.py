# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an experiment of `python -m trainer.ablation`."""

import dataclasses
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer.ablation import AblationArguments
from trainer.benchmark import RunArguments
from trainer.common.sources import check_source
from trainer.compose import ComposeArguments
from trainer.evaluation.ablation_results import Run, write_report
from trainer.evaluation.benchmark_files import find_benchmark
from trainer.evaluation.benchmark_runs import write_text
from trainer.sft import ParrotModelConfig, ParrotScriptArguments, ParrotSFTConfig


# An arm may override these arguments of `compose`. All others belong to the start that the arms share.
OF_EXPERTS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "moe_scale", "experts_begin")
# The experiment sets these arguments for each run.
SET_PER_RUN = ("model_name_or_path", "output_dir", "seed", "stage", "output", "model")


@dataclass
class Recipe:
    """The content of a recipe: a section of arguments for each command, and the arms."""

    output: str
    seeds: list[int]
    compose: dict[str, Any]
    align: dict[str, Any]
    instruct: dict[str, Any]
    benchmarks: dict[str, dict[str, Any]]
    arms: dict[str, dict[str, dict[str, Any]]]
    baselines: list[str]
    main_language: str
    subject: str | None = None


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        keys = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}. Repair it.") from error
    if not isinstance(keys, dict):
        raise ValueError(f"{file} is not a recipe: give a YAML file of keys and values.")
    return keys


def read_recipe(file: str) -> Recipe:
    """
    Reads a recipe. If it names another recipe as `config`, its keys override that recipe's. The sections `align` and
    `instruct` may have a `config`, too.

    Raises:
        `ValueError`: if a key or an argument is unknown, or if an arm overrides arguments that the arms share.
    """
    keys = _read_yaml(file)
    if base := keys.pop("config", None):
        for name, value in _read_yaml(base).items():
            keys[name] = value | keys.get(name, {}) if isinstance(value, dict) else keys.get(name, value)
    fields = dataclasses.fields(Recipe)
    unknown = keys.keys() - {field.name for field in fields}
    missing = {field.name for field in fields if field.default is dataclasses.MISSING} - keys.keys()
    if unknown or missing:
        raise ValueError(f"{file}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}.")
    recipe = Recipe(**keys)
    for section in (recipe.align, recipe.instruct):
        if base := section.pop("config", None):
            section |= {name: value for name, value in _read_yaml(base).items() if name not in SET_PER_RUN} | section
    for place, section, allowed in _sections(recipe):
        if unknown := section.keys() - allowed:
            raise ValueError(
                f"{file}: {place}: {', '.join(sorted(unknown))} cannot be set here, only {', '.join(sorted(allowed))}."
            )
    if "start" in recipe.arms:
        raise ValueError(f"{file}: rename the arm 'start', because the experiment needs a folder of that name.")
    if unknown := set(recipe.baselines) - recipe.arms.keys():
        raise ValueError(
            f"{file}: the baselines {', '.join(unknown)} are no arms: name some of {', '.join(recipe.arms)}."
        )
    return recipe


def _sections(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any], set[str]]]:
    """Yields a recipe's sections: the place, the content and the keys that are allowed there."""

    def fields(*classes: type) -> set[str]:
        return {field.name for kind in classes for field in dataclasses.fields(kind)} - set(SET_PER_RUN)

    training = fields(ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig)
    yield "compose", recipe.compose, fields(ComposeArguments)
    yield "align", recipe.align, training
    yield "instruct", recipe.instruct, training
    for name, section in recipe.benchmarks.items():
        yield f"benchmarks: {name}", section, fields(RunArguments)
    for name, section in recipe.arms.items():
        yield f"arms: {name}", section, {"compose", "instruct"}
        yield f"arms: {name}: compose", section.get("compose", {}), set(OF_EXPERTS)
        yield f"arms: {name}: instruct", section.get("instruct", {}), training


def _command_line(arguments: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in arguments.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def _record(arguments: dict[str, Any], file: Path) -> None:
    """Writes the arguments of a run. Raises a `ValueError` if the file holds those of another run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(arguments, sort_keys=False)
    if file.exists() and (stored := file.read_text(encoding="utf-8")) != text:
        differ = "; ".join(sorted(set(stored.splitlines()) ^ set(text.splitlines())))
        raise ValueError(f"{file} is of another run: {differ}. Delete {file.parent} or give another --output.")
    write_text(file, text)


def call(module: str, words: list[str], folder: Path, environment: dict[str, str]) -> None:
    """
    Runs a command of this package. Its output is appended to log.txt in the folder.

    Raises:
        `ChildProcessError`: if the command fails, with the last line of its output.
    """
    log = folder / "log.txt"
    with log.open("ab") as file:
        command = [sys.executable, "-m", module, *words]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
        raise ChildProcessError(f"{module} failed with {done.returncode}: {last} (whole output: {log})")


class Experiment:
    """
    Runs arms and seeds of a recipe in a folder.

    Args:
        recipe: the recipe.
        output: the folder.
        jobs: number of runs side by side.
    """

    def __init__(self, recipe: Recipe, output: Path, jobs: int) -> None:
        self.recipe, self.output = recipe, output
        self.pool = ThreadPoolExecutor(jobs)
        # In transformers 5.24, only one thread at a time can load a model. In other threads, weights stay on the meta
        # device: https://github.com/huggingface/transformers/issues/41782. Remove the lock when this is fixed.
        self.loading = threading.Lock()
        self.environments: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        for job in range(jobs):
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if torch.cuda.is_available() else {}
            self.environments.put({"OMP_NUM_THREADS": threads, **os.environ, **gpu})

    def submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        """Does `work` as soon as a job is free, in the job's environment."""

        def in_environment() -> None:
            environment = self.environments.get()
            try:
                work(*arguments, environment)
            finally:
                self.environments.put(environment)

        return self.pool.submit(in_environment)

    def compose(self, arguments: dict[str, Any], seed: int, folder: Path, environment: dict[str, str]) -> None:
        """
        Composes a Parrot in a folder, unless the folder holds it already.

        Raises:
            `ValueError`: if the folder holds a Parrot of other arguments.
        """
        _record(arguments, folder.with_suffix(".yaml"))
        if not (folder / "processor_config.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            call("trainer.compose", _command_line(arguments | {"seed": seed, "output": folder}), folder, environment)

    def train(self, arguments: dict[str, Any], folder: Path, environment: dict[str, str]) -> None:
        """
        Trains with a recipe, which it writes to FOLDER/recipe.yaml, unless the training is done already.

        Raises:
            `ValueError`: if the folder holds a run of another recipe.
        """
        model, file = folder / "model", folder / "recipe.yaml"
        _record(arguments | {"output_dir": str(model)}, file)
        if not (model / "trainer_state.json").exists():
            call("trainer.sft", ["--config", str(file)], folder, environment)

    def start(self, seed: int, environment: dict[str, str]) -> None:
        """Makes the start of a seed's arms: composes a Parrot and trains stage 1."""
        folder = self.start_folder(seed)
        self.compose(self.recipe.compose, seed, folder / "composed", environment)
        own = {"model_name_or_path": str(folder / "composed"), "stage": "align", "seed": seed}
        self.train(self.recipe.align | own, folder, environment)

    def start_folder(self, seed: int) -> Path:
        """The folder of the start that a seed's arms share."""
        return self.output / "start" / f"seed-{seed}"

    def run_folder(self, arm: str, seed: int) -> Path:
        """The folder of an arm's run."""
        return self.output / arm / f"seed-{seed}"

    def run(
        self, arm: str, seed: int, benchmarks: list[str], start: Future[None], environment: dict[str, str]
    ) -> None:
        """Trains and measures an arm with a seed."""
        start.result()
        folder, begin = self.run_folder(arm, seed), self.start_folder(seed) / "model"
        overrides = self.recipe.arms[arm]
        if overrides.get("compose"):
            composed, aligned, begin = folder / "composed", begin, folder / "begin"
            self.compose(self.recipe.compose | overrides["compose"], seed, composed, environment)
            with self.loading:
                if not (begin / "training.json").exists():
                    put_experts(composed, aligned, begin)
        own = {"model_name_or_path": str(begin), "stage": "instruct", "seed": seed}
        self.train(self.recipe.instruct | overrides.get("instruct", {}) | own, folder, environment)
        for name in benchmarks:
            if not (folder / name / "results.json").exists():
                arguments = self.recipe.benchmarks[name] | {"model": folder / "model", "output": folder / name}
                call("trainer.benchmark", ["run", *_command_line(arguments)], folder, environment)
        print(f"{folder}: done.", flush=True)

    def report(self, arms: list[str], seeds: list[int], benchmarks: list[str]) -> None:
        """Writes the reports of the seeds that all arms have completed."""
        for name in benchmarks:
            done = [
                seed
                for seed in seeds
                if all((self.run_folder(arm, seed) / name / "results.json").exists() for arm in arms)
            ]
            if done:
                runs = [Run(arm, seed, self.run_folder(arm, seed), name) for arm in arms for seed in done]
                baselines = [arm for arm in self.recipe.baselines if arm in arms]
                write_report(runs, baselines, self.recipe.main_language, self.recipe.subject, self.output / name)

    def __call__(self, arms: list[str], seeds: list[int], benchmarks: list[str]) -> None:
        """Runs all arms and seeds. After a failure no new run starts; the error is raised when the others end."""
        starts: dict[int, Future[None]] = {}
        runs: dict[int, list[Future[None]]] = {}
        for seed, next_seed in zip(seeds, [*seeds[1:], None], strict=True):
            for start in (seed, next_seed):  # the next seed's start is made while this seed's arms run
                if start is not None and start not in starts:
                    starts[start] = self.submit(self.start, start)
            runs[seed] = [self.submit(self.run, arm, seed, benchmarks, starts[seed]) for arm in arms]
        try:
            for futures in runs.values():
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                self.report(arms, seeds, benchmarks)
        finally:
            self.pool.shutdown(cancel_futures=True)


def put_experts(composed: Path, aligned: Path, output: Path) -> None:
    """Writes the aligned model with the experts of the composed model, and their settings in the config."""
    model = ParrotForConditionalGeneration.from_pretrained(aligned, dtype="auto")
    other = ParrotForConditionalGeneration.from_pretrained(composed, dtype="auto")
    model.model.moe = other.model.moe
    for name in OF_EXPERTS:
        if hasattr(other.config, name):
            setattr(model.config, name, getattr(other.config, name))
    model.save_pretrained(output)
    ParrotProcessor.from_pretrained(aligned).save_pretrained(output)
    shutil.copy(aligned / "training.json", output)  # last, because this file marks the folder as complete


def _select(names: list[str], all_names: list[str], kind: str, file: str) -> list[str]:
    if unknown := [name for name in names if name not in all_names]:
        raise ValueError(f"{file} has no {kind} {', '.join(unknown)}, only {', '.join(all_names)}.")
    return [name for name in all_names if name in names] if names else all_names


def check_sources(recipe: Recipe, benchmarks: Sequence[str]) -> None:
    """
    Checks before hours of training that parts, data and benchmarks exist.

    Raises:
        `ValueError`: if one does not exist.
    """
    for argument in ("vision_tower", "language_model", "chat_template_path"):
        if name := recipe.compose.get(argument):
            check_source(name, f"compose: {argument}")
    for title, section in (("align", recipe.align), ("instruct", recipe.instruct)):
        if name := section.get("dataset_name"):
            check_source(name, f"{title}: dataset_name", "dataset")
    for name in benchmarks:
        section = recipe.benchmarks[name]
        find_benchmark(section["benchmark"], section.get("languages"), section.get("benchmark_revision", "main"))


def run_ablation(arguments: AblationArguments) -> None:
    """Checks the recipe, runs the experiment and writes its reports."""
    recipe = read_recipe(arguments.config)
    arms = _select(arguments.arms, list(recipe.arms), "arms", arguments.config)
    benchmarks = _select(arguments.benchmarks, list(recipe.benchmarks), "benchmarks", arguments.config)
    check_sources(recipe, benchmarks)
    jobs = torch.accelerator.device_count() or os.cpu_count() or 1 if arguments.jobs is None else arguments.jobs
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: at least 1 is needed.")
    experiment = Experiment(recipe, Path(arguments.output or recipe.output), jobs)
    experiment(arms, list(dict.fromkeys(arguments.seeds or recipe.seeds)), benchmarks)
