# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of `python -m trainer.benchmark`."""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from PIL import Image as PILImage

from tests.conftest import assert_alike, encode, write_tsv
from tests.processes import python
from tests.tiny import tiny_model
from trainer import REPOSITORY
from trainer.benchmark import RunArguments, ScoreArguments, read_command_line
from trainer.evaluation import benchmark_runs
from trainer.evaluation.answerers import ParrotAnswerer
from trainer.evaluation.benchmark_results import compare
from trainer.evaluation.benchmark_runs import run, score, weights_of
from trainer.multiple_choice_accuracy import RELEASES


@pytest.fixture
def arguments(world: Path, tmp_path: Path, benchmark: str) -> RunArguments:
    return RunArguments(
        model=str(world / "model"),
        benchmark=[benchmark],
        output=str(tmp_path / "out"),
        languages=["en", "tr"],
        answer="score",
        score_by="text",
        baselines=["chance", "text-only"],
        batch_size=4,
    )


def rows_of(output: str) -> list[dict]:
    return [json.loads(line) for line in (Path(output) / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("way", ["generate", "letter", "text", "pmi"])
def test_a_run_answers_every_question_once_and_writes_its_files(arguments: RunArguments, way: str) -> None:
    answer = {"answer": "generate", "max_new_tokens": 4} if way == "generate" else {"score_by": way}
    written = run(replace(arguments, **answer))
    output = Path(arguments.output)
    rows = rows_of(arguments.output)
    assert [(row["language"], row["index"]) for row in rows] == [
        (language, index) for language in ("en", "tr") for index in "012"
    ]
    for row in rows:
        assert row["prompt"].startswith(f"? {row['language']}")
        assert row["hit"] == (row["letter"] == row["answer"])
        assert sum(row["router"]) == pytest.approx(1)
    hits = [row["hit"] for row in rows if row["language"] == "tr"]
    assert written["results"]["tr"]["all"]["accuracy"] == pytest.approx(sum(hits) / 3)
    assert written["results"]["tr"]["l2-category"]["recognition"]["count"] == 2
    assert written["results"]["en"]["all"]["chance"] == pytest.approx(1 / 3)
    assert written["baselines"].keys() == {"chance", "text-only"}
    assert written["router"]["weights"].keys() == {"en", "tr"}
    assert json.loads((output / "results.json").read_text()) == written
    described = written["settings"]["benchmark"]["en"]
    assert (described["file"], described["rows"], len(described["sha256"])) == ("bench_en.tsv", 3, 64)
    assert written["settings"]["answer"] == way
    table = (output / "results.md").read_text()
    for line in (
        "| chance |",
        "| text-only |",
        "| color |",
        "A linear read-out of the router's probabilities identifies",
    ):
        assert line in table
    for picture in ("accuracy.png", "router.png"):
        with PILImage.open(output / picture) as drawn:
            assert min(drawn.size) > 100
    assert not list(output.rglob("answers-*"))


def test_a_stopped_run_resumes_with_the_same_results(arguments: RunArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments.baselines.clear()
    whole = run(arguments)
    cut = replace(arguments, output=arguments.output + "-cut")
    Path(cut.output).mkdir()
    shutil.copy(Path(arguments.output) / "settings.json", cut.output)
    lines = (Path(arguments.output) / "predictions.jsonl").read_text().splitlines(keepends=True)
    (Path(cut.output) / "answers-0.jsonl").write_text("".join(lines[:2]) + lines[2][:10])
    batches = []
    answer = ParrotAnswerer.answer
    monkeypatch.setattr(ParrotAnswerer, "answer", lambda *args: batches.append(len(args[1])) or answer(*args))
    assert run(cut)["results"] == whole["results"]
    assert_alike(rows_of(cut.output), rows_of(arguments.output))
    batches.clear()
    assert run(cut)["results"] == whole["results"]
    assert not batches
    copied = Path(cut.output + "-copy")
    shutil.copytree(arguments.model, copied, copy_function=shutil.copy)  # the copy has other modification times
    assert weights_of(str(copied)) == weights_of(arguments.model)
    os.utime(next(copied.glob("*.safetensors")), ns=(0, 0))
    assert weights_of(str(copied)) == weights_of(arguments.model)
    tiny_model(seed=1).save_pretrained(copied)
    assert weights_of(str(copied)) != weights_of(arguments.model)
    monkeypatch.setattr(benchmark_runs, "weights_of", lambda *_: weights_of(str(copied)))
    with pytest.raises(ValueError, match="holds the answers of another run, with other weights"):
        run(cut)


def test_results_say_which_editions_of_this_project_answered(
    arguments: RunArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments.baselines.clear()
    monkeypatch.setattr(benchmark_runs, "edition", lambda: "0.1.0+g1")
    assert run(replace(arguments, per_category=1))["settings"]["editions"] == ["0.1.0+g1"]
    monkeypatch.setattr(benchmark_runs, "edition", lambda: "0.1.0+g2")
    assert run(arguments)["settings"]["editions"] == ["0.1.0+g1", "0.1.0+g2"]
    file = Path(arguments.output) / "settings.json"
    settings = json.loads(file.read_text())
    del settings["editions"]  # earlier versions wrote no editions
    file.write_text(json.dumps(settings))
    assert run(arguments)["settings"]["editions"] == ["unknown", "0.1.0+g2"]


def test_a_run_of_some_questions_goes_on_to_all(arguments: RunArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments.baselines.clear()
    assert run(replace(arguments, per_category=1))["results"]["en"]["all"]["questions"] == 2
    batches = []
    answer = ParrotAnswerer.answer
    monkeypatch.setattr(ParrotAnswerer, "answer", lambda *args: batches.append(len(args[1])) or answer(*args))
    assert run(arguments)["results"]["en"]["all"]["count"] == 3
    assert batches
    before = rows_of(arguments.output)
    with pytest.raises(ValueError, match=r"holds answers to 2 questions that this run does not ask"):
        run(replace(arguments, per_category=1))
    assert rows_of(arguments.output) == before


def test_generated_answers_are_read_again_with_another_matching(arguments: RunArguments) -> None:
    arguments = replace(arguments, answer="generate", max_new_tokens=4, baselines=[])
    run(arguments)
    rows = rows_of(arguments.output)
    (Path(arguments.output) / "predictions.jsonl").write_text(
        "".join(json.dumps(row | {"prediction": "A is not what five words say"}) + "\n" for row in rows)
    )
    run(arguments)
    assert {row["letter"] for row in rows_of(arguments.output)} == {"A"}
    run(replace(arguments, matching="2025-07"))
    assert {row["letter"] for row in rows_of(arguments.output)} == {None}


def test_answers_of_other_programs_are_scored_as_a_run_scores_its_own(arguments: RunArguments, tmp_path: Path) -> None:
    arguments = replace(arguments, answer="generate", max_new_tokens=4, baselines=[])
    written = run(arguments)
    predictions = Path(arguments.output) / "predictions.jsonl"
    scored = score(
        ScoreArguments(
            benchmark=arguments.benchmark,
            languages=["en", "tr"],
            predictions=[str(predictions)],
            output=str(tmp_path / "scored"),
        )
    )
    assert scored["results"] == written["results"]
    for one, other in zip(rows_of(arguments.output), rows_of(str(tmp_path / "scored")), strict=True):
        assert other.items() <= one.items()


def test_unanswered_questions_are_a_warning_and_answers_without_a_question_an_error(
    benchmark: str, tmp_path: Path
) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("index,prediction\n0,A\n2,it is g\n")
    arguments = ScoreArguments(
        benchmark=[benchmark], languages=["en"], predictions=[str(file)], output=str(tmp_path / "scored")
    )
    with pytest.warns(UserWarning, match="1 of 3 questions have no answer"):
        scored = score(arguments)["results"]["en"]["all"]
    assert (scored["count"], scored["questions"], scored["accuracy"]) == (2, 3, 1)
    file.write_text("index,prediction\n9,A\n")
    with pytest.raises(ValueError, match=r"answers the index '9', but bench_en.tsv has no such question"):
        score(arguments)
    with pytest.raises(ValueError, match=r"row 1: there is no column 'language', but several languages are scored"):
        score(replace(arguments, languages=["en", "tr"]))
    with pytest.raises(ValueError, match="--predictions has 2 files for the languages"):
        score(replace(arguments, predictions=[str(file)] * 2))


def test_wrong_paths_are_named_before_any_question_is_asked(arguments: RunArguments, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    other = replace(arguments, output=str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"There is no benchmark file none_en\.tsv"):
        run(replace(other, wordings="none_{language}.tsv"))
    with pytest.raises(ValueError, match=r"--output='.*file' is a file"):
        run(replace(other, output=str(tmp_path / "file")))
    assert not (tmp_path / "other").exists()
    scored = ScoreArguments(benchmark=arguments.benchmark, predictions=[str(tmp_path)], output=str(tmp_path / "s"))
    with pytest.raises(ValueError, match=r"--predictions: .* is a folder\. Give a file"):
        score(scored)
    with pytest.raises(ValueError, match=r"--predictions: there is no file none\.tsv"):
        score(replace(scored, predictions=["none.tsv"]))


def test_answers_are_scored_without_images_or_a_known_language(tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "any.tsv", [{"index": 7, "question": "?", "A": "x", "B": "y", "answer": "B"}])
    (tmp_path / "answers.tsv").write_text("index\tprediction\n7\t(B)\n")
    arguments = {"benchmark": [str(file)], "predictions": [str(tmp_path / "answers.tsv")]}
    written = score(ScoreArguments(**arguments, output=str(tmp_path / "scored")))
    assert written["results"]["und"]["all"]["accuracy"] == 1
    (tmp_path / "answers.tsv").rename(tmp_path / "answers_sw.tsv")
    arguments["predictions"] = [str(tmp_path / "answers_sw.tsv")]
    score(ScoreArguments(**arguments, output=str(tmp_path / "sw")))
    with pytest.raises(ValueError, match=r"answers_sw\.tsv ends with the language 'sw', but it would be read as 'en'"):
        score(ScoreArguments(**arguments, languages=["en"], output=str(tmp_path / "en")))
    with pytest.raises(ValueError, match=r"The name of .*any.tsv does not end with a known language"):
        run(RunArguments(model="chance", benchmark=[str(file)], output=str(tmp_path / "out")))


@pytest.mark.parametrize("baselines", [["neighbors:a", "neighbors:b"], ["chance", "chance"], ["model"]])
def test_baselines_that_would_share_a_name_are_refused(arguments: RunArguments, baselines: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be told apart"):
        run(replace(arguments, baselines=baselines))
    assert not Path(arguments.output).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "models/mein"}, r"^--model='models/mein': there is no such folder\. Did you mean models/mine\?"),
        ({"baselines": ["chance", "neighbours:data"]}, r"^--baselines='neighbours:data': .*text-only and neigh"),
        ({"baselines": ["models/none"]}, r"^--baselines='models/none': there is no such folder"),
        ({"baselines": ["neighbors:none/data"]}, r"^--baselines neighbors:DIR, DIR='none/data': there is no such"),
        ({"model": "chance", "baselines": ["text-only"]}, r"^--baselines='chance': there is no such folder"),
        ({"model": "models/mine"}, r"^--model='models/mine' has no config\.json"),
        ({"baselines": ["chanse"]}, r"^--baselines='chanse': .* Did you mean chance\?$"),
        ({"baselines": ["neighbors:models"]}, "^models has no captioned pictures: give a folder of trainer.mini_mmmb"),
    ],
)
def test_a_missing_model_or_folder_is_an_error_before_any_question_is_asked(
    change: dict[str, Any], message: str, arguments: RunArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match=message):
        run(replace(arguments, **change))
    assert not Path(arguments.output).exists()


def test_a_picture_that_cannot_be_read_is_named_before_any_question_is_asked(
    arguments: RunArguments, tmp_path: Path
) -> None:
    rows = [
        {"index": number, "image": image, "question": "?", "A": "x", "B": "y", "answer": "A"}
        for number, image in enumerate((encode("red"), base64.b64encode(b"<html>404 Not Found</html>" * 3).decode()))
    ]
    file = write_tsv(tmp_path / "bad_en.tsv", rows)
    with pytest.raises(ValueError, match=r"bad_en.tsv, line 3: the image cannot be read: .*Repair it"):
        run(replace(arguments, benchmark=[str(file)], languages=["en"]))
    assert not Path(arguments.output).exists()


def test_neighbors_need_the_english_questions(arguments: RunArguments) -> None:
    with pytest.raises(ValueError, match=r"neighbors:data needs each question in English.*3 questions have no"):
        run(replace(arguments, model="neighbors:data", languages=["tr"], baselines=[]))


def test_the_command_compares_and_explains_itself(
    arguments: RunArguments, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(replace(arguments, model="chance", baselines=[]))
    run(replace(arguments, baselines=[], output=str(tmp_path / "other")))
    capsys.readouterr()
    verb, folders = read_command_line(["compare", arguments.output, str(tmp_path / "other" / "results.json")])
    assert verb == "compare"
    table = compare(folders.first, *folders.others)
    assert "| accuracy (%) | questions | A | B | B − A | 95% interval | p |" in table
    for verb in ("run", "score", "compare"):
        with pytest.raises(SystemExit):
            read_command_line([verb, "--help"])
    assert "text-only (the model without pictures)" in " ".join(capsys.readouterr().out.split())
    assert get_args(get_type_hints(RunArguments)["matching"]) == RELEASES  # --help must not import the metric's torch
    with pytest.raises(SystemExit, match="not 'mark'"):
        read_command_line(["mark"])


@pytest.mark.slow
def test_two_processes_share_the_work_and_write_the_same(arguments: RunArguments, tmp_path: Path) -> None:
    run(arguments)
    shared = tmp_path / "shared"
    line = [python(), "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    line += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    line += ["--log_dir", str(tmp_path / "logs"), "--tee", "3", "-m", "trainer.benchmark", "run"]
    line += ["--model", arguments.model, "--benchmark", *arguments.benchmark, "--output", str(shared)]
    line += ["--languages", "en", "tr", "--answer", "score", "--score_by", "text", "--batch_size", "4"]
    line += ["--baselines", *arguments.baselines]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.parent.name for path in tmp_path.glob("logs/**/stdout.log")} == {"0", "1"}
    for name in (".", "baselines/text-only"):
        assert_alike(rows_of(str(shared / name)), rows_of(str(Path(arguments.output, name))))
    results, expected = (json.loads(Path(folder, "results.json").read_text()) for folder in (shared, arguments.output))
    assert (results["results"], results["baselines"]) == (expected["results"], expected["baselines"])
    assert not list(shared.rglob("answers-*"))
