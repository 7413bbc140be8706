# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks in inspect-ai, and mini-MMMB as the Hub runs it: `make test-inspect`."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from modeling_parrot.modeling_parrot import ParrotForConditionalGeneration
from modeling_parrot.processing_parrot import ParrotProcessor
from tests.harnesses import MAX_NEW_TOKENS, MODEL, ROOT, ask_benchmark, call, needs_demo, write_questions
from tests.hub import LoopbackHub, run_python
from tests.servers import server
from trainer.harnesses.hub_benchmark import HubBenchmarkArguments, write
from trainer.languages import MMMB


pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: make test-inspect")
pytestmark = needs_demo
TASK = "trainer/harnesses/inspect_task.py"  # inspect-ai takes only relative names
INSPECT = str(Path(sys.executable).with_name("inspect"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which transformers serves the demo's model, with the present code beside its weights."""
    folder = tmp_path_factory.mktemp("served")
    ParrotForConditionalGeneration.from_pretrained(MODEL).save_pretrained(folder / "parrot")
    ParrotProcessor.from_pretrained(MODEL).save_pretrained(folder / "parrot")
    serve = [str(Path(sys.executable).with_name("transformers")), "serve", "parrot", "--trust-remote-code"]
    with server([*serve, "--device", "cpu"], {"HF_HUB_OFFLINE": "1"}, folder / "log.txt") as url:
        yield url


def evaluate(folder: Path, address: str, task: str, *options: str, **environment: str) -> dict[str, Any]:
    """Runs a task with the served Parrot; returns inspect-ai's log."""
    command = [INSPECT, "eval", task, "--model", "openai-api/parrot/parrot", "--log-format", "json", *options]
    environment |= {"PARROT_API_KEY": "none", "PARROT_BASE_URL": address}
    printed = call([*command, "--log-dir", str(folder / "logs"), "--display", "plain"], ROOT, **environment)
    (file,) = (folder / "logs").glob("*.json")
    log = json.loads(file.read_text(encoding="utf-8"))
    shutil.rmtree(folder / "logs")
    assert log["status"] == "success", printed
    return log


def metrics_of(log: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The values of a log's metrics, by scorer and metric."""
    return {
        scores["name"]: {name: metric["value"] for name, metric in scores["metrics"].items()}
        for scores in log["results"]["scores"]
    }


def test_the_task_has_the_benchmarks_prompts_answers_letters_and_accuracies(tmp_path: Path, address: str) -> None:
    benchmark = write_questions(tmp_path, "questions")
    results, rows = ask_benchmark(benchmark, tmp_path / "benchmark")
    assert len(rows) == 240
    for language in MMMB:
        arguments = (f"benchmark={benchmark}", f"language={language}", f"max_tokens={MAX_NEW_TOKENS}")
        options = [option for argument in arguments for option in ("-T", argument)]
        log = evaluate(tmp_path, address, TASK, *options)
        assert len(log["samples"]) == 40
        for sample in log["samples"]:
            row = rows[language, sample["id"]]
            (message,) = sample["input"]
            assert [part["type"] for part in message["content"]] == ["image", "text"]
            assert message["content"][1]["text"] == row["prompt"]
            assert sample["output"]["choices"][0]["message"]["content"].strip() == row["prediction"]
            assert sample["scores"]["exact_matching"].get("answer") == row["letter"]
            assert sample["scores"]["multilingual_matching"].get("answer") == row["letter_multilingual"]
        values = metrics_of(log)
        measured = results[language]["all"]
        assert values["exact_matching"]["accuracy"] == pytest.approx(measured["accuracy"])
        assert values["multilingual_matching"]["accuracy"] == pytest.approx(measured["plain_multilingual"]["accuracy"])
        for category, shares in results[language]["category"].items():
            assert values["exact_matching"][category] == pytest.approx(shares["accuracy"])


def test_rotated_questions_count_together(tmp_path: Path, address: str) -> None:
    benchmark = write_questions(tmp_path, "circular", rotations=3, every=60)
    results, _ = ask_benchmark(benchmark, tmp_path / "benchmark")
    arguments = (f"benchmark={benchmark}", "language=zh", f"max_tokens={MAX_NEW_TOKENS}")
    options = [option for argument in arguments for option in ("-T", argument)]
    values = metrics_of(evaluate(tmp_path, address, TASK, *options))
    measured = results["zh"]["all"]
    assert values["exact_matching"]["circular_accuracy"] == pytest.approx(measured["circular"]["accuracy"])
    multilingual = values["multilingual_matching"]["circular_accuracy"]
    assert multilingual == pytest.approx(measured["circular_multilingual"]["accuracy"])


def test_the_published_data_set_runs_as_a_benchmark_of_the_hub(tmp_path: Path, address: str) -> None:
    """The Hub's benchmark puts the text before the picture, and reads letters with a pattern of its own."""
    write_questions(tmp_path / "mini-mmmb", "mini_mmmb")
    write(HubBenchmarkArguments(data=str(tmp_path / "mini-mmmb")))
    for name in ("instruct/train", "instruct/validation", "align/train"):  # the card names these files
        Dataset.from_list([{"language": "en"}]).to_parquet(tmp_path / "mini-mmmb" / f"{name}-00000-of-00001.parquet")
    for file in ("README.md", "eval.yaml"):
        shutil.copy(ROOT / "model_cards" / "mini-mmmb" / file, tmp_path / "mini-mmmb" / file)
    upload = """
from huggingface_hub import HfApi
HfApi().create_repo("org/mini-mmmb", repo_type="dataset")
HfApi().upload_folder(repo_id="org/mini-mmmb", repo_type="dataset", folder_path="mini-mmmb")
"""
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
        run_python(upload, environment, tmp_path, new_interpreter=True)
        log = evaluate(tmp_path, address, "hf/org/mini-mmmb/zh", **environment)
    assert len(log["samples"]) == 40
    for sample in log["samples"]:
        (message,) = sample["input"]
        assert [part["type"] for part in message["content"]] == ["text", "image"]
        (score,) = sample["scores"].values()
        answer = sample["output"]["choices"][0]["message"]["content"]
        assert score["value"] == ("C" if re.match(rf"[^A-Za-z]*{sample['target']}(?![A-Za-z])", answer) else "I")
