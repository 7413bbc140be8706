# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
import base64
import io
import re
from pathlib import Path

import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from tests.conftest import encode, write_tsv
from trainer.evaluation.benchmark_files import INSTRUCTIONS
from trainer.harnesses.hub_benchmark import HubBenchmarkArguments, write
from trainer.languages import MMMB


CARD = Path(__file__).parents[1] / "model_cards" / "mini-mmmb"


def test_each_task_of_eval_yaml_finds_its_questions_by_the_data_sets_card(tmp_path: Path) -> None:
    for language in MMMB:
        row = {"index": 0, "image": encode("red"), "question": f"? {language}", "A": "x", "B": "y", "answer": "B"}
        write_tsv(tmp_path / f"mini_mmmb_{language}.tsv", [row | {"category": "color"}])
    write(HubBenchmarkArguments(data=str(tmp_path)))
    files = {
        config["config_name"]: config["data_files"]
        for config in DatasetCard((CARD / "README.md").read_text(encoding="utf-8")).data.configs
    }
    tasks = yaml.safe_load((CARD / "eval.yaml").read_text(encoding="utf-8"))["tasks"]
    assert [task["id"] for task in tasks] == [*MMMB]
    for task in tasks:
        (data_file,) = (file for file in files[task["config"]] if file["split"] == task["split"])
        dataset = load_dataset(
            "parquet", data_files=str(tmp_path / data_file["path"]), cache_dir=str(tmp_path / "cache"), split="train"
        )
        (row,) = dataset
        fields = task["field_spec"]
        assert row[fields["input"]] == f"? {task['id']}\nA. x\nB. y\n{INSTRUCTIONS[task['id']]}"
        head, _, image = row[fields["input_image"]].partition(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(image))).getpixel((0, 0)) == (255, 0, 0)
        assert (row[fields["target"]], row[fields["metadata"][0]]) == ("B", "color")


def test_eval_yaml_reads_a_letter_where_an_answer_begins_with_it() -> None:
    scorers = [task["scorers"] for task in yaml.safe_load((CARD / "eval.yaml").read_text(encoding="utf-8"))["tasks"]]
    assert all(scorer == scorers[0] for scorer in scorers)
    pattern = scorers[0][0]["args"]["pattern"]
    read = {answer: re.search(pattern, answer) for answer in ("B", "B. dog", "(C)", "答案是D。", "Dog", "a dog", "E")}
    assert [match and match[1] for match in read.values()] == ["B", "B", "C", "D", None, None, None]
