# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""One file in trainer/languages adds a language to the whole project."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import ModelCard

from tests.processes import python
from tests.tiny import tiny_model, tiny_processor
from trainer.languages import (
    CODES,
    FOLDER,
    HEAD,
    MMMB,
    check_language_in_name,
    language_in_name,
    languages,
    sentences,
)
from trainer.toy_world.emoji import TABLES


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("mine_sw.tsv", "sw"),
        ("data/bench_v2_en.tsv", "en"),
        ("MTL_MMBench_DEV_EN.tsv", "en"),
        ("MMMB_cn", "zh"),
        ("mine-zu.json", "zu"),
        ("mine.tr.tsv", "tr"),
        ("th.tsv", "th"),
        ("mine_pt_BR.tsv", "pt"),
        ("mine_pt-br.tsv", "pt"),
        ("pt-BR.tsv", "pt"),
        ("questions.tsv", None),
        ("mine_v2.tsv", None),
        ("swahili.tsv", None),
        ("mine_xx.tsv", None),
    ],
)
def test_the_language_of_a_file_is_read_from_the_end_of_its_name(name: str, language: str | None) -> None:
    assert language_in_name(name) == language


def test_a_file_that_is_named_for_another_language_is_an_error() -> None:
    assert languages().keys() <= set(CODES.split())
    for language in ("sw", "SW", "sw-KE", "und"):
        check_language_in_name("mine_sw.tsv", language, "--languages")
    with pytest.raises(ValueError, match=r"mine_sw\.tsv ends with the language 'sw', but it would be read as 'en'"):
        check_language_in_name("mine_sw.tsv", "en", "--languages")


# All commands run in one process, because each process would import the libraries anew.
DRAW_TRAIN_MEASURE_PUBLISH = """
import sys
from trl import TrlParser
from trainer import benchmark, mini_mmmb, publish, sft
from trainer.evaluation import benchmark_runs
from trainer.publishing import publication
from trainer.toy_world import data_set

data_set.build(
    mini_mmmb.MiniMMMBArguments(
        "data", concepts=50, image_size=16, align_views=1, train=14, validation=7, test_per_category=1,
        languages=sys.argv[1:],
    )
)
parser = TrlParser((sft.ParrotScriptArguments, sft.ParrotSFTConfig, sft.ParrotModelConfig))
sft.main(
    *parser.parse_args_and_config(
        "--model_name_or_path base --dataset_name data --dataset_config instruct --stage instruct --output_dir model "
        "--max_steps 2 --learning_rate 1e-3 --per_device_train_batch_size 7 --logging_steps 1 --use_cpu true "
        "--report_to none --activation_checkpointing false".split()
    )
)
benchmark_runs.run(
    benchmark.RunArguments(
        model="model", benchmark=["data/mini_mmmb_{language}.tsv"], languages=["xx"], output="results",
        answer="generate", max_new_tokens=2,
    )
)
publication.publish(
    publish.PublishArguments(
        model="model", repo_id="org/parrot-xx", license="mit", results="results", dry_run="card", card_only=True
    )
)
from trainer.multiple_choice_accuracy import read_letter_multilingual
print(read_letter_multilingual("Xanswerx ixis B", {"A": "x", "B": "y"}))
"""


@pytest.mark.slow
def test_one_file_is_enough_to_draw_train_measure_and_publish_with_an_invented_seventh_language(
    tmp_path: Path,
) -> None:
    shutil.copytree(ROOT / "trainer", tmp_path / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("modeling_parrot", "model_cards", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_processor().save_pretrained(tmp_path / "base")
    own_entries = {
        "name": "Inventish",
        "instruction": "Xletterx!",
        "instruction_source": "Invented.",
        "phrases": dict.fromkeys(languages()["en"]["phrases"], "xnothingx") | {"cues": "xanswerx", "fillers": "ixis"},
        "names": {code: f"xx {name}" for code, name in TABLES["pt"]["names"].items()},
    }
    table = json.dumps(sentences("pt") | own_entries)
    (tmp_path / "trainer" / "languages" / "xx.json").write_text(table, encoding="utf-8")
    process = subprocess.run(
        [python(), "-c", DRAW_TRAIN_MEASURE_PUBLISH, *MMMB, "xx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.rstrip().endswith("\nB")
    rows = load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert Counter(rows["language"]) == dict.fromkeys((*MMMB, "xx"), 2)
    history = json.loads((tmp_path / "model" / "trainer_state.json").read_text())["log_history"]
    assert any("loss_xx" in log for log in history)
    answers = [json.loads(line) for line in (tmp_path / "results" / "predictions.jsonl").read_text().splitlines()]
    assert all("A. xx " in answer["prompt"] and answer["prompt"].endswith("Xletterx!") for answer in answers[:10])
    card = ModelCard.load(tmp_path / "card" / "README.md")
    assert card.data.language == ["xx", *sorted(MMMB)]


def test_each_file_says_the_language_s_name_and_who_wrote_its_instruction() -> None:
    for code, table in languages().items():
        assert {"name", "instruction", "instruction_source"} <= table.keys(), FOLDER / f"{code}.json"
    assert len({table["name"] for table in languages().values()}) == len(languages())
    assert all("phrases" in languages()[code] for code in MMMB)
    assert not set(HEAD) & sentences("en").keys()
