# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot in an unchanged VLMEvalKit: `make test-vlmevalkit`."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

from tests.conftest import encode
from tests.harnesses import MAX_NEW_TOKENS, MODEL, ask_benchmark, call, needs_demo, write_questions
from trainer.benchmark import ScoreArguments
from trainer.evaluation.benchmark_files import ROTATION
from trainer.evaluation.benchmark_runs import score
from trainer.languages import MMMB
from trainer.multiple_choice_accuracy import RELEASES


KIT = importlib.util.find_spec("vlmeval")
pytestmark = pytest.mark.skipif(KIT is None, reason="VLMEvalKit is not installed: make test-vlmevalkit")
# The files with VLMEvalKit's matching before its pull requests 1175 and 1552, and at present.
COMMITS = dict(zip(RELEASES, ("c3371551~1", "a67ace50~1", "HEAD"), strict=True))
# Runs VLMEvalKit's evaluation of a file of answers with the matching of another release.
EVALUATE = """
import importlib.util
import sys

from vlmeval.dataset import build_dataset
from vlmeval.dataset.utils import multiple_choice

spec = importlib.util.spec_from_file_location("vlmeval.utils.matching_of_a_release", "matching.py")
matching = importlib.util.module_from_spec(spec)
spec.loader.exec_module(matching)
multiple_choice.can_infer = matching.can_infer
for name in sys.argv[1:]:
    build_dataset(name).evaluate(f"{name}.xlsx", model="exact_matching", nproc=1)
"""


def accuracies(file: Path) -> dict[str, float]:
    """The accuracies that VLMEvalKit wrote, by category; the accuracy of all questions is Overall."""
    return pandas.read_csv(file).iloc[0].drop("split").to_dict()


def our_accuracies(results: dict[str, Any], language: str) -> dict[str, float]:
    """This project's accuracies, by VLMEvalKit's names."""
    measured = results[language]
    return {"Overall": measured["all"]["accuracy"]} | {
        name: share["accuracy"] for kind in ("category", "l2-category") for name, share in measured[kind].items()
    }


@needs_demo
def test_vlmevalkit_asks_and_scores_a_parrot_as_the_benchmark_does(tmp_path: Path) -> None:
    """The questions are plain as in MMMB, or circular as in MMBench; prompts and evaluation are VLMEvalKit's."""
    names = {}
    for name, rotations, every in (("mini_MMMB", 0, 15), ("mini_MMBench", 3, 60)):
        names[name] = write_questions(tmp_path / "LMUData", name, rotations, every)
        chinese = tmp_path / "LMUData" / f"{name}_zh.tsv"
        chinese.with_name(f"{name}_cn.tsv").write_bytes(chinese.read_bytes())  # VLMEvalKit's name for Chinese
    codes = ["cn" if language == "zh" else language for language in MMMB]
    command = [
        sys.executable,
        "-m",
        "trainer.harnesses.vlmevalkit",
        "--parrot",
        str(MODEL),
        "--judge",
        "exact_matching",
    ]
    command += [
        "--max_new_tokens",
        str(MAX_NEW_TOKENS),
        "--data",
        *(f"{name}_{code}" for name in names for code in codes),
    ]
    call(command, tmp_path, LMUData=str(tmp_path / "LMUData"))
    for name, benchmark in names.items():
        results, rows = ask_benchmark(benchmark, tmp_path / name, RELEASES[-1])
        assert len(rows) == 240
        for language, code in zip(MMMB, codes, strict=True):
            (file,) = tmp_path.glob(f"outputs/{MODEL.name}/T*/{MODEL.name}_{name}_{code}.xlsx")
            predictions = pandas.read_excel(file, dtype=str, keep_default_na=False)
            for index, prediction in zip(predictions["index"], predictions["prediction"], strict=True):
                assert prediction == rows[language, index]["prediction"]
            assert accuracies(file.with_name(f"{file.stem}_acc.csv")) == pytest.approx(
                our_accuracies(results, language)
            )


def answers(letter: str, text: str, other: str) -> list[str]:
    """Answers that the releases of VLMEvalKit's matching read in different ways, or not at all."""
    why = "it looks so, and nothing else in the picture does, as far as one can see from here"
    return [
        *(
            letter,
            f"{letter}.",
            f"({letter}) {text}",
            f"**{letter}**",
            letter.lower(),
            text,
            text.upper(),
            f"A {text}",
        ),
        *(f"{letter}, since {why}", f"The correct answer is **{letter}**. Here is why: {why}", f"{why}: {text}"),
        *(f"The answer is {letter} and not {other}, since {why}", f"{letter} or {other}", f"{text}, not {letter}"),
        *("", "Z", "I cannot say.", "Cannot determine the answer", "Failed to obtain answer via API", "None"),
        *(f"答案是{letter}。", f"Ответ: {letter}", "الخيار ب", f"Cevap {letter}", f"{letter}\n{other}"),
    ]


def write_scored(folder: Path, name: str, rotations: int) -> Path:
    """Writes questions with answers, alternately right and wrong, in VLMEvalKit's format; returns the answers."""
    letters, texts = "ABCD", ("dolphin", "None", "1", "a red dolphin")
    cases = [
        (right, answer)
        for right in (True, False)
        for number in range(4)
        for answer in answers(letters[number], texts[number], letters[number - 1])
    ]
    rows = []
    for index, (right, answer) in enumerate(cases):
        spoken = next((letter for letter in letters if letter in answer.split(" since")[0].split()), "A")
        for turn in range(rotations + 1):
            own_letter = "ABCD"[(letters.index(spoken) - turn) % 4]
            rows.append(
                {
                    "index": index + turn * ROTATION,
                    "image": encode("red") if turn == 0 else str(index),
                    "question": "What is it?",
                    **{letter: texts[(place + turn) % 4] for place, letter in enumerate(letters)},
                    "answer": own_letter if right else letters[letters.index(own_letter) - 1],
                    "category": f"kind {index % 3}",
                    "l2-category": f"group {index % 2}",
                    "split": "test",
                    "prediction": answer if turn == 0 or index % 5 == 0 else own_letter,
                }
            )
    table = pandas.DataFrame(rows)
    table.drop(columns="prediction").to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    table.drop(columns="image").to_excel(folder / f"{name}.xlsx", index=False)
    return folder / f"{name}.xlsx"


@pytest.mark.parametrize("release", RELEASES)
def test_answers_are_scored_as_by_every_release_of_vlmevalkit_s_matching(release: str, tmp_path: Path) -> None:
    show = ["git", "show", f"{COMMITS[release]}:vlmeval/utils/matching_util.py"]
    matching = subprocess.run(show, cwd=Path(KIT.origin).parents[1], check=True, capture_output=True).stdout
    (tmp_path / "matching.py").write_bytes(matching)
    names = {"plain_MMMB_en": 0, "circular_MMBench_en": 3}
    files = {name: write_scored(tmp_path, name, rotations) for name, rotations in names.items()}
    call([sys.executable, "-c", EVALUATE, *names], tmp_path, LMUData=str(tmp_path))
    for name, file in files.items():
        scored = score(
            ScoreArguments(
                benchmark=[str(file.with_suffix(".tsv"))],
                predictions=[str(file)],
                output=str(tmp_path / "scores" / name),
                matching=release,
            )
        )
        lines = (tmp_path / "scores" / name / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        ours = {row["index"]: row["hit"] for row in map(json.loads, lines)}
        theirs = pandas.read_excel(tmp_path / f"{name}_exact_matching_result.xlsx", dtype={"index": str})
        assert len(theirs) > 100
        assert {index: bool(hit) for index, hit in zip(theirs["index"], theirs["hit"], strict=True)} == {
            index: ours[index] for index in theirs["index"]
        }
        assert accuracies(tmp_path / f"{name}_acc.csv") == pytest.approx(our_accuracies(scored["results"], "en"))
