# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A run goes on only from a checkpoint of the same run, and training.json records only what was done."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file

from tests.conftest import write_data
from tests.test_sft import history, losses, train
from trainer import sft
from trainer.training.parrot_trainer import last_checkpoint
from trainer.training.same_run import hash_of_rows, hash_of_weights


STEPS = ["--save_steps", "2", "--save_total_limit", "5"]


@pytest.fixture(scope="module")
def finished(world: Path) -> Path:
    return train(world, world / "finished", *STEPS)


def rows_of(color: str, number: int = 8) -> list[dict]:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": color}]
    return [{"messages": messages, "images": [PILImage.new("RGB", (9, 9), color)], "language": "en"}] * number


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rate", "0.005"], r"learning_rate was 0\.01 and is 0\.005"),
        (["--stage", "align"], "stage was 'instruct' and is 'align'"),
        (["--max_steps", "8"], "max_steps was 4 and is 8"),
        (["--max_steps", "2"], "max_steps was 4 and is 2"),
        (["--max_steps", "-1", "--num_train_epochs", "3"], "max_steps was 4 and is -1"),
        (["--per_device_train_batch_size", "2"], "batch size of all processes and accumulated steps was 4 and is 2"),
        (["--gradient_accumulation_steps", "2"], "batch size of all processes and accumulated steps was 4 and is 8"),
        (["--use_peft"], "use_peft was False and is True"),
        (["--use_peft", "--lora_r", "3", "--seed", "1"], "use_peft was .*; lora_r was 16 and is 3"),
        (["--seed", "1"], "seed was 42 and is 1"),
        (["--label_smoothing_factor", "0.1"], r"label_smoothing_factor was 0\.0 and is 0\.1"),
        (["--lr_scheduler_type", "cosine"], "lr_scheduler_type was 'linear' and is 'cosine'"),
        (["--dataset_name", "other"], "dataset_name was '.*data' and is '.*other'"),
        (["--model_name_or_path", "other-model"], "weights of model_name_or_path was '.*' and is '.*'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_another_run_in_the_same_folder_is_refused_before_anything_is_loaded(
    arguments: list[str], message: str, world: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (world / "other").exists():
        write_data(world / "other", rows_of("red"))
        shutil.copytree(world / "model", world / "other-model")
        weights = load_file(world / "model" / "model.safetensors")
        save_file(
            weights | {"lm_head.weight": weights["lm_head.weight"] + 1}, world / "other-model" / "model.safetensors"
        )
    arguments = [str(world / value) if value.startswith("other") else value for value in arguments]
    monkeypatch.setattr(sft, "load_data", lambda *_: pytest.fail("the data were loaded"))
    written = {path.name: path.read_bytes() for path in finished.glob("*.*")}
    with pytest.raises(
        ValueError, match=f"checkpoint-4 belongs to another run: .*{message}.*another --output_dir"
    ) as error:
        train(world, finished, *STEPS, *arguments)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in finished.glob("*.*")} == written


def test_a_finished_run_that_is_started_again_trains_nothing_and_says_so(
    world: Path, finished: Path, capsys: pytest.CaptureFixture
) -> None:
    written = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    train(world, finished, *STEPS, "--logging_steps", "3", "--report_to", "none")
    assert "holds the finished model of this run. Nothing is left to train." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == written


def test_a_finished_model_is_kept_from_another_run_when_its_checkpoints_are_gone(world: Path, tmp_path: Path) -> None:
    output = train(world, tmp_path / "out", "--save_strategy", "no", "--max_steps", "1")
    with pytest.raises(ValueError, match=r"out belongs to another run: learning_rate was 0\.01 and is 0\.1"):
        train(world, output, "--save_strategy", "no", "--max_steps", "1", "--learning_rate", "0.1")


def test_other_rows_or_a_retrained_model_under_the_same_name_are_another_run(world: Path, tmp_path: Path) -> None:
    data, model = write_data(tmp_path / "data", rows_of("red")), tmp_path / "model"
    shutil.copytree(world / "model", model)
    common = ["--dataset_name", str(data), "--model_name_or_path", str(model), "--max_steps", "1"]
    output = train(world, tmp_path / "out", *common)
    for rows in (rows_of("blue"), rows_of("red", 9)):
        shutil.rmtree(data)
        write_data(data, rows)
        with pytest.raises(ValueError, match=r"rows of the training data was '8 rows, .*' and is"):
            train(world, output, *common)
    shutil.rmtree(data)
    write_data(data, rows_of("red"))  # the same rows, written again
    train(world, output, *common)
    (tmp_path / "link").symlink_to(data)
    train(world, output, *common, "--dataset_name", str(tmp_path / "link"))
    shutil.copy(output / "model.safetensors", model)
    with pytest.raises(ValueError, match="weights of model_name_or_path was"):
        train(world, output, *common)


def test_pictures_beside_the_rows_are_compared_by_content_and_not_by_folder(tmp_path: Path) -> None:
    def hashes(folder: Path) -> list[str]:
        rows = [{"messages": [], "images": [str(folder / "a.png")]}, {"messages": [], "image": str(folder / "a.png")}]
        return [hash_of_rows(Dataset.from_list([row])) for row in rows]

    (tmp_path / "one").mkdir()
    PILImage.new("RGB", (9, 9), "red").save(tmp_path / "one" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    before = hashes(tmp_path / "one")
    assert hashes(tmp_path / "link") == before
    PILImage.new("RGB", (9, 9), "blue").save(tmp_path / "one" / "a.png")
    assert not set(hashes(tmp_path / "one")) & set(before)


def test_a_checkpoint_with_a_name_of_another_form_is_skipped(finished: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-2", "checkpoint-best", "checkpoint-4.old"):
        shutil.copytree(finished / "checkpoint-2", tmp_path / name)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_a_run_with_the_same_global_batch_in_other_parts_goes_on(world: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "checkpoint-2", tmp_path / "out" / "checkpoint-2")
    pieces = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--save_steps", "1"]
    output = train(world, tmp_path / "out", *pieces)
    assert losses(output) == pytest.approx(losses(finished), rel=1e-3)
    for name, value in load_file(finished / "model.safetensors").items():
        torch.testing.assert_close(load_file(output / "model.safetensors")[name], value, atol=1e-3, rtol=1e-2)


def test_more_steps_go_on_where_the_schedule_does_not_depend_on_their_number(world: Path, tmp_path: Path) -> None:
    constant = [*STEPS, "--lr_scheduler_type", "constant"]
    output = train(world, tmp_path / "out", *constant)
    with pytest.raises(ValueError, match=r"warmup_steps was 0 and is 0\.5"):
        train(world, output, *constant, "--warmup_steps", "0.5")
    train(world, output, *constant, "--max_steps", "6")
    whole = train(world, tmp_path / "whole", *constant, "--max_steps", "6")
    assert losses(output) == pytest.approx(losses(whole), abs=1e-6)
    run = json.loads((output / "training.json").read_text())[-1]
    assert (run["steps"], run["resumed_from"]) == (6, "checkpoint-4")


def test_an_epoch_that_is_done_is_finished(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--max_steps", "-1", "--num_train_epochs", "1"]
    output = train(world, tmp_path / "out", *arguments)
    assert len(history(output)) == 4  # 12 rows in batches of 4, and the summary
    train(world, output, *arguments)
    assert "Nothing is left to train." in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"num_train_epochs was 1\.0 and is 2\.0"):
        train(world, output, "--max_steps", "-1", "--num_train_epochs", "2")


def test_a_checkpoint_that_is_named_must_be_there_and_of_the_same_run(
    world: Path, finished: Path, tmp_path: Path
) -> None:
    named = ["--resume_from_checkpoint", str(finished / "checkpoint-2")]
    with pytest.raises(ValueError, match=r"checkpoint-2 belongs to another run: learning_rate was 0\.01 and is 0\.1"):
        train(world, tmp_path / "other", *named, "--learning_rate", "0.1")
    assert losses(train(world, tmp_path / "same", *named)) == pytest.approx(losses(finished), abs=1e-6)
    with pytest.raises(ValueError, match=r"there is no checkpoint in .*checkpoint-3"):
        train(world, tmp_path / "none", "--resume_from_checkpoint", str(finished / "checkpoint-3"))


def test_a_checkpoint_without_a_record_is_refused(world: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "checkpoint-2", tmp_path / "checkpoint-2")
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["RunRecord"]
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="checkpoint-2 was trained without a record of its arguments"):
        train(world, tmp_path)


def test_another_share_of_a_mixture_is_another_run(world: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "red", rows_of("red"))
    recipe = tmp_path / "mixture.yaml"
    for share in (0.5, 0.25):
        parts = [{"path": str(world / "data"), "fraction": 0.5}, {"path": str(tmp_path / "red"), "fraction": share}]
        recipe.write_text(yaml.safe_dump({"datasets": parts}))
        arguments = ["--config", str(recipe), "--dataset_name", "", "--max_steps", "1"]
        if share == 0.5:
            train(world, tmp_path / "out", *arguments)
        else:
            with pytest.raises(ValueError, match=r"run: datasets\[1\]\.fraction was 0\.5 and is 0\.25\. To"):
                train(world, tmp_path / "out", *arguments)


def test_a_copy_is_the_same_and_a_changed_number_is_not(tmp_path: Path) -> None:
    for name, last in (("one", 0.0), ("other", 1.0)):
        (tmp_path / name).mkdir()
        save_file({"a": torch.zeros(1000), "b": torch.full((3,), last)}, tmp_path / name / "model.safetensors")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    one, copy, other = (hash_of_weights(str(tmp_path / name)) for name in ("one", "copy", "other"))
    assert one == copy != other
    content = bytearray(1 << 23)  # few bytes of the file change, as if only the projector had been trained
    for name in ("one", "other"):
        content[5_000_000] += 1
        (tmp_path / name / "model.safetensors").write_bytes(content)
    assert hash_of_weights(str(tmp_path / "one")) != hash_of_weights(str(tmp_path / "other"))
    assert hash_of_weights("org/model") is None
