# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Ablations: arms that share a start and rows, resuming, and the statistics of differences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests
from transformers import AutoModel, AutoModelForCausalLM

from modeling_parrot import ParrotForConditionalGeneration
from tests.processes import python
from tests.test_compose import LANGUAGE_MODELS, TOWERS
from tests.tiny import tiny_processor
from trainer.ablation import AblationArguments
from trainer.evaluation.ablation_results import Run, analyze, estimate, report_ablation, write_report
from trainer.evaluation.ablation_runs import read_recipe, run_ablation


ROOT = Path(__file__).parents[1]


def write_recipe(folder: Path, world: Path, benchmark: str, **changes: Any) -> str:
    """Writes a recipe of two training steps and its tiny parts."""
    processor = tiny_processor()
    torch.manual_seed(0)
    AutoModel.from_config(TOWERS["clip"].vision_config).save_pretrained(folder / "vision_tower")
    processor.image_processor.save_pretrained(folder / "vision_tower")
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS["qwen2"]).save_pretrained(folder / "language_model")
    processor.tokenizer.save_pretrained(folder / "language_model")
    stage = {
        "dataset_name": str(world / "data"),
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "gradient_checkpointing": False,
    }
    (folder / "stage.yaml").write_text(yaml.safe_dump(stage | {"seed": 7, "output_dir": "elsewhere"}))
    recipe = {
        "output": str(folder / "ablation"),
        "seeds": [0],
        "main_language": "en",
        "baselines": ["paper"],
        "subject": "recognition",
        "compose": {part: str(folder / part) for part in ("vision_tower", "language_model")},
        "align": {"config": str(folder / "stage.yaml")},
        "instruct": {"config": str(folder / "stage.yaml")},
        "benchmarks": {
            "bench": {"benchmark": [benchmark], "languages": ["en", "tr"], "answer": "score", "score_by": "text"}
        },
        "arms": {"paper": {}, "mlp": {"compose": {"num_experts": 1, "moe_intermediate_size": 7}}},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe | changes, sort_keys=False))
    return str(file)


@pytest.mark.slow
def test_arms_differ_only_in_their_experts_and_a_stopped_experiment_resumes(
    world: Path, benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", python())
    arguments = AblationArguments(write_recipe(tmp_path, world, benchmark), jobs=2)
    run_ablation(arguments)
    output = tmp_path / "ablation"
    begins = [output / "start" / "seed-0" / "model", output / "mlp" / "seed-0" / "begin"]
    paper, mlp = map(ParrotForConditionalGeneration.from_pretrained, begins)
    assert mlp.model.moe.experts.gate_up_proj.shape[:2] == (1, 14)
    for (name, one), other in zip(paper.state_dict().items(), mlp.state_dict().values(), strict=True):
        assert ".moe." in name or torch.equal(one, other), name
    logs = [
        json.loads((output / arm / "seed-0" / "model" / "trainer_state.json").read_text())["log_history"]
        for arm in ("paper", "mlp")
    ]
    assert logs[0][0]["loss"] == logs[1][0]["loss"]  # new experts add zero, and both arms see the same rows
    recipe = yaml.safe_load((output / "mlp" / "seed-0" / "recipe.yaml").read_text())
    assert (recipe["seed"], recipe["stage"]) == (0, "instruct")
    results = json.loads((output / "bench.json").read_text())
    assert results["questions"] == {"paper": 6, "mlp": 6}
    assert "mlp" in (output / "bench.md").read_text()
    assert (output / "bench.png").stat().st_size > 10_000

    (output / "bench.json").unlink()
    times = {file: file.stat().st_mtime_ns for kind in ("*.safetensors", "log.txt") for file in output.rglob(kind)}
    assert len(times) >= 11
    run_ablation(arguments)
    assert (output / "bench.json").exists()
    assert "paper/seed-0: done." in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in times} == times
    changed = write_recipe(
        tmp_path, world, benchmark, instruct={"config": str(tmp_path / "stage.yaml"), "max_steps": 3}
    )
    with pytest.raises(ValueError, match="max_steps: 2; max_steps: 3"):
        run_ablation(AblationArguments(changed, jobs=1))
    changed = write_recipe(tmp_path, world, benchmark, arms={"mlp": {"compose": {"num_experts": 2}}}, baselines=[])
    with pytest.raises(ValueError, match=r"composed\.yaml is of another run: .*num_experts: 1; num_experts: 2"):
        run_ablation(AblationArguments(changed, jobs=1))


def test_a_difference_over_seeds_alone_is_the_paired_t_test_of_their_means() -> None:
    rng = np.random.default_rng(0)
    seeds, questions = 5, 400
    effects = rng.normal(0.03, 0.02, seeds)  # each seed shifts all its questions
    values = effects[:, None] + rng.normal(0, 0.1, (seeds, questions))
    index = pd.MultiIndex.from_product([range(seeds), range(questions)], names=["seed", "picture"])
    estimated = estimate(pd.Series(values.ravel(), index=index))
    by_hand = ttest_rel(values.mean(axis=1), np.zeros(seeds))
    assert estimated["mean"] == pytest.approx(values.mean())
    assert estimated["p"] == pytest.approx(by_hand.pvalue, rel=0.05)  # pictures add little variance
    assert (estimated["low"], estimated["high"]) == pytest.approx(tuple(by_hand.confidence_interval()), rel=0.05)


def test_answers_about_a_picture_count_once_however_often_it_is_asked_about() -> None:
    hits = np.random.default_rng(0).integers(0, 2, 300).astype(float)
    once, often = (
        estimate(
            pd.Series(
                np.tile(hits, times),
                index=pd.MultiIndex.from_tuples([(0, name) for name in range(300)] * times, names=["seed", "picture"]),
            )
        )
        for times in (1, 6)
    )
    assert once == pytest.approx(often, rel=1e-2)
    assert once["high"] - once["low"] == pytest.approx(2 * 1.96 * 0.5 / 300**0.5, rel=0.02)


def test_equal_arms_have_no_difference() -> None:
    index = pd.MultiIndex.from_product([range(2), range(9)], names=["seed", "picture"])
    assert estimate(pd.Series(0.0, index=index)) == {"mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


LANGUAGES = ("en", "tr")
# The number of right answers to 10 questions of each subject, by arm and language.
RIGHT = {"none": {"en": 8, "tr": 4}, "paper": {"en": 8, "tr": 6}, "mlp": {"en": 7, "tr": 9}}
ROUTED = {"none": [[0.5, 0.5]] * 2, "paper": [[1.0, 0.0], [0.0, 1.0]], "mlp": [[0.5, 0.5]] * 2}  # by language


def write_run(folder: Path, arm: str, seed: int) -> Run:
    """Writes the files that a run leaves: answers, results and the training's record."""
    run = Run(arm, seed, folder / arm / str(seed), "bench")
    (run.folder / "bench").mkdir(parents=True)
    (run.folder / "model").mkdir()
    rows = [
        {
            "index": f"{subject}{number}",
            "picture": f"{subject}{number}",
            "language": language,
            "l2-category": subject,
            "hit": number < RIGHT[arm][language],
            "router": ROUTED[arm][LANGUAGES.index(language)],
        }
        for subject in ("recognition", "scene")
        for language in LANGUAGES
        for number in range(10)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run.folder / "bench" / "predictions.jsonl").write_text(text)
    router = {"weights": dict(zip(LANGUAGES, ROUTED[arm], strict=True)), "accuracy": 0.75, "chance": 0.5}
    (run.folder / "bench" / "results.json").write_text(
        json.dumps({"router": router, "settings": {"benchmark": {"en": {"sha256": "a"}}}})
    )
    history = [{"loss": float(step)} for step in range(20, 0, -1)]
    (run.folder / "model" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (run.folder / "model" / "training.json").write_text(json.dumps([{"seconds": 1}, {"seconds": 60 + seed}]))
    return run


def test_the_gap_its_closing_and_the_routing_are_reported(tmp_path: Path) -> None:
    arms = ("none", "paper")
    runs = [write_run(tmp_path, arm, seed) for arm in arms for seed in range(2)]
    results = analyze(runs, ["none"], "en")
    assert results["accuracy"]["recognition"]["paper"]["others"]["mean"] == pytest.approx(0.6)
    assert results["gap"]["all"]["none"] == {"points": pytest.approx(40), "closed": pytest.approx(0)}
    assert results["gap"]["all"]["paper"] == {"points": pytest.approx(20), "closed": pytest.approx(0.5)}
    difference = results["differences"]["recognition"]["none"]["paper"]
    assert (difference["en"]["mean"], difference["tr"]["mean"]) == pytest.approx((0, 0.2))
    assert results["fit"]["paper"] == {0: {"loss": 1.5, "seconds": 60}, 1: {"loss": 1.5, "seconds": 61}}
    bits = {arm: results["routing"][arm][0]["bits_of_language"] for arm in arms}
    assert bits == {"none": pytest.approx(0), "paper": pytest.approx(1)}
    assert results["routing"]["paper"][1]["bits_of_question"] == pytest.approx(0)
    write_report(runs, ["none"], "en", "recognition", tmp_path / "bench")
    text = (tmp_path / "bench.md").read_text()
    assert text == report_ablation(json.loads((tmp_path / "bench.json").read_text()), "recognition")
    assert "| paper | +0.0 (+0.0 to +0.0) | +20.0 (" in text
    assert "| paper | 1.500 | 70.0 | 75.0 | 1.000 | 0.000 | 60 |" in text
    assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_p_values_are_corrected_for_all_pairs_of_arms_and_for_all_languages(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, arm, seed) for arm in RIGHT for seed in range(2)]
    differences = analyze(runs, ["none", "mlp"], "en")["differences"]["all"]
    pairs = [("none", "paper"), ("none", "mlp"), ("mlp", "paper")]  # mlp and none are the same pair as none and mlp
    for groups in (["en", "tr"], ["others"], ["all"]):
        compared = [differences[baseline][arm][group] for baseline, arm in pairs for group in groups]
        adjusted = multipletests([difference["p"] for difference in compared], method="holm")[1]
        assert [difference["p_adjusted"] for difference in compared] == pytest.approx(list(adjusted))
        for group in groups:
            assert differences["mlp"]["none"][group]["p_adjusted"] == pytest.approx(
                differences["none"]["mlp"][group]["p_adjusted"]
            )


def test_arms_that_answered_different_questions_are_not_compared(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, arm, 0) for arm in RIGHT]
    file = runs[1].folder / "bench" / "results.json"
    file.write_text(file.read_text().replace('"sha256": "a"', '"sha256": "b"'))
    with pytest.raises(ValueError, match="answer different questions"):
        analyze(runs, ["none"], "en")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lerning": 1}, "lerning"),
        ({"seeds": None, "arms": {"a": {"align": {}}}}, "arms: a: align cannot be set here, only compose, instruct"),
        ({"arms": {"a": {"compose": {"vision_feature_layer": -1}}}}, "arms: a: compose: vision_feature_layer"),
        ({"arms": {"a": {"instruct": {"lerning_rate": 1}}}}, "arms: a: instruct: lerning_rate"),
        ({"benchmarks": {"b": {"modle": 1}}}, "benchmarks: b: modle"),
        ({"arms": {"start": {}}}, "rename the arm 'start'"),
        ({"baselines": ["none"]}, "the baselines none are no arms: name some of paper, mlp"),
    ],
)
def test_a_mistake_in_a_recipe_is_an_error_before_the_first_run(
    change: dict[str, Any], message: str, world: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(write_recipe(tmp_path, world, "bench_{language}.tsv", **change))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"arms": ["papr"]}, "recipe.yaml has no arms papr, only paper, mlp."),
        ({}, {"jobs": 0}, "jobs=0: at least 1 is needed."),
        ({}, {"benchmarks": ["validation"]}, "recipe.yaml has no benchmarks validation, only bench."),
        ({"compose": {"vision_tower": "./tower"}}, {}, "compose: vision_tower='./tower': there is no such folder."),
        ({"benchmarks": {"b": {"benchmark": ["no_en.tsv"]}}}, {}, "There is no benchmark file no_en.tsv"),
    ],
)
def test_a_missing_part_is_named_in_one_line_before_the_first_run(
    change: dict[str, Any],
    options: dict[str, Any],
    message: str,
    world: Path,
    benchmark: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    with pytest.raises(ValueError, match=message):
        run_ablation(AblationArguments(write_recipe(tmp_path, world, benchmark, **change), **options))
    assert not (tmp_path / "ablation").exists()


def test_a_missing_recipe_is_named_before_the_heavy_imports() -> None:
    with pytest.raises(ValueError, match=r"config='nope\.yaml': there is no such file"):
        AblationArguments("nope.yaml")


def test_a_recipe_overrides_keys_of_another(world: Path, tmp_path: Path) -> None:
    base = write_recipe(tmp_path, world, "bench_{language}.tsv")
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"config": base, "output": "there", "instruct": {"max_steps": 9}}))
    recipe, first = read_recipe(str(other)), read_recipe(base)
    assert (recipe.output, recipe.instruct, recipe.align, recipe.arms) == (
        "there",
        first.instruct | {"max_steps": 9},
        first.align,
        first.arms,
    )


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "trainer" / "recipes").glob("ablation_*.yaml")), ids=lambda path: path.name
)
def test_every_recipe_of_an_experiment_is_read(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert {"none", "mlp", "paper"} <= read_recipe(str(recipe)).arms.keys()


def test_the_readme_s_table_of_routing_is_the_recorded_result() -> None:
    results = json.loads((ROOT / "model_cards" / "routing" / "unseen_style.json").read_text(encoding="utf-8"))
    accuracy, differences = results["accuracy"]["recognition"], results["differences"]["recognition"]["none"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| recognition, unseen style, {len(results['seeds'])} seeds |" in text
    for arm in ("none", "mlp", "paper"):
        line = next(line for line in text.splitlines() if line.startswith(f"| `{arm}`: "))
        english, others = (100 * accuracy[arm][group]["mean"] for group in ("en", "others"))
        cells = [f"{english:.1f}", f"{others:.1f}", f"{english - others:.1f}"]
        if arm != "none":
            cells.append(
                "{mean:+.1f} ({low:+.1f} to {high:+.1f})".format(
                    **{key: 100 * differences[arm]["others"][key] for key in ("mean", "low", "high")}
                )
            )
        assert [cell.strip() for cell in line.split("|")[2 : 2 + len(cells)]] == cells
    against_mlp = results["differences"]["recognition"]["mlp"]["paper"]["others"]
    mean, low, high = (f"{-100 * against_mlp[key]:.1f}" for key in ("mean", "high", "low"))
    assert f"by {mean} points ({low} to {high})" in " ".join(text.split())
    balanced = json.loads((ROOT / "model_cards" / "routing" / "balanced.json").read_text(encoding="utf-8"))
    assert f"conversations in each language ({len(balanced['seeds'])} seeds)" in text
    recorded = balanced["differences"]["recognition"]
    for baseline, arm, words in (
        ("none", "mlp", "`mlp` gains {} points"),
        ("none", "paper", "`paper` {}"),
        ("mlp", "paper", "{} points for `paper`"),
    ):
        estimated = recorded[baseline][arm]["others"]
        mean, low, high = (f"{100 * estimated[key]:+.1f}" for key in ("mean", "low", "high"))
        assert words.format(f"{mean} ({low} to {high})") in " ".join(text.split())
