# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot and its benchmarks in lmms-eval: `make test-lmms-eval`."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from transformers import pipeline

from tests.harnesses import MAX_NEW_TOKENS, MODEL, ROOT, ask_benchmark, call, needs_demo, write_questions
from trainer.evaluation.benchmark_files import open_image, read_benchmark
from trainer.languages import MMMB


pytest.importorskip("lmms_eval", reason="lmms-eval is not installed: make test-lmms-eval")
pytestmark = needs_demo
TASKS = ROOT / "trainer" / "harnesses" / "lmms_eval_tasks"


def evaluate(
    folder: Path, tasks: list[str], *options: str, tokens: int | None = MAX_NEW_TOKENS
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Runs lmms-eval; returns its metrics and its samples by task."""
    command = [sys.executable, "-m", "lmms_eval", "--model", "parrot", "--model_args", f"pretrained={MODEL}"]
    command += ["--tasks", ",".join(tasks), "--batch_size", "16", "--output_path", "out", "--log_samples", *options]
    printed = call([*command, *(["--gen_kwargs", f"max_new_tokens={tokens}"] if tokens else [])], folder)
    written = list(folder.glob("out/*/*_results.json"))
    assert written, printed[-4000:]  # lmms-eval exits with 0 even if it fails
    samples = {}
    for file in folder.glob("out/*/*_samples_*.jsonl"):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        samples[file.stem.partition("_samples_")[2]] = sorted(rows, key=lambda row: row["doc_id"])
    return json.loads(written[0].read_text(encoding="utf-8"))["results"], samples


def assert_as_benchmark(
    benchmark: str, name: str, output: Path, scores: dict[str, Any], samples: dict[str, list[dict[str, Any]]]
) -> int:
    """Asserts that the tasks have the benchmark's prompts, answers, letters and accuracies; returns their number."""
    results, rows = ask_benchmark(benchmark, output)
    asked_rows = [row | {"language": language} for language in MMMB for row in samples[f"{name}_{language}"]]
    assert len(asked_rows) == len(rows)
    for sample in asked_rows:
        row = rows[sample["language"], sample["accuracy"]["index"]]
        assert (sample["input"], sample["filtered_resps"]) == (row["prompt"], row["prediction"])
        for verdict, metric in (("hit", "accuracy"), ("hit_multilingual", "accuracy_multilingual")):
            assert sample[metric]["score"] == row[f"plain_{verdict}" if f"plain_{verdict}" in row else verdict]
    for language in MMMB:
        measured = scores[f"{name}_{language}"]
        assert measured["accuracy,none"] == results[language]["all"]["accuracy"]
    return len(asked_rows)


def test_mini_mmmb_has_the_benchmarks_prompts_answers_and_accuracies(tmp_path: Path) -> None:
    benchmark = write_questions(tmp_path / "data" / "mini-mmmb", "mini_mmmb")
    scores, samples = evaluate(tmp_path, ["mini_mmmb"], "--include_path", str(TASKS))
    assert assert_as_benchmark(benchmark, "mini_mmmb", tmp_path / "benchmark", scores, samples) == 240
    accuracies = [scores[f"mini_mmmb_{language}"]["accuracy,none"] for language in MMMB]
    assert scores["mini_mmmb"]["accuracy,none"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert "accuracy_stderr_clustered,none" in scores["mini_mmmb_en"]


def test_rotated_questions_count_together_and_a_task_of_ones_own_is_four_lines(tmp_path: Path) -> None:
    benchmark = write_questions(tmp_path, "circular", rotations=3, every=60)
    (tmp_path / "tasks").mkdir()
    for language in MMMB:
        task = (TASKS / f"mini_mmmb_{language}.yaml").read_text(encoding="utf-8")
        task = task.replace("include: _template", f"include: {TASKS / '_template'}")
        task = task.replace("data/mini-mmmb/mini_mmmb", "circular").replace("mini_mmmb", "circular")
        (tmp_path / "tasks" / f"circular_{language}.yaml").write_text(task, encoding="utf-8")
    tasks = [f"circular_{language}" for language in MMMB]
    scores, samples = evaluate(tmp_path, tasks, "--include_path", str(tmp_path / "tasks"))
    assert assert_as_benchmark(benchmark, "circular", tmp_path / "benchmark", scores, samples) == 240


TEXT, NUMBER = Value("string"), Value("int64")
# The columns that lmms-eval's broad benchmarks have on the Hub.
BROAD = {
    "mme": ("lmms-lab-encoder/MME", "test", ["question_id", "question", "answer", "category"]),
    "pope": ("lmms-lab-encoder/POPE", "test", ["id", "question_id", "question", "answer", "image_source", "category"]),
    "mmstar": ("Lin-Chen/MMStar", "val", ["index", "question", "answer", "category", "l2_category"]),
    "realworldqa": ("lmms-lab-encoder/RealWorldQA", "test", ["image_path", "question", "answer"]),
    "seedbench": (
        "lmms-lab-encoder/SEED-Bench",
        "test",
        ["question", "answer", "data_id", "data_type", "question_id", *(f"choice_{letter}" for letter in "abcd")],
    ),
}


def write_broad(folder: Path) -> None:
    """Writes small benchmarks with the columns of the Hub's broad benchmarks, about the demo's pictures."""
    english = read_benchmark(ROOT / "data" / "demo" / "mini_mmmb_en.tsv", "en")[:200:20]
    for task, (name, split, columns) in BROAD.items():
        rows = []
        for number, question in enumerate(english):
            options = question.options
            pair = number // 2 * 2  # MME and POPE ask twice about a picture; one answer is yes, one is no
            thing = english[pair].options[english[pair].answer if number % 2 == 0 else "ABCD"[number % 3 + 1]]
            cells = {
                "question_id": f"{pair}.jpg" if task == "mme" else str(number),
                "index": number,
                "id": str(number),
                "image_source": f"{number}.jpg",
                "image_path": f"{number}.webp",
                "category": {"mme": "existence", "pope": "random", "mmstar": "coarse perception"}.get(task, ""),
                "l2_category": "image scene and topic",
                "data_id": f"{number}.jpg",
                "data_type": "video" if number % 4 == 3 else "image",
                "answer": question.answer,
                "question": question.text,
                **{f"choice_{letter.lower()}": text for letter, text in options.items()},
            }
            if task in ("mme", "pope"):
                cells |= {"answer": ["Yes", "No"][number % 2] if task == "mme" else ["yes", "no"][number % 2]}
                cells |= {"question": f"Is there a {thing} in the image? Please answer yes or no."}
            if task in ("mmstar", "realworldqa"):
                listed = ", ".join(f"{letter}: {text}" for letter, text in options.items())
                cells |= {"question": f"{question.text}\nOptions: {listed}"}
            pictures = [open_image(english[pair if task in ("mme", "pope") else number])]
            if cells["data_type"] == "video":
                pictures *= 3  # SEED-Bench has the frames of its videos
            rows.append({column: cells[column] for column in columns})
            rows[-1]["image"] = pictures if task == "seedbench" else pictures[0]
        image = List(Image()) if task == "seedbench" else Image()
        features = {column: NUMBER if column == "index" else TEXT for column in columns}
        features = Features(features | {"image": image})
        (folder / name / "data").mkdir(parents=True)
        file = folder / name / "data" / f"{split}-00000-of-00001.parquet"
        Dataset.from_list(rows, features=features).to_parquet(file)


def test_broad_benchmarks_run_on_a_parrot_whose_answers_are_those_of_transformers(tmp_path: Path) -> None:
    write_broad(tmp_path)
    scores, samples = evaluate(tmp_path, list(BROAD), tokens=8)
    metrics = {
        "mme": "mme_perception_score",
        "pope": "pope_accuracy",
        "mmstar": "average",
        "realworldqa": "exact_match",
        "seedbench": "seed_all",
    }
    pipe = pipeline("image-text-to-text", model=str(MODEL), trust_remote_code=True)
    for task, metric in metrics.items():
        assert isinstance(scores[task].get(f"{metric},none", scores[task].get(f"{metric},flexible-extract")), float)
        assert len(samples[task]) == 10
        name, split, _ = BROAD[task]
        rows = Dataset.from_parquet(str(tmp_path / name / "data" / f"{split}-00000-of-00001.parquet"))
        for row, sample in zip(rows, samples[task], strict=True):
            pictures = row["image"] if isinstance(row["image"], list) else [row["image"]]
            content = [{"type": "image", "image": picture} for picture in pictures]
            content.append({"type": "text", "text": sample["input"]})
            (output,) = pipe(
                text=[[{"role": "user", "content": content}]],
                return_full_text=False,
                generate_kwargs={"max_new_tokens": 8, "do_sample": False},
            )
            assert sample["filtered_resps"] == output[0]["generated_text"].strip()
