# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The tests of the evaluation harnesses share this: the demo's model, questions for it, and the benchmark's answers.

A test downloads nothing, and an untrained model understands no language. So these tests need the model of `make demo`,
and are skipped without it. The harnesses' requirements conflict; `make test-lmms-eval`, `make test-vlmevalkit` and
`make test-inspect` make an environment for each.
"""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trainer.benchmark import RunArguments
from trainer.evaluation.benchmark_files import LETTERS, ROTATION
from trainer.evaluation.benchmark_runs import run
from trainer.languages import MMMB


ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "demo-parrot"
EVERY = 15  # Of the demo's 600 questions per language, this leaves 40, of all categories: 240 in six languages.
MAX_NEW_TOKENS = 24
needs_demo = pytest.mark.skipif(
    not (MODEL / "trainer_state.json").is_file(), reason="models/demo-parrot is not there: make demo trains it"
)
Rows = dict[tuple[str, str], dict[str, Any]]


def write_questions(folder: Path, name: str, rotations: int = 0, every: int = EVERY) -> str:
    """
    Writes questions of the demo's benchmark, one TSV file per language. Circular questions come in all rotations of
    their options, and the image column of a rotation names the question, as in MMBench.

    Returns:
        the name of the files, with {language} in the place of the language.
    """
    csv.field_size_limit(2**31 - 1)
    folder.mkdir(parents=True, exist_ok=True)
    for language in MMMB:
        file = ROOT / "data" / "demo" / f"mini_mmmb_{language}.tsv"
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))[::every]
        letters = [letter for letter in LETTERS if letter in rows[0]]
        for row in rows[:]:
            for turn in range(1, rotations + 1):
                turned = {letter: row[letters[(place + turn) % 4]] for place, letter in enumerate(letters)}
                answer = letters[(letters.index(row["answer"]) - turn) % 4]
                index = str(int(row["index"]) + turn * ROTATION)
                rows.append(row | turned | {"index": index, "answer": answer, "image": row["index"]})
        with (folder / f"{name}_{language}.tsv").open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)
    return str(folder / f"{name}_{{language}}.tsv")


def ask_benchmark(benchmark: str, output: Path, matching: str = "2024-01") -> tuple[dict[str, Any], Rows]:
    """Runs trainer/benchmark.py; returns its results by language, and its answers with prompts and letters."""
    written = run(
        RunArguments(
            model=str(MODEL),
            benchmark=[benchmark],
            output=str(output),
            max_new_tokens=MAX_NEW_TOKENS,
            matching=matching,
        )
    )
    lines = (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list(map(json.loads, lines))
    return written["results"], {(row["language"], row["index"]): row for row in rows}


def call(command: list[str], folder: Path, **environment: str) -> str:
    """Runs a harness as its users do, in a folder, without the Hub. Returns its output."""
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=folder, env=os.environ | offline | environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return finished.stdout + finished.stderr
