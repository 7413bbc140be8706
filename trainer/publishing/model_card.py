# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model's card from its config, the record of its training and its results."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from peft import PeftConfig

from modeling_parrot import ParrotConfig
from trainer import REPOSITORY
from trainer.common.edition import edition, project_url
from trainer.common.pictures import open_picture
from trainer.common.sources import check_parrot
from trainer.evaluation.benchmark_results import benchmark_name, how_answered, report
from trainer.evaluation.benchmark_runs import weights_of
from trainer.evaluation.result_types import ResultsFile
from trainer.publish import CardArguments, PublishArguments


TEMPLATE = REPOSITORY / "model_cards" / "model_card_template.md"


def is_adapter(model: str) -> bool:
    """Whether a folder holds an adapter of peft."""
    return (Path(model) / "adapter_config.json").is_file()


def check_card(arguments: PublishArguments) -> None:
    """
    Checks the sources of a card before a model is loaded or a file is written.

    Raises:
        `ValueError`: if the model, the results, the quoted figures or a picture do not exist, or if the results are of
            another model.
    """
    check_parrot(arguments.model, "--model", needs_weights=not arguments.card_only)
    read_results(arguments)
    if arguments.quoted and not Path(arguments.quoted).is_file():
        raise ValueError(f"--quoted: there is no file {arguments.quoted}.")
    for picture in arguments.space_pictures:
        open_picture(Path(picture), f"--space_pictures {picture}", "Give another picture.")


def read_config(model: str) -> ParrotConfig:
    """Reads the config of a model, or of an adapter's base."""
    name = PeftConfig.from_pretrained(model).base_model_name_or_path if is_adapter(model) else model
    return ParrotConfig.from_pretrained(name)


class Base(NamedTuple):
    """The model that an adapter needs: its Hub id and its commit."""

    name: str
    commit: str


class Quoted(TypedDict):
    """The content of the file of --quoted: published figures of others, with their source."""

    source: str
    url: str
    languages: list[str]
    results: dict[str, list[float]]  # by benchmark: one figure for each language
    note: NotRequired[str]
    training: NotRequired[str]


class CardResults(ResultsFile):
    """The results of trainer/benchmark.py, with the benchmark's name and size for a card."""

    benchmark: str  # name of the benchmark
    answered: int  # number of rows that were answered
    rows: int  # number of rows in the benchmark


def read_results(arguments: CardArguments) -> CardResults | None:
    """
    Reads the results that a card shows; None without --results.

    Raises:
        `ValueError`: if the results are missing, or if they are of other weights.
    """
    if not arguments.results:
        return None
    file = Path(arguments.results) / "results.json"
    if not file.is_file():
        raise ValueError(f"--results: there is no {file}. Give the folder that trainer/benchmark.py wrote.")
    results: ResultsFile = json.loads(file.read_text(encoding="utf-8"))
    settings = results["settings"]
    if "weights" in settings and settings["weights"] != weights_of(arguments.model):
        raise ValueError(
            f"{file} has the results of other weights than those of {arguments.model}: measure the model that you "
            "publish, with a new --output."
        )
    # A baseline may be another model in a local folder. The card must not show the folder's path.
    baselines = {
        Path(name).name if Path(name).exists() else name: of_baseline
        for name, of_baseline in results["baselines"].items()
    }
    return {
        **results,
        "baselines": baselines,
        "benchmark": benchmark_name(settings),
        "answered": sum(
            of_language["all"]["rows"] for of_language in results["results"].values() if of_language["all"]
        ),
        "rows": sum(file["rows"] for file in settings["benchmark"].values()),
    }


accuracy_of = partial(EvalResult, task_type="image-text-to-text", metric_type="accuracy")


def measured_results(arguments: CardArguments, results: CardResults) -> dict[str, EvalResult]:
    """Returns our accuracies in the Hub's format, by language."""
    return {
        language: accuracy_of(
            dataset_type=arguments.benchmark_id or results["benchmark"],
            dataset_name=f"{results['benchmark']} ({language})",
            dataset_config=language,
            dataset_split="test",
            dataset_args={"sha256": results["settings"]["benchmark"][language]["sha256"]},
            metric_name="accuracy (%)",
            metric_value=round(100 * measured["accuracy"], 2),
            metric_args={
                "interval_95": [round(100 * end, 2) for end in (measured["low"], measured["high"])],
                "questions": measured["count"],
                "answer": results["settings"].get("answer"),
                **{key: value for key, value in measured.items() if key in ("in_training", "training_data") and value},
            },
        )
        for language, of_language in results["results"].items()
        if (measured := of_language["all"])
    }


def quoted_results(quoted: Quoted) -> list[EvalResult]:
    """Returns, in the Hub's format, the accuracies that others have published."""
    return [
        accuracy_of(
            dataset_type=benchmark.lower().replace(" ", "-"),
            dataset_name=f"{benchmark} ({language})",
            dataset_config=language,
            metric_name="accuracy (%), quoted",
            metric_value=figure,
            source_name=quoted["source"],
            source_url=quoted["url"],
        )
        for benchmark, figures in quoted["results"].items()
        for language, figure in zip(quoted["languages"], figures, strict=True)
    ]


def question(arguments: CardArguments, languages: Sequence[str]) -> str:
    """Returns a question for the code on the card: the first one of the benchmark, or one in the model's language."""
    if arguments.results:
        with (Path(arguments.results) / "predictions.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                if prompt := json.loads(line).get("prompt"):
                    return prompt.partition("\n")[0]
    return "What is shown in the picture?" if "en" in languages or not languages else f"A question in {languages[0]}"


def write_card(arguments: CardArguments, base: Base | None, folder: Path) -> None:
    """Writes README.md, its pictures and, for a benchmark on the Hub, .eval_results."""
    results = read_results(arguments)
    quoted: Quoted | None = json.loads(Path(arguments.quoted).read_text("utf-8")) if arguments.quoted else None
    history = Path(arguments.model) / "training.json"
    training = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else []
    for run in training:
        run["yaml"] = yaml.safe_dump(run["recipe"], sort_keys=False, allow_unicode=True).rstrip()
    # The results come last, because their router.png replaces the training's.
    for source in filter(None, (arguments.model, arguments.results)):
        for name in ("loss", "accuracy", "router"):
            if (picture := Path(source) / f"{name}.png").is_file():
                shutil.copy(picture, folder)
    measured = measured_results(arguments, results) if results else {}
    evaluated = [*measured.values(), *(quoted_results(quoted) if quoted else [])]
    name = arguments.repo_id.partition("/")[2]
    trained = training[-1].get("languages", []) if training else []
    languages = list(dict.fromkeys([*measured, *(quoted["languages"] if quoted else [])]))
    accuracies = [result.metric_value for result in measured.values()]
    data = ModelCardData(
        language=list(dict.fromkeys([*languages, *trained])) or None,
        license=arguments.license,
        license_name=arguments.license_name,
        license_link=arguments.license_link,
        library_name="peft" if base else "transformers",
        pipeline_tag="image-text-to-text",
        base_model=base.name if base else arguments.base_model or None,
        datasets=arguments.dataset or None,
        tags=["parrot", "multilingual", "vision-language", "mixture-of-experts"],
        model_name=name,
        eval_results=evaluated or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=name,
        arguments=arguments,
        edition=edition(),
        project_url=project_url(),
        config=read_config(arguments.model),
        results=results,
        how_answered=how_answered(results["settings"], results["baselines"]) if results else None,
        table=report({"model": results["results"], **results["baselines"]}, results["router"], results.get("wordings"))
        if results
        else None,
        quoted=quoted,
        training=training,
        question=json.dumps(question(arguments, languages or trained), ensure_ascii=False),
        languages=languages,
        trained=trained,
        seen=[language for language, result in measured.items() if "in_training" in (result.metric_args or {})],
        spread=(min(accuracies), max(accuracies)) if len(set(accuracies)) > 1 else None,
        pictures={file.stem for file in folder.glob("*.png")},
        base=base,
    )
    card.save(folder / "README.md")
    if arguments.benchmark_id and results:
        entries = [
            EvalResultEntry(
                dataset_id=arguments.benchmark_id,
                task_id=language,
                value=result.metric_value,
                notes="95% interval {interval_95}, {questions} questions".format_map(result.metric_args or {}),
            )
            for language, result in measured.items()
        ]
        (folder / ".eval_results").mkdir(exist_ok=True)
        file = folder / ".eval_results" / f"{arguments.benchmark_id.partition('/')[2]}.yaml"
        file.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))
